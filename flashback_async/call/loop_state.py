"""What belongs to one event loop, and is replaced as a whole with it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import suppress
from weakref import WeakSet

from flashback_async.call.admission import Admission
from flashback_async.call.deadlines import Deadlines
from flashback_async.config import Limits
from flashback_async.errors import EventLoopError
from flashback_async.values import Clock, Transport

# Those that a process may inherit: asking for its number each time would be a call of the system.
_alive: WeakSet[LoopState] = WeakSet()


def _disown() -> None:
    for loop_state in _alive:
        loop_state.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)


class LoopState:
    """Hold the transport, the admission and the deadlines of the running loop."""

    def __init__(self, transport: Transport, limits: Limits, clock: Clock) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport = transport
        self.admission = Admission(limits.max_concurrency, limits.max_rate, clock)
        self.deadlines = Deadlines(self.loop, clock.monotonic)
        self.closed = False
        self._pid = os.getpid()
        self._inherited = False
        _alive.add(self)
        self.transport.open()
        self._guard = _close_before_loop(self)
        # Runs to its first yield without waiting, and is from then on known to the loop.
        with suppress(StopIteration):
            self._guard.__anext__().send(None)

    def is_ready(self) -> bool:
        """Tell whether a call in the running loop can use the pool as it is."""
        # In a forked child not even the running loop can be asked for.
        if self.closed or self._inherited:
            return False
        return self.loop is asyncio.get_running_loop()

    def disown(self) -> None:
        """Take note that this process is a fork of the one that the pool belongs to."""
        self._inherited = True

    def check_use(self) -> None:
        """See to it that the loop_state is used where it was opened.

        Raises:
            EventLoopError: This is a forked child, or another loop while the pool's own lives.
        """
        if self._inherited:
            raise EventLoopError(
                f"the client was used in process {self._pid} before it forked this one, "
                f"{os.getpid()}: make a client in the child"
            )
        if self.loop is not asyncio.get_running_loop() and not self.loop.is_closed():
            raise EventLoopError(
                "the client is in use in another event loop that still lives: "
                "make a client for each loop"
            )

    @property
    def is_stale(self) -> bool:
        """Tell whether the pool's loop is gone, or has closed the pool on its way out."""
        return self.closed or self.loop.is_closed()

    async def close(self) -> None:
        """End every call and close every connection; closing twice is fine."""
        await self.shut()
        await self._guard.aclose()

    async def shut(self) -> None:
        self.closed = True
        try:
            await self.deadlines.close()
        finally:
            await self.transport.close()

    def abandon(self) -> None:
        """Have the loop close the pool soon, where nobody is left to wait for it."""
        if not self.is_stale:
            self.loop.call_soon_threadsafe(_close_in_task, self)


async def _close_before_loop(loop_state: LoopState) -> AsyncGenerator[None, None]:
    """Close the pool in the last moment that its loop can: as the loop ends its generators."""
    try:
        yield
    finally:
        if not loop_state.closed:
            await loop_state.shut()


# A loop refers to its tasks weakly.
_closing: set[asyncio.Task[None]] = set()


def _close_in_task(loop_state: LoopState) -> None:
    task = loop_state.loop.create_task(loop_state.close())
    _closing.add(task)
    task.add_done_callback(_closing.discard)
