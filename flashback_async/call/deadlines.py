"""The cancel scope of a call, and the timer that all scopes of an event loop share."""

from __future__ import annotations

import asyncio
import math
from enum import Enum
from types import TracebackType
from typing import Self

from flashback_async.clock import Clock, Timer

# Deadlines that pass within this many seconds of each other share one wake-up.
_GRAIN = 0.002


class Cause(Enum):
    """Why a scope cancelled its task."""

    ATTEMPT = "the attempt's time is up"
    TOTAL = "the call's time is up"
    CLOSED = "the client was closed"
    HALTED = "the call's run was halted before the call was sent"


class CancelScope:
    """A block of the running task that is cancelled when its deadline passes.

    The deadline may be moved, with another cause each time. The scope absorbs the cancellation
    that it caused itself. Any other passes through, even if both arrive at once.
    """

    deadline: float | None = None
    cancelled_by: Cause | None = None
    _cause = Cause.TOTAL

    def __init__(self, timer: DeadlineTimer) -> None:
        task = asyncio.current_task(timer.loop)
        if task is None:
            raise RuntimeError("a call must be awaited in a task")
        self._timer = timer
        self._task = task
        self._cancelled_before = task.cancelling()

    def move(self, deadline: float | None, cause: Cause) -> None:
        """Set the moment at which the task is cancelled, and why; None sets none."""
        if self.cancelled_by is not None:
            # The attempt ended in spite of the cancellation, or suppressed it.
            self.absorb(Cause.ATTEMPT)
        self.deadline = deadline
        self._cause = cause
        if deadline is not None and deadline < self._timer.wakes_at:
            self._timer.wake_at(deadline)

    def expire(self) -> None:
        """Cancel the task because the deadline has passed."""
        self.cancel(self._cause)

    def belongs_to(self, task: asyncio.Task[object] | None) -> bool:
        return self._task is task

    def cancel(self, cause: Cause) -> None:
        """Cancel the task once; a cause that ends the call outranks the end of an attempt."""
        self.deadline = None
        if self.cancelled_by is None:
            self.cancelled_by = cause
            self._task.cancel()
        elif self.cancelled_by is Cause.ATTEMPT:
            self.cancelled_by = cause

    def absorb(self, cause: Cause) -> bool:
        """Withdraw a cancellation for this cause; return whether it was the only one."""
        if self.cancelled_by is not cause:
            return False
        self.cancelled_by = None
        return self._task.uncancel() <= self._cancelled_before

    def __enter__(self) -> Self:
        self._timer.scopes.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        timer = self._timer
        timer.scopes.discard(self)
        if timer.closing:
            timer.left.set()
        if self.cancelled_by is None:
            return False
        alone = self._task.uncancel() <= self._cancelled_before
        return alone and kind is asyncio.CancelledError


class DeadlineTimer:
    """The scopes of one event loop, and one timer for the earliest of their deadlines."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self.loop = loop
        self.scopes: set[CancelScope] = set()
        self._clock = clock
        self.wakes_at = math.inf
        self._timer: Timer | None = None
        self.closing = False
        self.left = asyncio.Event()

    async def close(self) -> None:
        """Cancel every call except those of the closing task itself, and wait until they end."""
        self.closing = True
        own = asyncio.current_task()
        while others := [scope for scope in self.scopes if not scope.belongs_to(own)]:
            for scope in others:
                scope.cancel(Cause.CLOSED)
            self.left.clear()
            await self.left.wait()
        self._stop()

    def wake_at(self, when: float) -> None:
        """Schedule a check of all deadlines for this moment."""
        self._stop()
        self.wakes_at = when
        delay = max(_GRAIN, when - self._clock.monotonic())
        self._timer = self._clock.call_later(delay, self._sweep)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.wakes_at = math.inf

    def _sweep(self) -> None:
        """Cancel every scope whose deadline has passed; schedule a check for the next one."""
        self._stop()
        now = self._clock.monotonic()
        for scope in self.scopes:
            if scope.deadline is not None and scope.deadline <= now:
                scope.expire()
        ahead = [scope.deadline for scope in self.scopes if scope.deadline is not None]
        if ahead:
            self.wake_at(min(ahead))
