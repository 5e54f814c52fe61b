"""One cancel scope for attempt, total time and close, and one timer for the scopes of a loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Self

# Deadlines that pass within this many seconds of each other are served by one wake-up.
_GRAIN = 0.002


class Cut(Enum):
    """Why a scope cut its task off."""

    ATTEMPT = "attempt"
    TOTAL = "total"
    CLOSED = "closed"


class Scope:
    """Let the code inside run until a moment that may be moved; ``cut`` says what ended it.

    Belongs to the running task. The cancellation that a scope itself asked for ends at the
    scope. Any other passes through, also when both arrive at once.
    """

    _reason = Cut.TOTAL
    when: float | None = None
    cut: Cut | None = None

    def __init__(self, deadlines: Deadlines) -> None:
        task = asyncio.current_task(deadlines.loop)
        if task is None:
            raise RuntimeError("a call must be awaited in a task")
        self._deadlines = deadlines
        self._task = task
        self._before = task.cancelling()

    def until(self, when: float | None, reason: Cut) -> None:
        """Move the moment at which the task is cut off; None waits without end."""
        if self.cut is not None:
            self.absorbs(Cut.ATTEMPT)  # the attempt ended all the same, or held it back
        self.when = when
        self._reason = reason
        if when is not None and when < self._deadlines.wakes_at:
            self._deadlines.wake_at(when)

    def expire(self) -> None:
        self.fire(self._reason)

    def is_of(self, task: asyncio.Task[object] | None) -> bool:
        return self._task is task

    def fire(self, reason: Cut) -> None:
        """Cancel the task, once; what ends the call goes before what ends an attempt."""
        self.when = None
        if self.cut is None:
            self.cut = reason
            self._task.cancel()
        elif self.cut is Cut.ATTEMPT:
            self.cut = reason

    def absorbs(self, reason: Cut) -> bool:
        """Take a cancellation back if it came for this reason and from this scope alone."""
        if self.cut is not reason:
            return False
        self.cut = None
        return self._task.uncancel() <= self._before

    def __enter__(self) -> Self:
        self._deadlines.scopes.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        deadlines = self._deadlines
        deadlines.scopes.discard(self)
        if deadlines.closing:
            deadlines.left.set()
        if self.cut is None:
            return False
        alone = self._task.uncancel() <= self._before
        return alone and kind is asyncio.CancelledError


class Deadlines:
    """Keep the scopes of one event loop, and wake once for the earliest of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, monotonic: Callable[[], float]) -> None:
        self.loop = loop
        self.scopes: set[Scope] = set()
        self._monotonic = monotonic
        self.wakes_at = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self.closing = False
        self.left = asyncio.Event()

    async def close(self) -> None:
        """Cut off every call but one that the closing task itself makes, and see them end."""
        self.closing = True
        own = asyncio.current_task()
        while others := [scope for scope in self.scopes if not scope.is_of(own)]:
            for scope in others:
                scope.fire(Cut.CLOSED)
            self.left.clear()
            await self.left.wait()
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.wakes_at = math.inf

    def wake_at(self, when: float) -> None:
        """See to it that the scopes are looked at when this moment comes."""
        self._stop_timer()
        self.wakes_at = when
        delay = max(_GRAIN, when - self._monotonic())
        self._timer = self.loop.call_later(delay, self._sweep)

    def _sweep(self) -> None:
        """Cut off all whose moment has come; wake again for the earliest of the rest."""
        self._stop_timer()
        now = self._monotonic()
        for scope in self.scopes:
            if scope.when is not None and scope.when <= now:
                scope.expire()
        ahead = [scope.when for scope in self.scopes if scope.when is not None]
        if ahead:
            self.wake_at(min(ahead))
