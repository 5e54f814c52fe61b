"""What a history holds, in short."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import date, datetime, timedelta

from attrs import frozen

from flashback_async.history.store import open_reader
from flashback_async.history.target import Format, target_at


@frozen
class HistoryStatus:
    """What a history holds. All days are in UTC, the oldest first.

    Attributes:
        format: "sqlite" or "parquet".
        days: The finished days.
        gaps: The days between the first and the last of them that are not finished.
        rows: How many rows all days have.
        buckets: How many buckets were asked on the newest day; None without days.
        incomplete: The finished days on which buckets failed, as the export allowed.
        other_ids: The days that were asked with another set of ids than the newest day.
        last_kept_at: When the last export finished a day, in UTC; None without days.
    """

    format: Format
    days: list[date]
    gaps: list[date]
    rows: int
    buckets: int | None
    incomplete: list[date]
    other_ids: list[date]
    last_kept_at: datetime | None


def history_status(path: str | os.PathLike[str]) -> HistoryStatus:
    """Return what a history holds. It blocks; an export may write to the history meanwhile.

    Args:
        path: The database or the folder that an export has written.

    Raises:
        ConfigurationError: There is no history at ``path``, or it is damaged.
        InvalidArgumentError: ``path`` is no path.
    """
    form, reader = open_reader(target_at(path))
    with closing(reader):
        kept = reader.kept()
    newest = kept[-1] if kept else None
    days = [about.day for about in kept]
    return HistoryStatus(
        format=form,
        days=days,
        gaps=_gaps(days),
        rows=sum(about.rows for about in kept),
        buckets=newest and newest.buckets,
        incomplete=[about.day for about in kept if about.failed],
        other_ids=[about.day for about in kept if newest and about.ids != newest.ids],
        last_kept_at=max((about.kept_at for about in kept), default=None),
    )


def _gaps(days: list[date]) -> list[date]:
    if not days:
        return []
    length = (days[-1] - days[0]).days + 1
    return sorted({days[0] + timedelta(n) for n in range(length)} - set(days))
