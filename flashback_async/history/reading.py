"""What a history holds, for those that read it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime

from flashback_async import InvalidArgumentError, day_range
from flashback_async.history.rows import NodeDay
from flashback_async.history.store import open_reader
from flashback_async.history.target import Target, target_at


def read_history(
    path: str | os.PathLike[str],
    first: date | datetime | str | None = None,
    last: date | datetime | str | None = None,
) -> Iterator[tuple[date, list[NodeDay]]]:
    """Return an iterator over the finished days of a history, each with its rows.

    The oldest day comes first, and its rows are in the order of bucket and place. A finished day
    without rows has an empty list. One day at a time is in memory. The iterator blocks while it
    reads; an export may write to the history meanwhile.

    Args:
        path: The database or the folder that an export has written.
        first: The first day to read, as ``day_range`` takes it; None is the oldest.
        last: The last day to read, included; None is the newest.

    Raises:
        ConfigurationError: There is no history at ``path``, or it is damaged.
        InvalidArgumentError: One of the days is none, or ``last`` is before ``first``.
    """
    start, end = _bounds(first, last)
    target = target_at(path)
    _, reader = open_reader(target)
    reader.close()  # what is wrong is raised now, and nothing is open until a day is read
    return _read(target, start, end)


def _read(target: Target, first: date, last: date) -> Iterator[tuple[date, list[NodeDay]]]:
    _, reader = open_reader(target)
    with closing(reader):
        for kept in reader.kept():
            if first <= kept.day <= last:
                yield kept.day, reader.rows(kept.day)


def _bounds(
    first: date | datetime | str | None, last: date | datetime | str | None
) -> tuple[date, date]:
    start = date.min if first is None else day_range(first, first)[0]
    if last is None:
        return start, date.max
    try:
        end = day_range(last, last)[0]
    except InvalidArgumentError as error:
        raise InvalidArgumentError(str(error).replace("first", "last", 1)) from None
    if end < start:
        raise InvalidArgumentError(f"last must not lie before first: {end} is before {start}")
    return start, end
