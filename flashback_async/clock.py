"""The clock that all waits of a client go by."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Prevent the call."""


CallLater = Callable[[float, Callable[[], object]], Timer]


class Clock(Protocol):
    """A source of time, sleep and randomness, which a test can replace."""

    def monotonic(self) -> float: ...
    def wall(self) -> float: ...
    def uniform(self, low: float, high: float) -> float: ...
    async def sleep(self, seconds: float) -> None: ...
    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer: ...


class SystemClock:
    """The machine's own time and randomness."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    uniform = staticmethod(random.uniform)
    sleep = staticmethod(asyncio.sleep)

    @staticmethod
    def call_later(seconds: float, callback: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, callback)
