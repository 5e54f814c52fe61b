"""What a test of code that uses the SDK needs beside the sandbox."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flashback_async.clock import SystemClock
from flashback_async.timing import Timing, replaced
from flashback_async.values import (
    Attempt,
    NoAnswer,
    Request,
    Response,
    Secret,
    Transport,
)

__all__ = ["skip_waits"]

# Real seconds of rest before the clock jumps, in which whatever is ready can begin its request.
_REST = 0.001
# Seconds of the clock in which sleeps that end one after the other are skipped together.
_GRAIN = 0.01


@contextmanager
def skip_waits() -> Iterator[None]:
    """Let the SDK's own waits end at once, for every client that is made within the block.

    These are the pauses that the API asks for, back-offs, turns at the pace of a throttled
    client, and the time between two polls of a watch or of ``wait_until``. The client's clock
    jumps to the next of their ends while no request of the client is under way, so waits that
    overlap are skipped together. Everything else stays real: time limits on sockets, the sandbox's
    ``rate_limit`` and ``Fault.between``, ``Limits.max_rate``, and sleeps of your own code.
    """
    with replaced(_skipping):
        yield


def _skipping() -> Timing:
    clock = _SkippingClock()
    return Timing(clock, lambda transport: _Watched(transport, clock))


class _SkippingClock:
    """A clock that jumps to the end of the next sleep while no request is under way."""

    wall = staticmethod(SystemClock.wall)
    uniform = staticmethod(SystemClock.uniform)

    def __init__(self) -> None:
        self._ahead = 0.0  # seconds that were skipped
        self._under_way = 0
        self._sleeps: list[_Due] = []  # heaps, by when they are due
        self._timers: list[_Due] = []
        self._resting: asyncio.TimerHandle | None = None

    def monotonic(self) -> float:
        return SystemClock.monotonic() + self._ahead

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()  # unlike a future, it can be set after the sleep was cancelled
        due = self._add(self._sleeps, seconds, woken.set)
        self._rest()
        try:
            await woken.wait()
        finally:
            due.cancel()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> _Due:
        """Call a function when its time has come or was skipped; that alone makes no jump."""
        return self._add(self._timers, seconds, callback)

    def begin(self) -> None:
        """Record that a request is under way."""
        self._under_way += 1

    def end(self) -> None:
        """Record that it has ended."""
        self._under_way -= 1
        self._rest()

    def _add(self, heap: list[_Due], seconds: float, callback: Callable[[], object]) -> _Due:
        due = _Due(self.monotonic() + seconds, callback)
        # What is real ends it as well: a request that takes longer does not hold up a sleep.
        due.real = asyncio.get_running_loop().call_later(seconds, due.fire)
        heapq.heappush(heap, due)
        return due

    def _rest(self) -> None:
        """Jump in a moment, if nothing is under way by then."""
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        if _first(self._sleeps) is not None and not self._under_way:
            self._resting = asyncio.get_running_loop().call_later(_REST, self._jump)

    def _jump(self) -> None:
        """Move on to the end of the next sleep, or to a timer that is due before it."""
        self._resting = None
        sleep, timer = _first(self._sleeps), _first(self._timers)
        if sleep is not None and not self._under_way:
            if timer is not None and timer.at <= sleep.at:
                self._move_to(timer.at)
                heapq.heappop(self._timers).fire()
            else:
                self._move_to(sleep.at + _GRAIN)
                while (sleep := _first(self._sleeps)) and sleep.at <= self.monotonic():
                    heapq.heappop(self._sleeps).fire()
        self._rest()

    def _move_to(self, moment: float) -> None:
        self._ahead += max(0.0, moment - self.monotonic())


class _Due:
    """A function that is called once, at a moment of the clock or when its real time has come."""

    def __init__(self, at: float, callback: Callable[[], object]) -> None:
        self.at = at
        self.is_over = False
        self.real: asyncio.TimerHandle | None = None
        self._callback = callback

    def __lt__(self, other: _Due) -> bool:
        return self.at < other.at

    def fire(self) -> None:
        if not self.is_over:
            self.cancel()
            self._callback()

    def cancel(self) -> None:
        self.is_over = True
        if self.real is not None:
            self.real.cancel()


def _first(heap: list[_Due]) -> _Due | None:
    """Return what is due first and neither over nor cancelled."""
    while heap and heap[0].is_over:
        heapq.heappop(heap)
    return heap[0] if heap else None


class _Watched:
    """A transport whose exchanges the clock counts."""

    def __init__(self, transport: Transport, clock: _SkippingClock) -> None:
        self._transport = transport
        self._clock = clock
        self.open = transport.open
        self.recall = transport.recall
        self.close = transport.close

    async def send(self, request: Request, secret: Secret, attempt: Attempt) -> Response | NoAnswer:
        self._clock.begin()
        try:
            return await self._transport.send(request, secret, attempt)
        finally:
            self._clock.end()
