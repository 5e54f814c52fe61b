"""Cached daily statistics of buckets' nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import cast

from attrs import evolve

from flashback_async.api.urls import check_bucket_id
from flashback_async.bulk.report import Report
from flashback_async.cache.facts import Cached
from flashback_async.cache.lookups import Lookups, Question, Result
from flashback_async.cache.shelf import Place
from flashback_async.errors import FlashbackError
from flashback_async.models import DailyNodeStats
from flashback_async.resources.bulk import naming
from flashback_async.resources.cached_reads import Reads, one, values_of
from flashback_async.resources.days import utc_day
from flashback_async.resources.node_stats import BucketDay, NodeStatsResource, all_pairs

# So long after its beginning, a day's statistics do not change any more.
_FINAL_AFTER = timedelta(days=1, hours=1)


class CachedNodeStats(Reads[BucketDay, list[DailyNodeStats]]):
    """Cached daily statistics of buckets' nodes, available as ``cache.node_stats``.

    What is asked for over an hour after the end of its UTC day stays fresh for ever.
    """

    _name = "node_stats"

    def __init__(self, lookups: Lookups, stats: NodeStatsResource) -> None:
        super().__init__(lookups)
        self._stats = stats

    async def get(self, bucket_id: str, day: date | datetime | str) -> list[DailyNodeStats]:
        """Return the statistics of a day, from the cache or as ``client.node_stats.get`` does.

        Each caller gets a list of its own.

        Raises:
            FlashbackError: As in ``client.node_stats.get``, if there is no old value to serve.
        """
        if type(day) is date:
            place = ("node_stats", BucketDay(bucket_id, day))
            value: list[DailyNodeStats] | None = self._lookups.fresh(place)
            if value is not None:
                return list(value)
        return (await self.lookup(bucket_id, day)).value

    async def lookup(
        self, bucket_id: str, day: date | datetime | str
    ) -> Cached[list[DailyNodeStats]]:
        """Return what ``get`` does, with its age.

        Raises:
            FlashbackError: As in ``get``.
        """
        with naming("node_stats.get", bucket_id):
            key = BucketDay(check_bucket_id(bucket_id), utc_day(day))
        return await self._lookup(key)

    async def get_many(
        self,
        bucket_ids: Iterable[str] | Iterable[BucketDay],
        days: date | datetime | str | Iterable[date | datetime | str] | None = None,
        *,
        deadline: float | None = None,
    ) -> Report[BucketDay, list[DailyNodeStats]]:
        """Return every pair of bucket and day, with an outcome for each.

        Args:
            bucket_ids: As in ``client.node_stats.get_many``.
            days: As in ``client.node_stats.get_many``.
            deadline: As in ``cache.status.get_many``.

        Raises:
            InvalidArgumentError: As in ``client.node_stats.get_many``.
            ClientClosedError: As in ``cache.status.get_many``.
            EventLoopError: As in ``cache.status.get_many``.
        """
        return values_of(await self._many(bucket_ids, days, "node_stats.get_many", deadline))

    async def lookup_many(
        self,
        bucket_ids: Iterable[str] | Iterable[BucketDay],
        days: date | datetime | str | Iterable[date | datetime | str] | None = None,
        *,
        deadline: float | None = None,
    ) -> Report[BucketDay, Cached[list[DailyNodeStats]]]:
        """Return what ``get_many`` does, each value with its age.

        Args:
            bucket_ids: As in ``get_many``.
            days: As in ``get_many``.
            deadline: As in ``get_many``.

        Raises:
            InvalidArgumentError: As in ``get_many``.
            ClientClosedError: As in ``get_many``.
            EventLoopError: As in ``get_many``.
        """
        return await self._many(bucket_ids, days, "node_stats.lookup_many", deadline)

    async def _many(
        self, bucket_ids: object, days: object, operation: str, deadline: float | None
    ) -> Report[BucketDay, Cached[list[DailyNodeStats]]]:
        with naming(operation):
            pairs = all_pairs(bucket_ids, days, operation)
        return await self._lookup_many(pairs, operation, deadline)

    def _own(self, result: Result) -> Cached[list[DailyNodeStats]] | FlashbackError:
        if isinstance(result, FlashbackError):
            return result
        return evolve(result, value=list(result.value))

    def _plan(self, places: list[Place]) -> Iterator[Question]:
        now = datetime.fromtimestamp(self._lookups.clock.wall(), UTC)
        for place in places:
            key = cast("BucketDay", place[1])
            # Not from its end, which the last day of the calendar does not have.
            age = now - datetime.combine(key.day, time(), UTC)
            final = frozenset({place}) if age > _FINAL_AFTER else frozenset()
            yield Question({place}, partial(one, place, partial(self._stats.get, *key)), final)
