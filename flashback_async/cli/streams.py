"""The standard streams of the process, even if they are closed or non-blocking."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from typing import Any, TextIO


def prepare_streams() -> str | None:
    """Make the standard streams usable; return what is wrong if they cannot be."""
    # The next descriptor that the process opens must not take the place of a closed one.
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        sys.stderr = open(nowhere, "w", closefd=False)  # noqa: SIM115 - open until the process ends
    if sys.stdout is None:
        return "standard output is closed"
    sys.stdout, sys.stderr = _prepared(sys.stdout), _prepared(sys.stderr)
    return None


def drop_output() -> None:
    """Discard what the buffer of standard output holds, or Python tries to write it at exit."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def flush_output() -> None:
    """Write what the buffer of standard output holds, or discard it if that fails."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        drop_output()


def read_some(stream: Any, most: int) -> bytes:
    """Read the bytes that a raw stream has, waiting for the first; none are the end of input."""
    while (data := stream.read(most)) is None:  # non-blocking, and nothing has arrived yet
        select.select([stream], [], [])
    chunk: bytes = data
    return chunk


class _PatientOutput(io.FileIO):
    """A descriptor to write to, which waits for a slow reader even if it is non-blocking.

    Any process that shares a pipe or a terminal can make it non-blocking, at any time. A plain
    `FileIO` then writes a part or nothing, and an unbuffered text stream loses the rest.
    """

    def __init__(self, given: TextIO) -> None:
        super().__init__(given.fileno(), "w", closefd=False)
        self._given = given  # if it were collected, it would close the descriptor

    def write(self, data: Any, /) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            written: int | None = super().write(rest)
            if written is None:
                select.select([], [self], [])
            else:
                rest = rest[written:]
        return size


def _prepared(stream: TextIO) -> TextIO:
    """Return a stream that writes everything, and any character, whatever its encoding."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream  # a replacement, such as that of a test
    # No character that the terminal's encoding lacks may end a run.
    stream.reconfigure(errors="backslashreplace")
    buffer = stream.buffer
    raw = getattr(buffer, "raw", buffer)
    if type(raw) is not io.FileIO:
        return stream  # a console of Windows, which has no non-blocking mode
    output: Any = _PatientOutput(stream)
    if buffer is not raw:
        output = io.BufferedWriter(output)
    stream.flush()
    return io.TextIOWrapper(
        output,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
