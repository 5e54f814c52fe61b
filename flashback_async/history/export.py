"""The export: asks for each day that is missing, and keeps it as a whole or not at all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from attrs import frozen

from flashback_async import (
    AuthenticationError,
    BucketDay,
    ClientClosedError,
    DailyNodeStats,
    EventLoopError,
    FlashbackClient,
    FlashbackError,
    InvalidArgumentError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    TokenProviderError,
)
from flashback_async.history.keeper import Keeper
from flashback_async.history.plan import Day, check_options, checked_ids, span_of
from flashback_async.history.rows import KeptDay, hash_of, values_of
from flashback_async.history.target import target_at

# What the API says about a bucket, and would say again.
_ANSWERS = (NotFoundError, PermissionDeniedError)
# What would happen to every other call too, on every day.
_FATAL = (
    AuthenticationError,
    ClientClosedError,
    EventLoopError,
    InvalidArgumentError,
    TokenProviderError,
)

Errors = dict[str, FlashbackError]
_Outcomes = AsyncGenerator[Outcome[BucketDay, list[DailyNodeStats]], None]


@frozen
class ExportReport:
    """What an export did. All days are in UTC, the oldest first.

    Attributes:
        days: The days that it asked for and kept.
        rows: How many rows they have.
        skipped: The days that were kept before, and not asked for again.
        failed: The buckets that failed, by day, each with its error. A bucket that does not exist
            (404) or may not be seen (403) is among them, but does not keep its day from being
            kept.
        unsettled: The days that were left out because they have not ended long enough ago.
        other_ids: The days among those asked for that were kept before, with another set of ids.
    """

    days: list[date]
    rows: int
    skipped: list[date]
    failed: dict[date, dict[str, FlashbackError]]
    unsettled: list[date]
    other_ids: list[date]

    @property
    def not_kept(self) -> list[date]:
        """The days that were asked for and not kept, because too many buckets failed."""
        kept = {*self.days}
        return [day for day, errors in self.failed.items() if day not in kept]

    @property
    def ok(self) -> bool:
        """Whether every day that was asked for was kept."""
        return not self.not_kept


async def export_days(
    client: FlashbackClient,
    bucket_ids: Iterable[str],
    first: Day,
    last: Day | None,
    path: str | os.PathLike[str],
    *,
    format: Literal["sqlite", "parquet"] = "sqlite",
    settle: timedelta = timedelta(hours=1),
    allow_failed: int = 0,
    concurrency: int | None = None,
    on_day: Callable[[date, int], object] | None = None,
    redo: Iterable[Day] = (),
) -> ExportReport:
    """Get the daily statistics of buckets' nodes, and keep them in a file or a folder.

    Days that are kept already are not asked for again, so a run that was ended early is continued
    by the same call. The newest day is asked for first. A day is kept as a whole or not at all:
    calls that fail are made once more at the end of their day. Memory does not grow with the
    number of days.

    Args:
        client: The client that asks.
        bucket_ids: The buckets, read once; one that is given twice is asked for once.
        first: The first day, as ``day_range`` takes it.
        last: The last day, included; None is yesterday in UTC.
        path: The database or the folder, which may exist. Its own folder must.
        format: "sqlite", or "parquet" with the extra ``parquet``.
        settle: How long ago a day must have ended, because its figures may change until then.
        allow_failed: How many buckets may fail on a day that is kept nevertheless. Buckets that
            do not exist, or may not be seen, do not count.
        concurrency: Calls at once, as in ``get_many``.
        on_day: A function that gets each day that was kept, with the number of its rows. What it
            raises ends the export.
        redo: Days to ask for although they are kept; the new answers replace the old ones at
            once, unless more buckets failed than before. They may lie outside of ``first`` and
            ``last``.

    Raises:
        InvalidArgumentError: An argument or an id is wrong. Nothing was sent.
        ConfigurationError: Something else lies at ``path``, another export writes to it, or
            there is no such format. Nothing was sent, and nothing was changed.
        AuthenticationError: The token was rejected. As with all errors that end an export, the
            days that were finished stay.
        OSError: A day could not be written, such as to a full disk.
        FlashbackError: The client is closed, or its token provider failed.
    """
    form = check_options(client, format, allow_failed, on_day)
    span = span_of(first, last, redo, settle)
    ids = checked_ids(bucket_ids)
    # Checks the client and the concurrency by their own rules, and sends nothing.
    await client.node_stats.iter_many((), date.min, concurrency=concurrency).aclose()
    client.status.watch(ids)  # it checks each id, and asks nothing before it is entered
    target = target_at(path)
    async with Keeper(target, form) as keeper:
        kept = await keeper.kept()
        plan = span.plan(kept, datetime.now(UTC))
        hashed = await asyncio.to_thread(hash_of, ids)
        export = _Export(client, keeper, ids, hashed, allow_failed, concurrency)
        for day in plan.due:
            rows = await export.run(day, kept.get(day))
            if rows is not None and on_day is not None:
                on_day(day, rows)
    failed, done = export.failed, export.kept
    return ExportReport(
        days=sorted(done),
        rows=sum(done.values()),
        skipped=plan.skipped,
        failed={day: failed[day] for day in sorted(failed)},
        unsettled=plan.unsettled,
        other_ids=[
            day for day in span.days if day in kept.keys() - done.keys() and kept[day].ids != hashed
        ],
    )


class _Export:
    """The work of an export, a day at a time.

    Attributes:
        kept: The days that were kept, each with the number of its rows.
        failed: The buckets that failed, by day.
    """

    def __init__(
        self,
        client: FlashbackClient,
        keeper: Keeper,
        ids: Sequence[str],
        hashed: str,
        allow_failed: int,
        concurrency: int | None,
    ) -> None:
        self.kept: dict[date, int] = {}
        self.failed: dict[date, Errors] = {}
        self._client = client
        self._keeper = keeper
        self._ids = ids
        self._hashed = hashed
        self._allow_failed = allow_failed
        self._concurrency = concurrency
        self._rows = 0  # of the day under way

    async def run(self, day: date, before: KeptDay | None) -> int | None:
        """Ask for a day; return the number of its rows, or None if it is not kept.

        What was kept of the day before stays if more buckets fail now.
        """
        self._rows = 0
        await self._keeper.begin(day)
        nodes = self._client.node_stats
        failed = await self._ask(nodes.iter_many(self._ids, day, concurrency=self._concurrency))
        if lost := _lost(failed):
            pairs = [BucketDay(bucket_id, day) for bucket_id in lost]
            again = await self._ask(nodes.iter_many(pairs, concurrency=self._concurrency))
            failed = {b: error for b, error in failed.items() if b not in lost} | again
            lost = _lost(failed)
        if failed:
            self.failed[day] = failed
        allowed = self._allow_failed if before is None else min(self._allow_failed, before.failed)
        if len(lost) > allowed:
            await self._keeper.discard()
            return None
        about = (self._rows, len(self._ids), len(lost), self._hashed, datetime.now(UTC))
        await self._keeper.finish(KeptDay(day, *about))
        self.kept[day] = self._rows
        return self._rows

    async def _ask(self, outcomes: _Outcomes) -> Errors:
        """Hand the rows of buckets to the keeper; return the errors of the others."""
        failed: Errors = {}
        async with aclosing(outcomes):
            async for outcome in outcomes:
                bucket_id, day = outcome.key
                if outcome.error is None:
                    self._rows += len(outcome.value)
                    await self._keeper.add(values_of(bucket_id, day, outcome.value))
                elif isinstance(outcome.error, _FATAL):
                    raise outcome.error
                else:
                    failed[bucket_id] = outcome.error
        return failed


def _lost(failed: Errors) -> list[str]:
    """Return the buckets that have not answered."""
    return [b for b, error in failed.items() if not isinstance(error, _ANSWERS)]
