"""Who may send now: a free slot, the pace, the pause that the server asked for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from aiolimiter import AsyncLimiter

from flashback_async.values import Clock

# Obeying a pause costs no attempt: one of a microsecond would make a loop without end.
_SHORTEST_PAUSE = 0.1


class Flow:
    """Decide how many may send at once and whether anyone may: pure, without waiting.

    Concurrency is halved when the server throttles, once for all requests that were then under
    way, and grows by one for each full round of answers that were not throttled.
    """

    def __init__(self, most: int) -> None:
        self.slots = most  # how many may send at once now
        self.active = 0  # how many do
        self.round = 0  # the one that a request sent now belongs to; a throttling ends a round
        self.opens_at = 0.0  # nobody sends before
        self._most = most
        self._window = float(most)

    def has_slot(self) -> bool:
        return self.active < self.slots

    def take(self) -> None:
        self.active += 1

    def throttled(self, sent_in: int) -> None:
        """Take note of an answer that throttles a request of that round."""
        if sent_in == self.round:
            self.round += 1
            self._resize(max(1.0, self._window / 2))

    def answered(self) -> None:
        """Take note of an answer that does not throttle."""
        if self.slots < self._most:
            self._resize(min(float(self._most), self._window + 1 / self._window))

    def _resize(self, window: float) -> None:
        self._window = window
        self.slots = int(window)

    def pause(self, now: float, seconds: float) -> bool:
        """Let nobody send for these seconds; tells whether a pause begins."""
        begins = self.opens_at <= now
        self.opens_at = max(self.opens_at, now + max(seconds, _SHORTEST_PAUSE))
        return begins


class Admission:
    """Wait for the moment to send: the gate of the server's pause, a slot, the pace.

    Slots are handed over in the order of asking. Belongs to one event loop.
    """

    def __init__(self, most: int, max_rate: float | None, clock: Clock) -> None:
        self.flow = Flow(most)
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._pace = None if max_rate is None else _pace(max_rate)

    def pause_left(self) -> float:
        """Give the seconds until the server's pause is over; 0 or less where there is none."""
        return self.flow.opens_at - self._clock.monotonic()

    def enter_at_once(self) -> bool:
        """Take a slot if nothing is in the way of sending; tells whether it did."""
        flow = self.flow
        if flow.active >= flow.slots or self._waiting or self._pace is not None:
            return False
        if flow.opens_at and self.pause_left() > 0:
            return False
        flow.active += 1
        return True

    async def enter(self, patience: Callable[[], float]) -> bool:
        """Wait for leave to send and take a slot, to be given back with ``leave``.

        False, and no slot, where the server's pause outlasts ``patience``, the seconds that the
        caller can still wait.
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
        """Give the slot back, and hand free slots to those who wait longest."""
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
    """Make a limiter that lets no second see more than 1.2 times the rate.

    Its burst is a tenth of a second's worth, but at least one request: where that is much of the
    rate, the pace is a little slower, so that one late request does not fall in with the next.
    """
    burst = max(1.0, max_rate / 10)
    slack = 1.05 if max_rate < 5 else 1.0
    return AsyncLimiter(burst, burst / max_rate * slack)
