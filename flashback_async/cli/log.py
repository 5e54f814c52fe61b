"""The package's log on standard error, or as lines for a command that runs for long."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue

from flashback_async.cli.options import Options
from flashback_async.cli.output import write_raw
from flashback_async.cli.text import printable

_PATIENCE = 0.2  # seconds for the last lines, at the end

_REJECTED = 401

Tell = Callable[[str], object]


def log_to_stderr(verbosity: int) -> None:
    """Write what the package logs to standard error, until the process ends."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("flashback_async")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbosity == 1 else logging.DEBUG)


@contextmanager
def log_lines(options: Options, tell: Tell) -> Iterator[None]:
    """Write what the package logs, a line each: warnings, or what the options ask for."""
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    level = logging.ERROR if options.quiet else levels[min(options.verbose, 2)]
    logger, handler = logging.getLogger("flashback_async"), _Handler(tell)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


class _Handler(logging.Handler):
    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING and getattr(record, "status", None) == _REJECTED:
            return  # a token that cannot be renewed ends the command, with an error that says more
        self._tell(printable(f"{record.levelname} {record.getMessage()}"))


@contextmanager
def stderr_lines() -> Iterator[Tell]:
    """Yield a function that writes a line to standard error, and never waits for its reader."""
    lines: SimpleQueue[str | None] = SimpleQueue()
    stream = sys.stderr

    def write_all() -> None:
        while (line := lines.get()) is not None:
            data = f"{line}\n".encode(stream.encoding, "backslashreplace")
            with suppress(OSError, ValueError):
                write_raw(stream, data)

    # A daemon, because a reader that does not read must not keep the process alive.
    writer = threading.Thread(target=write_all, daemon=True)
    writer.start()
    try:
        yield lines.put
    finally:
        lines.put(None)
        writer.join(_PATIENCE)
