"""Data on standard output: line by line during the run, or all of it at the end."""

from __future__ import annotations

import asyncio
import csv
import io
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol, TextIO

from flashback_async import Outcome
from flashback_async.cli.records import View
from flashback_async.cli.threads import in_thread

_MOST_WAITING = 256  # lines; with more, the run waits for the reader of the output

AnyOutcome = Outcome[Any, Any]
AnyView = View[Any, Any]


class Writer(Protocol):
    """An output format; `finish` is called once the event loop has ended."""

    async def add(self, outcome: AnyOutcome) -> None: ...

    async def drain(self) -> None: ...

    def finish(self) -> None: ...


def make_writer(form: str, view: AnyView) -> Writer:
    """Return a writer of a format."""
    if form == "jsonl":
        return _Lines(lambda outcome, at: view.json_record(outcome, at) + "\n")
    if form == "csv":
        return _Lines(lambda outcome, at: _csv_text(view.csv_lines(outcome, at)), view)
    return _Whole(view, as_table=form == "table")


def _asked_at(outcome: AnyOutcome) -> datetime:
    """Return when the call of an outcome began that has just ended."""
    return datetime.now(UTC) - timedelta(seconds=outcome.elapsed)


def _csv_text(lines: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


class _Lines:
    """A format with lines for each outcome, written at once in a thread.

    If the event loop itself waited for a slow reader, such as a pager, the calls in flight would
    time out meanwhile.
    """

    def __init__(
        self, form: Callable[[AnyOutcome, datetime], str], headed: AnyView | None = None
    ) -> None:
        self._form = form
        self._waiting = [_csv_text([headed.csv_header()])] if headed else []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, outcome: AnyOutcome) -> None:
        self._waiting.append(self._form(outcome, _asked_at(outcome)))
        if self._writing is None or self._writing.done():
            await self._join()
            self._writing = asyncio.create_task(self._write())
        if len(self._waiting) >= _MOST_WAITING:
            await self._join()

    async def drain(self) -> None:
        """Write what is left."""
        await self._join()
        await self._write()

    def finish(self) -> None:
        """Do nothing: everything is written already."""

    async def _join(self) -> None:
        """Wait for the current write, and raise its error."""
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    async def _write(self) -> None:
        while self._waiting:
            text = "".join(self._waiting)
            self._waiting.clear()
            await write(text)


async def write(text: str) -> None:
    """Write text to standard output at once, in a thread."""
    data = text.encode(sys.stdout.encoding, "backslashreplace")
    await in_thread(partial(write_raw, sys.stdout, data))


def write_raw(stream: TextIO, data: bytes) -> None:
    """Write bytes to a stream past its buffer."""
    # A thread that waits for a reader would hold the lock of the buffered stream, and Python could
    # not exit. The raw stream has no lock.
    raw = getattr(stream.buffer, "raw", stream.buffer)
    rest = memoryview(data)
    while rest:
        rest = rest[raw.write(rest) :]


class _Whole:
    """A format that is written at the end, in the order of the input."""

    def __init__(self, view: AnyView, *, as_table: bool) -> None:
        self._view = view
        self._as_table = as_table
        self._outcomes: list[tuple[AnyOutcome, datetime]] = []

    async def add(self, outcome: AnyOutcome) -> None:
        self._outcomes.append((outcome, _asked_at(outcome)))

    async def drain(self) -> None:
        """Do nothing: nothing is written before `finish`."""

    def finish(self) -> None:
        if self._as_table:
            from flashback_async.cli import tables  # imports rich, which only a table needs

            tables.show(self._view, [outcome for outcome, _ in self._outcomes])
            return
        ordered = sorted(self._outcomes, key=lambda pair: pair[0].index)
        records = [self._view.json_record(outcome, at) for outcome, at in ordered]
        sys.stdout.write("[" + ",".join(f"\n{record}" for record in records) + "\n]\n")
        sys.stdout.flush()
