"""Bucket ids from the arguments and, where one of them is "-", from standard input."""

from __future__ import annotations

import codecs
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import BinaryIO

import click

from flashback_async.cli.messages import say
from flashback_async.cli.streams import read_some
from flashback_async.cli.threads import in_thread

STDIN = "-"
_CHUNK = 65_536
_LONGEST_LINE = 10_000


def ids_of(arguments: Sequence[str]) -> Sequence[str] | AsyncIterator[str]:
    """Give the ids, read lazily where some of them come from standard input."""
    return _chained(arguments) if STDIN in arguments else arguments


async def _chained(arguments: Iterable[str]) -> AsyncIterator[str]:
    for argument in arguments:
        if argument != STDIN:
            yield argument
            continue
        async for bucket_id in _from_stdin():
            yield bucket_id


async def _from_stdin() -> AsyncIterator[str]:
    """Read one id a line; blank lines and those that start with # are none."""
    if sys.stdin is None or sys.stdin.closed:
        raise click.UsageError("standard input is closed, so there are no ids to read from it")
    if sys.stdin.isatty():
        say("Reading bucket ids, one a line, until the end of input (Ctrl-D).")
    async for line in _lines(sys.stdin.buffer):
        bucket_id = line.strip()
        if bucket_id and not bucket_id.startswith("#"):
            yield bucket_id


async def _lines(stream: BinaryIO) -> AsyncIterator[str]:
    """Read lines as they arrive, without holding up the event loop or more than a chunk."""
    # The raw stream gives what is there, and has no lock for a thread to hold as Python ends.
    raw = getattr(stream, "raw", stream)
    # Bytes that are no UTF-8 become characters that no id may hold: that line fails, not the run.
    decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="surrogateescape")
    rest = ""
    while chunk := await in_thread(lambda: read_some(raw, _CHUNK)):
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        if len(rest) > _LONGEST_LINE:
            raise click.UsageError("standard input does not hold ids, one a line")
        for line in lines:
            yield line
    yield rest + decoder.decode(b"", final=True)
