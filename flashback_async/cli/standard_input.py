"""Bucket ids from standard input, one a line."""

from __future__ import annotations

import asyncio
import codecs
import math
import os
import stat
import sys
from collections import deque
from typing import Any

import click

from flashback_async.cli.messages import say
from flashback_async.cli.streams import read_some
from flashback_async.cli.threads import in_thread

_CHUNK = 65_536
_LONGEST_LINE = 2**20  # characters; a shorter one that is no id fails alone

# Limits on an input that may never end, once its run has ended.
_PATIENCE = 0.2  # seconds of waiting, in all
_MOST_LATE = 200_000  # ids


class StandardInput:
    """The ids on standard input, read as they are asked for.

    A cancelled call of `read` loses no id: its thread reads on, and the next call takes what it
    has read.
    """

    def __init__(self) -> None:
        if sys.stdin is None or sys.stdin.closed:
            raise click.UsageError("standard input is closed, so there are no ids to read from it")
        if sys.stdin.isatty():
            say("Reading bucket ids, one a line, until the end of input (Ctrl-D).")
        # The raw stream returns what has arrived, and has no lock for a thread to hold at exit.
        self._raw: Any = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
        # Bytes that are not UTF-8 become characters that no id may hold: only that line fails.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="surrogateescape")
        self._line = ""  # the last one, while its end has not arrived
        self._ids: deque[str] = deque()
        self._reading: asyncio.Future[bytes] | None = None
        self._ended = False
        self._patience: float | None = None
        self._late = math.inf

    @property
    def unread(self) -> bool:
        """Whether there may be more ids than `read` has returned."""
        return bool(self._ids) or not self._ended

    def hurry(self) -> None:
        """Stop waiting soon: from now on, only an input that has ended is read to its end."""
        if not _is_file(self._raw):
            self._patience, self._late = _PATIENCE, _MOST_LATE

    async def read(self) -> str | None:
        """Return the next id; None at the end of input, or once there is no more time for it.

        Raises:
            click.UsageError: The input holds no lines.
            OSError: It cannot be read.
        """
        while not self._ids and not self._ended and await self._has_arrived():
            self._take_chunk()
        if not (self._ids and self._late):
            return None
        self._late -= 1
        return self._ids.popleft()

    async def _has_arrived(self) -> bool:
        """Wait for the next bytes, or the end of input; False if patience ran out."""
        if self._reading is None:
            self._reading = in_thread(lambda: read_some(self._raw, _CHUNK))
        loop = asyncio.get_running_loop()
        began = loop.time()
        done, _ = await asyncio.wait([self._reading], timeout=self._patience)
        if self._patience is not None:
            self._patience = max(0.0, self._patience - (loop.time() - began))
        return bool(done)

    def _take_chunk(self) -> None:
        assert self._reading is not None  # noqa: S101 - it has just been awaited
        reading, self._reading = self._reading, None
        chunk = reading.result()
        self._ended = not chunk
        *lines, self._line = (self._line + self._decoder.decode(chunk, self._ended)).split("\n")
        if len(self._line) > _LONGEST_LINE:
            raise click.UsageError("standard input does not hold ids, one a line")
        if self._ended:
            lines.append(self._line)
        stripped = map(str.strip, lines)
        self._ids.extend(line for line in stripped if line and not line.startswith("#"))


def _is_file(stream: Any) -> bool:
    """Return whether a stream is a file on disk, which has an end and never blocks."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except OSError:  # a replacement without a descriptor
        return True
