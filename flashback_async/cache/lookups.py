"""The look-ups of a cache: what is served at once, what is asked for, and who waits for it."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from attrs import define

from flashback_async.cache.facts import Cached, CacheStats
from flashback_async.cache.flights import Answers, Flight, Pauses, Wait
from flashback_async.cache.shelf import Entry, Place, Shelf, Verdict, is_soft
from flashback_async.clock import Clock
from flashback_async.config import CachePolicy
from flashback_async.errors import (
    AuthenticationError,
    DeadlineExceededError,
    FlashbackError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    seconds,
)

Result: TypeAlias = Cached[Any] | FlashbackError
Receive: TypeAlias = Callable[[Answers], None]


class Question(NamedTuple):
    """One call: the places that it answers, and the function that makes it.

    ``ask`` hands on the answers as they arrive, or raises the error of those that are missing.
    ``final`` are the places whose values never change any more.
    """

    places: set[Place]
    ask: Callable[[Receive], Awaitable[None]]
    final: frozenset[Place] = frozenset()


# Returns the requests for some places of one resource.
Plan: TypeAlias = Callable[[list[Place]], Iterable[Question]]


@define
class _Counts:
    hits: int = 0
    stale_hits: int = 0
    misses: int = 0
    joined: int = 0
    refreshes: int = 0
    refresh_failures: int = 0


class Lookups:
    """What all resources of a cache share: the kept values, and the requests under way.

    ``current`` returns what identifies the running event loop, or raises if the client cannot be
    used in it. Values and requests of an earlier loop are dropped.
    """

    def __init__(
        self,
        policy: CachePolicy,
        clock: Clock,
        pauses: Pauses,
        current: Callable[[], object],
    ) -> None:
        self.policy = policy
        self.clock = clock
        self.shelf = Shelf(policy)
        self.counts = _Counts()
        self._pauses = pauses
        self._current = current
        self._loop: object = None
        self._flights: dict[Place, Flight] = {}  # that a new look-up may join
        self._running: set[Flight] = set()

    @property
    def stats(self) -> CacheStats:
        """How the cache is doing."""
        counts = self.counts
        return CacheStats(
            counts.hits,
            counts.stale_hits,
            counts.misses,
            counts.joined,
            counts.refreshes,
            counts.refresh_failures,
            self.shelf.evicted,
            len(self.shelf.entries),
            len(self._running),
        )

    def check(self) -> None:
        """Check that the client can be used here; in a new event loop, begin with nothing.

        Raises:
            ClientClosedError: The client is closed.
            EventLoopError: The client belongs to another event loop or process.
        """
        loop = self._current()
        if loop is not self._loop:
            self._loop = loop
            self._running.clear()
            self.clear()

    def fresh(self, place: Place) -> Any:
        """Return a fresh value, which is used now; None if there is none."""
        self.check()
        try:
            entry = self.shelf.entries.get(place)
        except TypeError:
            return None  # a key that cannot be hashed is bad input
        if entry is None or isinstance(entry.value, NotFoundError):
            return None
        if not entry.is_final and self.clock.monotonic() - entry.arrived_at >= self.policy.fresh:
            return None
        self.shelf.entries.move_to_end(place)
        self.counts.hits += 1
        return entry.value

    async def look_up(
        self, places: Sequence[Place], plan: Plan, deadline: float | None = None
    ) -> dict[Place, Result]:
        """Return a value or an error for each place; ``plan`` makes requests for those missing."""
        self.check()
        ends = None if deadline is None else self.clock.monotonic() + deadline
        served: dict[Place, Entry] = {}
        waited_for: dict[Place, Flight] = {}
        to_ask: list[Place] = []
        to_refresh: list[Place] = []
        old = {place: self.shelf.entries.get(place) for place in places}
        for place, entry in old.items():
            verdict = Verdict.ASK if entry is None else self.shelf.judge(entry, self._now())
            if entry is not None and verdict is not Verdict.ASK:
                served[place] = entry
                self._count(place, verdict)
                if verdict is Verdict.REFRESH and place not in self._flights:
                    to_refresh.append(place)
            elif (flight := self._flights.get(place)) is not None:
                self.counts.joined += 1
                waited_for[place] = flight
            else:
                self.counts.misses += 1
                to_ask.append(place)
        self._begin(to_refresh, plan, is_refresh=True)
        waited_for |= self._begin(to_ask, plan, is_refresh=False)
        found: dict[Place, Result] = {}
        if waited_for:
            began = self._now()
            wait = await self._wait_for(waited_for, ends)
            for place, flight in waited_for.items():
                found[place] = self._result(place, flight, old[place], wait, began)
        # Ages are those of the end.
        return found | {place: self._serve(entry) for place, entry in served.items()}

    def forget(self, is_about: Callable[[Place], bool]) -> None:
        """Drop what is known of some places, and do not keep what is under way for them."""
        self.shelf.forget(is_about)
        for place in [place for place in self._flights if is_about(place)]:
            self._flights.pop(place).kept.discard(place)

    def clear(self) -> None:
        """Drop everything that is known, and keep nothing of what is under way."""
        self.forget(lambda place: True)

    # At once.

    def _now(self) -> float:
        return self.clock.monotonic()

    def _count(self, place: Place, verdict: Verdict) -> None:
        """Record that a kept value is used."""
        self.shelf.entries.move_to_end(place)
        if verdict is Verdict.HIT:
            self.counts.hits += 1
        else:
            self.counts.stale_hits += 1

    def _serve(self, entry: Entry) -> Result:
        """Return a kept value, or a kept 404."""
        if isinstance(entry.value, NotFoundError):
            return copy.copy(entry.value)
        return self._cached(entry, entry.error)

    def _cached(self, entry: Entry, error: FlashbackError | None) -> Cached[Any]:
        age = max(0.0, self._now() - entry.arrived_at)
        is_stale = not entry.is_final and age >= self.policy.fresh
        return Cached(entry.value, age, is_stale, None if error is None else copy.copy(error))

    # Requests.

    def _begin(self, places: list[Place], plan: Plan, *, is_refresh: bool) -> dict[Place, Flight]:
        """Begin requests for some places; return the flight of each."""
        begun: dict[Place, Flight] = {}
        for question in list(plan(places)) if places else ():
            flight = Flight(question.places, is_refresh=is_refresh)
            begun |= dict.fromkeys(question.places, flight)
            self._running.add(flight)
            self.counts.refreshes += is_refresh
            flight.start(self._fly(flight, question))
        self._flights |= begun
        return begun

    async def _fly(self, flight: Flight, question: Question) -> None:
        """Make a call, and hand its answers to the cache and to those who wait."""
        receive = partial(self._receive, flight, question.final)
        try:
            await question.ask(receive)
        except FlashbackError as error:
            receive(dict.fromkeys(flight.places - flight.answers.keys(), error))
        except BaseException as error:
            flight.bug = error
            if isinstance(error, asyncio.CancelledError) or not flight.is_waited_for:
                raise
        finally:
            self._land(flight)

    def _receive(self, flight: Flight, final: frozenset[Place], answers: Answers) -> None:
        now = self._now()
        self._take_out(flight, answers)
        for place, answer in answers.items():
            if place in flight.kept:
                self._keep(place, answer, now, is_final=place in final)
        if any(isinstance(answer, AuthenticationError) for answer in answers.values()):
            self.clear()
        flight.receive(answers, now)

    def _land(self, flight: Flight) -> None:
        self._running.discard(flight)
        self._take_out(flight, flight.places)
        if flight.began_as_refresh:
            failed = any(isinstance(a.what, FlashbackError) for a in flight.answers.values())
            self.counts.refresh_failures += failed
        flight.land()

    def _take_out(self, flight: Flight, places: Iterable[Place]) -> None:
        """Let the next look-up of these places begin a call of its own."""
        for place in places:
            if self._flights.get(place) is flight:
                del self._flights[place]

    def _keep(self, place: Place, answer: object, now: float, *, is_final: bool) -> None:
        """Keep an answer, or what it says about the value that is kept."""
        if isinstance(answer, NotFoundError):
            self.shelf.put_missing(place, answer, now)
        elif isinstance(answer, PermissionDeniedError):
            self.shelf.entries.pop(place, None)
        elif isinstance(answer, FlashbackError):
            self.shelf.record_failure(place, answer, now)
        else:
            self.shelf.put(place, answer, now, is_final=is_final)

    # Waiting.

    async def _wait_for(self, wanted: dict[Place, Flight], ends: float | None) -> Wait:
        flights = set(wanted.values())
        wait = Wait(wanted, ends, self.clock)
        try:
            await wait.end(self._pauses)
        except BaseException:
            self._leave(flights, wait)
            raise
        for flight in wait.left:
            flight.is_refresh = True  # it goes on for the next one who asks
        self._leave(flights, wait)
        return wait

    def _leave(self, flights: set[Flight], wait: Wait) -> None:
        """Stop to wait; a flight that nobody waits for is taken out before it is cancelled."""
        for flight in flights:
            if flight.leave(wait):
                self._take_out(flight, flight.places)
                self._running.discard(flight)
                flight.cancel()

    def _result(
        self, place: Place, flight: Flight, old: Entry | None, wait: Wait, began: float
    ) -> Result:
        """Return the answer of a flight, or the old value if a failure permits that."""
        if flight.bug is not None:
            raise flight.bug
        if place in flight.answers:
            answer, arrived_at = flight.answers[place]
            if not isinstance(answer, FlashbackError):
                return self._cached(Entry(answer, arrived_at), None)
        else:
            answer = self._given_up(flight, wait, began)
        error: FlashbackError = answer
        # A value that was forgotten meanwhile is not served any more.
        if old is None or self.shelf.entries.get(place) is not old or not is_soft(error):
            return copy.copy(error)
        survives = self.shelf.survives_errors(old, self._now())
        return self._cached(old, error) if survives else copy.copy(error)

    def _given_up(self, flight: Flight, wait: Wait, began: float) -> FlashbackError:
        """Return why a call did not wait for a flight any longer."""
        elapsed = self._now() - began
        if flight in wait.held_up:
            pause = wait.outlasted_by
            text = (
                f"the server asked for a pause of another {pause:.2f} s, longer than the deadline"
            )
            return RateLimitError(text, status=429, retry_after=pause, elapsed=elapsed)
        text = f"the deadline of {seconds(elapsed)} passed"
        return DeadlineExceededError(text, attempts=1, elapsed=elapsed)
