"""The store of an export, in a thread of its own."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import date
from typing import Self, TypeVar

from flashback_async.history.rows import WIDTH, KeptDay, Values
from flashback_async.history.store import Store, open_store
from flashback_async.history.target import Format, Target

_CHUNK = 15_000  # rows that are written at once; as many more may have been asked for meanwhile
# Between parts of a chunk, the thread leaves the interpreter to the event loop, which would
# otherwise wait for it at each of its system calls. It also frees a part before the next one:
# to free a whole chunk at once takes longer than the loop should wait.
_PART, _PAUSE = 250, 0.000_5  # rows, seconds

T = TypeVar("T")


class Keeper:
    """A history that is open to be written to, while the block lasts.

    A chunk of rows is written while the next one is collected. So an error in writing is raised
    by a later call.
    """

    def __init__(self, target: Target, form: Format) -> None:
        self._target = target
        self._form = form
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flashback-history")
        self._opened = ExitStack()  # used by the thread alone, as is the store
        self._store: Store | None = None
        self._parts: deque[Values] = deque()
        self._rows = 0  # in the parts
        self._writing: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._do(self._open)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def kept(self) -> dict[date, KeptDay]:
        """Return the finished days."""
        return {kept.day: kept for kept in await self._do(lambda: self._used().kept())}

    async def begin(self, day: date) -> None:
        """Begin a day."""
        await self._do(lambda: self._used().begin(day))

    async def add(self, values: Values) -> None:
        """Add rows to the day. Wait only if those before are still being written."""
        if not self._parts or len(self._parts[-1]) >= _PART * WIDTH:
            self._parts.append([])
        self._parts[-1].extend(values)
        self._rows += len(values) // WIDTH
        if self._rows >= _CHUNK:
            await self._write()

    async def finish(self, kept: KeptDay) -> None:
        """Keep the day; once this returns, it is on the disk."""
        await self._write()
        await self._written()
        await self._do(lambda: self._used().finish(kept))

    async def discard(self) -> None:
        """Take the day back."""
        self._parts.clear()
        self._rows = 0
        await self._written()
        await self._do(lambda: self._used().discard())

    async def _write(self) -> None:
        await self._written()
        parts, self._parts, self._rows = self._parts, deque(), 0
        if parts:
            self._writing = self._do(lambda: self._used().add(_one_by_one(parts)))

    async def _written(self) -> None:
        """Wait until the last chunk is written, and raise its error."""
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    def _do(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> None:
        self._store = self._opened.enter_context(open_store(self._target, self._form))

    def _used(self) -> Store:
        assert self._store is not None  # noqa: S101 - opened before all else
        return self._store

    async def _close(self) -> None:
        """Close the store after what is being written, even if the caller is cancelled."""
        writing, self._writing = self._writing, None
        closing = self._do(self._opened.close)
        interruption = None
        while not closing.done():
            try:
                await asyncio.wait([closing])
            except asyncio.CancelledError as error:
                interruption = error
        self._thread.shutdown()
        if writing is not None and writing.done() and not writing.cancelled():
            writing.exception()  # another error, or a cancellation, has ended the export
        closing.result()
        if interruption is not None:
            raise interruption


def _one_by_one(parts: deque[Values]) -> Iterator[Values]:
    """Yield each part, and forget it; pause after it."""
    while parts:
        yield parts.popleft()
        time.sleep(_PAUSE)
