"""Data on standard output: as lines while the run goes on, or as a whole at its end."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from flashback_async import Outcome
from flashback_async.cli.records import View, json_value
from flashback_async.cli.threads import in_thread

_MOST_WAITING = 256  # lines; more than that wait for whoever reads the output

AnyOutcome = Outcome[Any, Any]
AnyView = View[Any, Any]


class Writer(Protocol):
    """Takes outcomes as they complete; `finish` comes when the event loop has ended."""

    async def add(self, outcome: AnyOutcome) -> None: ...

    async def drain(self) -> None: ...

    def finish(self) -> None: ...


def make_writer(form: str, view: AnyView) -> Writer:
    """Make the writer of a format."""
    if form == "jsonl":
        return _Lines(lambda outcome: json_text(view.record_of(outcome)) + "\n")
    if form == "csv":
        return _Lines(lambda outcome: _csv_text(view.csv_lines(outcome)), view)
    return _Whole(view, as_table=form == "table")


def json_text(record: object) -> str:
    """Give a JSON text of one line that is safe on any terminal."""
    return json.dumps(record, default=json_value).replace("\x7f", "\\u007f")


def _csv_text(lines: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


class _Lines:
    """Writes each outcome at once, without holding up the event loop where the reader is slow.

    A run whose loop stood still for as long as somebody reads one page of a pager would find all
    its calls timed out.
    """

    def __init__(self, form: Callable[[AnyOutcome], str], headed: AnyView | None = None) -> None:
        self._form = form
        self._waiting = [_csv_text([headed.csv_header()])] if headed else []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, outcome: AnyOutcome) -> None:
        self._waiting.append(self._form(outcome))
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
        """All is written already."""

    async def _join(self) -> None:
        """Wait for the writing under way; what has gone wrong with it is raised."""
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    async def _write(self) -> None:
        while self._waiting:
            data = "".join(self._waiting).encode(sys.stdout.encoding, "backslashreplace")
            self._waiting.clear()
            await in_thread(partial(_write_raw, data))


def _write_raw(data: bytes) -> None:
    # The raw stream: a thread that waits for a reader would hold the lock of the buffered one, and
    # Python cannot end while it does.
    raw = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
    rest = memoryview(data)
    while rest:
        rest = rest[raw.write(rest) :]


class _Whole:
    """Keeps the outcomes, and writes them in the order of the input at the end."""

    def __init__(self, view: AnyView, *, as_table: bool) -> None:
        self._view = view
        self._as_table = as_table
        self._outcomes: list[AnyOutcome] = []

    async def add(self, outcome: AnyOutcome) -> None:
        self._outcomes.append(outcome)

    async def drain(self) -> None:
        """Nothing is under way."""

    def finish(self) -> None:
        if self._as_table:
            from flashback_async.cli import tables  # rich, which only a table needs

            tables.show(self._view, self._outcomes)
            return
        ordered = sorted(self._outcomes, key=lambda outcome: outcome.index)
        records = [json_text(self._view.record_of(outcome)) for outcome in ordered]
        sys.stdout.write("[" + ",".join(f"\n{record}" for record in records) + "\n]\n")
        sys.stdout.flush()
