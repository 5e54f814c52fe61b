"""Admission: the slots, the rate limit, the learned pace, and the pause the server asked for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from aiolimiter import AsyncLimiter

from flashback_async.call.pace import Pace
from flashback_async.clock import Clock

# Obeying a pause costs no attempt: pauses of a microsecond would make an endless loop.
_SHORTEST_PAUSE = 0.1
# Seconds after which a request that waits for its turn looks again when that is.
_LOOKS_AGAIN = 0.25


class Admission:
    """The gate that each request passes: the server's pause, a slot, the rate limit, the pace.

    Calls get slots, and turns at the pace, in the order in which they asked. Belongs to one event
    loop.
    """

    def __init__(self, most: int, max_rate: float | None, clock: Clock) -> None:
        self.pace = Pace(max_rate)
        self.active = 0  # slots that are taken
        self.held_up: set[asyncio.Task[object] | None] = set()  # the tasks in ``enter``
        self._early = 0  # slots that calls in ``enter`` hold already
        self._most = most
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._limiter = None if max_rate is None else _limiter(max_rate)
        self._turns = asyncio.Lock()
        self._opens_at = 0.0  # no request leaves before this moment
        self.pause_watchers: set[Callable[[], object]] = set()

    # What the server answers.

    def answered(self, began: float) -> bool:
        """Record an answer that does not throttle; return whether it ends the pace.

        ``began`` is the moment at which its attempt began.
        """
        pace = self.pace
        if not pace.on:
            pace.count(began)
            return False
        pace.answered(began, self._clock.monotonic())
        return not pace.on

    def throttled(self, began: float, *, named_time: bool) -> bool:
        """Record an answer that throttles; return whether it begins the pace.

        ``named_time`` tells that the answer asked for the pause that was just begun.
        """
        was_on = self.pace.on
        opens_at = self._opens_at if named_time else None
        self.pace.throttled(began, self._clock.monotonic(), opens_at)
        return self.pace.on is not was_on

    def pause(self, seconds: float) -> bool:
        """Pause all calls for some seconds; return whether this begins a pause."""
        now = self._clock.monotonic()
        begins = self._opens_at <= now
        self._opens_at = max(self._opens_at, now + max(seconds, _SHORTEST_PAUSE))
        for began in list(self.pause_watchers):
            began()
        return begins

    def pause_left(self) -> float:
        """Return the seconds until the server's pause is over; 0 or less if there is none."""
        return self._opens_at - self._clock.monotonic()

    @property
    def in_flight(self) -> int:
        """The calls that hold a slot and wait for nothing here."""
        return self.active - self._early

    # When requests leave.

    def enter_at_once(self) -> bool:
        """Take a slot if the request may leave now; return whether it may."""
        if self.active >= self._most or self._waiting or self._limiter is not None or self.pace.on:
            return False
        if self._opens_at and self.pause_left() > 0:
            return False
        self.active += 1
        return True

    async def enter(self, patience: Callable[[], float]) -> bool:
        """Wait until the request may leave, and take a slot, which ``leave`` returns.

        Return False, without a slot, if the server's pause outlasts ``patience``: the seconds
        that the call can still wait.
        """
        task = asyncio.current_task()
        self.held_up.add(task)
        try:
            while True:
                while (pause := self.pause_left()) > 0:
                    if pause > patience():
                        return False
                    await self._clock.sleep(pause)
                if await self._enter_now():
                    return True
        finally:
            self.held_up.discard(task)

    async def _enter_now(self) -> bool:
        """Take a slot, and wait for a turn; return whether no pause began meanwhile."""
        await self._take_slot()
        entered = False
        try:
            if self._limiter is not None:
                await self._limiter.acquire()
            if self.pace.on:
                await self._take_turn()
            entered = self.pause_left() <= 0
        finally:
            self._early -= 1
            if not entered:
                self.leave()
        return entered

    def leave(self) -> None:
        """Return the slot, and hand it to the call that has waited longest."""
        self.active -= 1
        while self._waiting and self.active < self._most:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self.active += 1
                self._early += 1
                waiter.set_result(None)

    async def _take_slot(self) -> None:
        if not self._waiting and self.active < self._most:
            self.active += 1
            self._early += 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._early -= 1
                self.leave()
            raise

    async def _take_turn(self) -> None:
        """Wait for a turn at the pace; give it up once the server asks for a pause."""
        pace, clock = self.pace, self._clock
        waited = False
        async with self._turns:
            while pace.on and self.pause_left() <= 0:
                now = clock.monotonic()
                wait = pace.turn() - now
                if wait <= 0:
                    pace.take_turn(now, waited=waited)
                    return
                waited = True
                await clock.sleep(min(wait, _LOOKS_AGAIN))


def _limiter(max_rate: float) -> AsyncLimiter:
    """Return a limiter under which no second sees more than 1.2 times the rate.

    Its burst is a tenth of a second's worth, but at least one request. Below 5 requests
    a second it is 5 % slower, so that a late request does not join the next one.
    """
    burst = max(1.0, max_rate / 10)
    slack = 1.05 if max_rate < 5 else 1.0
    return AsyncLimiter(burst, burst / max_rate * slack)
