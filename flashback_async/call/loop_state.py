"""The state that belongs to one event loop, and is replaced as a whole with it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from weakref import WeakSet

from flashback_async.call.admission import Admission
from flashback_async.call.auth import TokenFetches, TokenSource
from flashback_async.call.deadlines import DeadlineTimer
from flashback_async.clock import Clock
from flashback_async.config import Limits
from flashback_async.errors import EventLoopError
from flashback_async.values import Transport

_THREADS = 4

# States that a forked child inherits, and must not use. Comparing process ids in every call
# would cost a system call.
_alive: WeakSet[LoopState] = WeakSet()


def _disown() -> None:
    for loop_state in _alive:
        loop_state.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)


class LoopState:
    """The transport, admission, deadlines, token fetches and threads of the running loop."""

    def __init__(
        self, transport: Transport, tokens: TokenSource, limits: Limits, clock: Clock
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport = transport
        self.admission = Admission(limits.max_concurrency, limits.max_rate, clock)
        self.timer = DeadlineTimer(self.loop, clock)
        # Threads of our own, because the application may keep the loop's busy. Each is started
        # when it is first needed.
        self.threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="flashback")
        self.tokens = TokenFetches(tokens, self.threads)
        self.closed = False
        self._pid = os.getpid()
        self._inherited = False
        _alive.add(self)
        self.transport.open()
        self._guard = _close_before_loop(self)
        # The first step reaches the yield without waiting, and registers the guard with the loop.
        with suppress(StopIteration):
            self._guard.__anext__().send(None)

    def is_ready(self) -> bool:
        """Return whether a call in the running loop can use this state as it is."""
        # A forked child cannot even ask for the running loop.
        if self.closed or self._inherited:
            return False
        return self.loop is asyncio.get_running_loop()

    def disown(self) -> None:
        """Record that this process is a fork of the one that opened this state."""
        self._inherited = True

    def check_use(self) -> None:
        """Check that the state is used in the process and loop that opened it.

        Raises:
            EventLoopError: This is a forked child, or another loop while the first one is alive.
        """
        if self._inherited:
            raise EventLoopError(
                f"the client was used in process {self._pid} before it forked this one, "
                f"{os.getpid()}: make a client in the child"
            )
        if self.loop is not asyncio.get_running_loop() and not self.loop.is_closed():
            raise EventLoopError(
                "the client is in use in another event loop that is still alive: "
                "make a client for each loop"
            )

    @property
    def is_stale(self) -> bool:
        """Whether the loop is closed, or has closed this state as it shut down."""
        return self.closed or self.loop.is_closed()

    async def close(self) -> None:
        """End every call and close every connection; closing twice is fine."""
        await self.shut()
        await self._guard.aclose()

    async def shut(self) -> None:
        self.closed = True
        try:
            await self.timer.close()
            await self.tokens.close()
        finally:
            self.threads.shutdown(wait=False, cancel_futures=True)
            await self.transport.close()

    def abandon(self) -> None:
        """Schedule this state's closing on its loop, because no caller is left to await it."""
        if not self.is_stale:
            self.loop.call_soon_threadsafe(_close_in_task, self)


async def _close_before_loop(loop_state: LoopState) -> AsyncGenerator[None, None]:
    """Close the state when its loop shuts down its async generators, if it is still open."""
    try:
        yield
    finally:
        if not loop_state.closed:
            await loop_state.shut()


# An event loop keeps only weak references to its tasks.
_closing: set[asyncio.Task[None]] = set()


def _close_in_task(loop_state: LoopState) -> None:
    task = loop_state.loop.create_task(loop_state.close())
    _closing.add(task)
    task.add_done_callback(_closing.discard)
