"""Admission: the slots, the rate limit, and the pause that the server asked for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from aiolimiter import AsyncLimiter

from flashback_async.values import Clock

# Obeying a pause costs no attempt: pauses of a microsecond would make an endless loop.
_SHORTEST_PAUSE = 0.1


class Flow:
    """The number of calls that may send at once, and the moment before which none may.

    A throttled answer halves concurrency, once for all requests that were then in flight. Each
    full round of answers that are not throttled adds one.
    """

    def __init__(self, most: int) -> None:
        self.slots = most  # calls that may send at once now
        self.active = 0  # calls that are sending
        self.round = 0  # the round of a request sent now; a throttled answer ends a round
        self.opens_at = 0.0  # no call sends before this moment
        self._most = most
        self._window = float(most)

    def has_slot(self) -> bool:
        return self.active < self.slots

    def take(self) -> None:
        self.active += 1

    def throttled(self, sent_in: int) -> None:
        """Record that the server throttled a request sent in that round."""
        if sent_in == self.round:
            self.round += 1
            self._resize(max(1.0, self._window / 2))

    def answered(self) -> None:
        """Record an answer that does not throttle."""
        if self.slots < self._most:
            self._resize(min(float(self._most), self._window + 1 / self._window))

    def _resize(self, window: float) -> None:
        self._window = window
        self.slots = int(window)

    def pause(self, now: float, seconds: float) -> bool:
        """Pause all calls for some seconds; return whether this begins a pause."""
        begins = self.opens_at <= now
        self.opens_at = max(self.opens_at, now + max(seconds, _SHORTEST_PAUSE))
        return begins


class Admission:
    """The gate that each request passes: the server's pause, a slot, the rate limit.

    Calls get slots in the order in which they asked. Belongs to one event loop.
    """

    def __init__(self, most: int, max_rate: float | None, clock: Clock) -> None:
        self.flow = Flow(most)
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._pace = None if max_rate is None else _pace(max_rate)

    def pause_left(self) -> float:
        """Return the seconds until the server's pause is over; 0 or less if there is none."""
        return self.flow.opens_at - self._clock.monotonic()

    def enter_at_once(self) -> bool:
        """Take a slot if the request may leave now; return whether it may."""
        flow = self.flow
        if flow.active >= flow.slots or self._waiting or self._pace is not None:
            return False
        if flow.opens_at and self.pause_left() > 0:
            return False
        flow.active += 1
        return True

    async def enter(self, patience: Callable[[], float]) -> bool:
        """Wait until the request may leave, and take a slot, which ``leave`` returns.

        Return False, without a slot, if the server's pause outlasts ``patience``: the seconds
        that the call can still wait.
        """
        while True:
            while (pause := self.pause_left()) > 0:
                if pause > patience():
                    return False
                await self._clock.sleep(pause)
            await self._take_slot()
            if self._pace is not None:
                await self._keep_pace(self._pace)
            if self.pause_left() <= 0:
                return True
            self.leave()

    def leave(self) -> None:
        """Return the slot, and hand free slots to the calls that have waited longest."""
        self.flow.active -= 1
        if self._waiting:
            self._hand_on()

    def _hand_on(self) -> None:
        while self._waiting and self.flow.has_slot():
            waiter = self._waiting.popleft()
            if not waiter.done():
                self.flow.take()
                waiter.set_result(None)

    async def _take_slot(self) -> None:
        if not self._waiting and self.flow.has_slot():
            self.flow.take()
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.leave()
            raise

    async def _keep_pace(self, pace: AsyncLimiter) -> None:
        try:
            await pace.acquire()
        except BaseException:
            self.leave()
            raise


def _pace(max_rate: float) -> AsyncLimiter:
    """Return a limiter under which no second sees more than 1.2 times the rate.

    Its burst is a tenth of a second's worth, but at least one request. Below 5 requests
    a second the pace is 5 % slower, so that a late request does not join the next one.
    """
    burst = max(1.0, max_rate / 10)
    slack = 1.05 if max_rate < 5 else 1.0
    return AsyncLimiter(burst, burst / max_rate * slack)
