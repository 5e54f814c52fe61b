"""The state file of a watch in the event loop: opened, written and closed in a thread."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from flashback_async.clock import Clock
from flashback_async.endings import all_ended
from flashback_async.watch.outbox import Batch, Outbox

if TYPE_CHECKING:
    from flashback_async.watch.store import Store

logger = logging.getLogger("flashback_async")

T = TypeVar("T")

_WRITE_EVERY = 1.0  # seconds


class Keeper:
    """What keeps the outbox of a watch in its state file. ``changed`` is called after a write."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        outbox: Outbox,
        clock: Clock,
        changed: Callable[[], object],
    ) -> None:
        self._path = path
        self._outbox = outbox
        self._clock = clock
        self._changed = changed
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flashback-watch")
        self._store: Store | None = None
        self._fails = False
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Have the file written soon, because there may be something new."""
        self._news.set()

    async def open(self) -> None:
        """Open the file, and restore the outbox from it.

        Raises:
            ConfigurationError: The file is not one of a watch, or is in use.
        """
        await self._in_thread(self._open)
        assert self._store is not None  # noqa: S101 - just opened
        self._outbox.restore(*await self._in_thread(self._store.load))

    async def write_changes(self) -> None:
        """Write what is new, at most once a second, for ever."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self._write(self._outbox.batch())
            await self._clock.sleep(_WRITE_EVERY)

    async def close(self) -> None:
        """Write what is left, and close the file."""
        try:
            if self._store is not None:
                await self._write(self._outbox.last_batch())
        finally:
            try:
                await self._in_thread(self._close)
            finally:
                self._thread.shutdown()  # idle by now, so this does not wait

    def _open(self) -> None:
        from flashback_async.watch.store import Store  # SQLite is loaded only if there is a file

        self._store = Store(self._path)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()

    async def _write(self, batch: Batch) -> None:
        if not batch or self._store is None:
            return
        writing = self._submit(partial(self._store.write, batch))
        try:
            await all_ended([writing])
        finally:
            self._record(batch, writing.exception())
            self._changed()

    def _record(self, batch: Batch, failure: BaseException | None) -> None:
        """Record how a write ended; delivery goes on also if the file cannot be written."""
        if failure is None:
            self._outbox.written(batch)
            if self._fails:
                logger.info("watch: the state file %a is written again", os.fspath(self._path))
        else:
            self._outbox.not_written(batch)
            if not self._fails:
                text = "watch: the state file %a cannot be written, and is tried again: %s"
                logger.warning(text, os.fspath(self._path), failure)
        self._fails = failure is not None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Return the result of a function that runs in the thread."""
        running = self._submit(work)
        await all_ended([running])
        return running.result()

    def _submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work)
