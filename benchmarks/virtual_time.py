"""An event loop in virtual time, and a clock that reads it."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable
from contextvars import Context
from typing import Any

BEGAN = 1000.0  # seconds on the clock of every virtual loop as it begins


class _Skipping(selectors.DefaultSelector):
    """A selector that skips to the next timer instead of waiting for it."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._busy = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            self._busy += 1
            if self._busy > 100:  # somebody polls, and counts on time to pass meanwhile
                self._loop.now += 1e-6
            return events
        self._busy = 0
        if self._loop.threads:
            return super().select(20)
        if timeout is None:
            raise AssertionError("every task waits for something that will never happen")
        self._loop.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only, and at once, when there is nothing to do.

    Whatever waits in it is exact to the nanosecond and costs no time. A program that would hang
    fails.
    """

    def __init__(self) -> None:
        self.now = BEGAN
        self.threads = 0
        super().__init__(_Skipping(self))

    def time(self) -> float:
        return self.now

    @property
    def timers(self) -> list[asyncio.TimerHandle]:
        """The timers that are still to fire."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined] # asyncio's own list
        return [handle for handle in scheduled if not handle.cancelled()]

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        # A timer that rounding has put a hair ahead must not stand still there.
        if self.now < when < self.now + 1e-6:
            when = self.now + 1e-6
        return super().call_at(when, callback, *args, context=context)

    def run_in_executor(  # type: ignore[override] # typeshed's is generic
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = super().run_in_executor(executor, func, *args)
        self.threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _: object) -> None:
        self.threads -= 1

    async def shutdown_default_executor(self, *args: Any, **kwargs: Any) -> None:
        self.threads += 1
        await super().shutdown_default_executor(*args, **kwargs)


class VirtualClock:
    """The clock of the running loop, with chance from a seed."""

    def __init__(self, seed: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.uniform = random.Random(seed).uniform

    def monotonic(self) -> float:
        return self._loop.time()

    def wall(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, callback)
