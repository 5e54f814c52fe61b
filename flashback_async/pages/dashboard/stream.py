"""Server-sent events for any number of viewers, each of which may read as slowly as it likes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

Write = Callable[[bytes], Awaitable[object]]

_PATIENCE = 60.0  # seconds for one write; a viewer that reads nothing for so long is gone
_SNAPSHOT: Final = b""  # stands for the snapshot, as it is when it is sent


def event(name: str, data: str) -> bytes:
    """Return an event whose data is one line of text."""
    return f"event: {name}\ndata: {data}\n\n".encode()


class Stream:
    """The viewers of a page, and what each of them gets next.

    A viewer that still reads keeps one event that waits. After a second one it gets a snapshot
    instead, which is made once for all. So a slow viewer takes little memory and misses nothing.

    Args:
        snapshot: Returns the events for a viewer that knows nothing yet, or too little.
        most: How many viewers there may be.
    """

    def __init__(self, snapshot: Callable[[], bytes], most: int) -> None:
        self._snapshot = snapshot
        self._most = most
        self._viewers: set[_Viewer] = set()
        self._empty = asyncio.Event()
        self._has_ended = False
        self._last: bytes | None = None

    @property
    def is_full(self) -> bool:
        """Whether there are as many viewers as there may be."""
        return len(self._viewers) >= self._most

    def publish(self, data: bytes | None) -> None:
        """Send an event to every viewer; None is a snapshot."""
        for viewer in self._viewers:
            viewer.put(data)

    def remark(self, data: bytes) -> None:
        """Send an event to the viewers that have nothing else to read."""
        for viewer in self._viewers:
            if viewer.is_idle:
                viewer.put(data)

    async def end(self, last: bytes | None, patience: float) -> None:
        """Let every viewer go after a last event, and wait for them.

        Args:
            last: The event; None for none.
            patience: The most seconds to wait. A viewer that does not read is left behind.
        """
        self._has_ended, self._last = True, last
        for viewer in self._viewers:
            viewer.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self._viewers:
                    self._empty.clear()
                    await self._empty.wait()

    async def follow(self, write: Write) -> None:
        """Send everything to a new viewer, from a snapshot to the end.

        Raises:
            TimeoutError: The viewer has not read for a minute.
        """
        viewer = _Viewer()
        if self._has_ended:
            viewer.end()
        self._viewers.add(viewer)
        try:
            while (data := await viewer.take()) is not None:
                await _write(write, data or self._snapshot())
            if self._last is not None:
                await _write(write, self._last)
        finally:
            self._viewers.discard(viewer)
            if not self._viewers:
                self._empty.set()


class _Viewer:
    """What waits for one viewer: at most one event, or a snapshot."""

    def __init__(self) -> None:
        self._event: bytes | None = _SNAPSHOT
        self._ends = False
        self._news = asyncio.Event()
        self._news.set()
        self.is_idle = False

    def put(self, data: bytes | None) -> None:
        """Let an event wait; with another one that waits, both become a snapshot."""
        is_first = not self._news.is_set()
        self._event = data if is_first and data is not None else _SNAPSHOT
        self._news.set()

    def end(self) -> None:
        """Let the viewer go, after what waits."""
        self._ends = True
        self._news.set()

    async def take(self) -> bytes | None:
        """Wait for what to send next; None is the end."""
        self.is_idle = not self._news.is_set()
        await self._news.wait()
        self.is_idle = False
        self._news.clear()
        data, self._event = self._event, None
        if self._ends:
            self._news.set()
        return data


async def _write(write: Write, data: bytes) -> None:
    async with asyncio.timeout(_PATIENCE):
        await write(data)
