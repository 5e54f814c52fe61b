"""What a test of code that uses the SDK needs beside the sandbox."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from flashback_async.timing import Timing, replaced
from flashback_async.values import (
    Attempt,
    NoAnswer,
    Request,
    Response,
    Secret,
    SystemClock,
    Transport,
)

__all__ = ["skip_waits"]

# Real seconds of rest before the clock jumps, in which whatever is ready can begin its request.
_REST = 0.002


@contextmanager
def skip_waits() -> Iterator[None]:
    """Let the SDK's own waits end at once, for every client that is made within the block.

    These are the pauses that the API asks for, back-offs, and turns at the pace of a throttled
    client. The client's clock jumps to the next of their ends while no request of the client is
    under way, so waits that overlap are skipped together. Everything else stays real: time limits
    on sockets, the sandbox's ``rate_limit`` and ``Fault.between``, ``Limits.max_rate``, and sleeps
    of your own code.
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
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []  # a heap, by their ends
        self._numbers = count()
        self._resting: asyncio.TimerHandle | None = None

    def monotonic(self) -> float:
        return SystemClock.monotonic() + self._ahead

    async def sleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._sleepers, (self.monotonic() + seconds, next(self._numbers), woken))
        self._rest()
        # A request that takes longer than the sleep does not hold it up.
        timer = loop.call_later(seconds, _wake, woken)
        try:
            await woken
        finally:
            timer.cancel()
            woken.cancel()

    def begin(self) -> None:
        """Record that a request is under way."""
        self._under_way += 1

    def end(self) -> None:
        """Record that it has ended."""
        self._under_way -= 1
        self._rest()

    def _rest(self) -> None:
        """Jump in a moment, if nothing is under way by then."""
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        if self._sleepers and not self._under_way:
            self._resting = asyncio.get_running_loop().call_later(_REST, self._jump)

    def _jump(self) -> None:
        self._resting = None
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        if self._sleepers and not self._under_way:
            end, _, woken = heapq.heappop(self._sleepers)
            self._ahead += max(0.0, end - self.monotonic())
            _wake(woken)
        self._rest()


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


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
