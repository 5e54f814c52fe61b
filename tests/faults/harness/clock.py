"""A clock whose sleeps take no time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class FakeClock:
    """A clock that stops, or runs with real time (``run``); a sleep jumps to its end.

    If several tasks sleep at once, the clock jumps to the latest of their ends. ``chance`` is the
    place of a random number in its range: 1 is the upper end.
    """

    def __init__(self) -> None:
        self.sleeps: list[float] = []
        self.draws: list[tuple[float, float]] = []
        self.chance = 1.0
        self.wall_offset = 1_750_000_000.0
        self._now = 1000.0
        self._since: float | None = None

    @property
    def runs(self) -> bool:
        return self._since is not None

    def run(self) -> None:
        """Run on with real time, for faults that only a real timeout ends."""
        self._since = time.monotonic()

    def advance(self, seconds: float) -> None:
        self._now += seconds

    def monotonic(self) -> float:
        return self._now + (0.0 if self._since is None else time.monotonic() - self._since)

    def wall(self) -> float:
        return self.monotonic() + self.wall_offset

    def uniform(self, low: float, high: float) -> float:
        self.draws.append((low, high))
        return low + (high - low) * self.chance

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback)

    async def sleep(self, seconds: float) -> None:
        ends = self.monotonic() + seconds
        if seconds > 0:
            self.sleeps.append(seconds)
        await asyncio.sleep(0)
        self.advance(max(0.0, ends - self.monotonic()))
