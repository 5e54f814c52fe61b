"""Calls under way for a cache, each for one key or a list of them, and who waits for them."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from flashback_async.cache.shelf import Place
from flashback_async.clock import Clock

_LOOK_AGAIN = 0.01  # seconds between two looks at what a pause holds up

Answers: TypeAlias = dict[Place, Any]  # each a value or a FlashbackError


class Answer(NamedTuple):
    """A value or a FlashbackError, and when it arrived."""

    what: Any
    arrived_at: float


class Flight:
    """One call, for which any number of look-ups wait. Nobody's cancellation is another's.

    Its answers may arrive in parts. A flight is cancelled if nobody waits for what is missing,
    unless it goes on as a ``refresh``.
    """

    def __init__(self, places: set[Place], *, is_refresh: bool) -> None:
        self.places = places
        self.began_as_refresh = is_refresh
        self.kept = set(places)  # those whose answers are still wanted in the cache
        self.is_refresh = is_refresh
        self.answers: dict[Place, Answer] = {}
        self.bug: BaseException | None = None
        self.has_landed = False
        self._waits: set[Wait] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start the call, in no caller's context."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(work, context=contextvars.Context())

    def receive(self, answers: Answers, now: float) -> None:
        """Record answers, and tell those who wait."""
        self.answers |= {place: Answer(what, now) for place, what in answers.items()}
        self._tell()

    def land(self) -> None:
        """Record that no more answers come, and tell those who wait."""
        self.has_landed = True
        self._tell()

    def join(self, wait: Wait) -> None:
        """Add one who waits."""
        self._waits.add(wait)

    def is_held_up(self, pauses: Pauses) -> bool:
        """Return whether the request has not left yet, or waits to be repeated."""
        return self._task is not None and pauses.hold_up(self._task)

    @property
    def is_waited_for(self) -> bool:
        """Whether a look-up waits for it."""
        return bool(self._waits)

    def leave(self, wait: Wait) -> bool:
        """Remove one who waited; return whether nobody needs the flight any more."""
        self._waits.discard(wait)
        return not (self._waits or self.is_refresh or self.has_landed)

    def cancel(self) -> None:
        """Cancel the call."""
        if self._task is not None:
            self._task.cancel()

    def _tell(self) -> None:
        for wait in list(self._waits):
            wait.look_at(self)


class Pauses(Protocol):
    """The pauses that the API asks for."""

    def left(self) -> float:
        """Return the seconds until the API's pause is over; 0 or less if there is none."""

    def hold_up(self, task: asyncio.Task[None]) -> bool:
        """Return whether the call of a task waits to be admitted."""
        ...

    def watch(self, began: Callable[[], object]) -> None:
        """Call a function whenever a pause begins or is extended."""

    def unwatch(self, began: Callable[[], object]) -> None:
        """Call it no more."""


class Wait:
    """One call that waits for answers, until its deadline or a pause that outlasts it.

    Attributes:
        left: The flights that have not brought all that is wanted of them.
        outlasted_by: Seconds of the pause.
        held_up: The flights that wait for its end.
    """

    def __init__(self, wanted: Mapping[Place, Flight], ends: float | None, clock: Clock) -> None:
        self.outlasted_by = 0.0
        self.held_up: set[Flight] = set()
        self._missing: dict[Flight, set[Place]] = {}
        for place, flight in wanted.items():
            if not flight.has_landed and place not in flight.answers:
                self._missing.setdefault(flight, set()).add(place)
        self.left = set(self._missing)
        self._woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ends = ends
        self._clock = clock
        for flight in self.left:
            flight.join(self)

    def look_at(self, flight: Flight) -> None:
        """Record what has arrived of a flight."""
        missing = self._missing[flight]
        missing -= flight.answers.keys()
        if flight.has_landed or not missing:
            self.left.discard(flight)
        if not self.left:
            self._wake()

    async def end(self, pauses: Pauses) -> None:
        """Wait until all answers are there, or it makes no sense to wait any longer."""
        if not self.left:
            return
        ends = self._ends
        if ends is None:
            await self._woken
            return

        clock = self._clock
        timers = [clock.call_later(ends - clock.monotonic(), self._wake)]

        def look_at_pause() -> None:
            """Stop to wait for what the pause holds up longer than that; the rest may answer."""
            pause = pauses.left()
            if self._woken.done() or pause <= 0 or clock.monotonic() + pause <= ends:
                return
            self.outlasted_by = pause
            self.held_up = {flight for flight in self.left if flight.is_held_up(pauses)}
            if self.held_up == self.left:
                self._wake()
            else:
                look_soon()

        def look_soon() -> None:
            # The request whose answer asks for a pause begins to wait for its end a moment later.
            for timer in timers[1:]:
                timer.cancel()
            timers[1:] = [clock.call_later(_LOOK_AGAIN, look_at_pause)]

        pauses.watch(look_soon)
        try:
            if pauses.left() > 0:
                look_soon()
            await self._woken
        finally:
            for timer in timers:
                timer.cancel()
            pauses.unwatch(look_soon)

    def _wake(self) -> None:
        if not self._woken.done():
            self._woken.set_result(None)
