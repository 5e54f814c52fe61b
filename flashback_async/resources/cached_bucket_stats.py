"""Cached traffic counters of buckets."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator
from functools import partial
from typing import cast

from attrs import evolve

from flashback_async.bulk.report import Report
from flashback_async.cache.facts import Cached
from flashback_async.cache.lookups import Lookups, Question, Receive
from flashback_async.cache.shelf import Place
from flashback_async.errors import FlashbackError
from flashback_async.models import BucketStats
from flashback_async.resources.bucket_stats import BucketStatsResource
from flashback_async.resources.bulk import check_ids, naming
from flashback_async.resources.cached_reads import Reads, one, values_of
from flashback_async.resources.lists import Answers


class CachedBucketStats(Reads[str, BucketStats]):
    """Cached traffic counters of buckets, available as ``cache.bucket_stats``."""

    _name = "bucket_stats"
    _listed = True

    def __init__(self, lookups: Lookups, stats: BucketStatsResource) -> None:
        super().__init__(lookups)
        self._stats = stats
        self._lists = stats.lists

    async def get(self, bucket_id: str) -> BucketStats:
        """Return a bucket's counters, from the cache or as ``client.bucket_stats.get`` does.

        Raises:
            FlashbackError: As in ``client.bucket_stats.get``, if there is no old value to serve.
        """
        value: BucketStats | None = self._lookups.fresh(("bucket_stats", bucket_id))
        return (await self._lookup(bucket_id)).value if value is None else value

    async def lookup(self, bucket_id: str) -> Cached[BucketStats]:
        """Return what ``get`` does, with its age.

        Raises:
            FlashbackError: As in ``get``.
        """
        return await self._lookup(bucket_id)

    async def list(self) -> builtins.list[BucketStats]:
        """Return the counters of every bucket, from the cache or as ``client.bucket_stats.list``.

        All of them are one entry of the cache. Each caller gets a list of its own.

        Raises:
            FlashbackError: As in ``client.bucket_stats.list``, if there is no old value to serve.
        """
        return list((await self.lookup_list()).value)

    async def lookup_list(self) -> Cached[builtins.list[BucketStats]]:
        """Return what ``list`` does, with its age.

        Raises:
            FlashbackError: As in ``list``.
        """
        place = ("bucket_stats.list", None)
        ask = partial(one, place, self._stats.list)
        results = await self._lookups.look_up([place], lambda _: [Question({place}, ask)])
        result = results[place]
        if isinstance(result, FlashbackError):
            raise result.with_traceback(None)
        return evolve(result, value=list(result.value))

    async def get_many(
        self, bucket_ids: Iterable[str], *, deadline: float | None = None
    ) -> Report[str, BucketStats]:
        """Return the counters of many buckets, with an outcome for each id in the order given.

        Ids that the cache does not have are asked for in lists.

        Args:
            bucket_ids: As in ``cache.status.get_many``.
            deadline: As in ``cache.status.get_many``.

        Raises:
            InvalidArgumentError: As in ``cache.status.get_many``.
            ClientClosedError: As in ``cache.status.get_many``.
            EventLoopError: As in ``cache.status.get_many``.
        """
        return values_of(await self._many(bucket_ids, "bucket_stats.get_many", deadline))

    async def lookup_many(
        self, bucket_ids: Iterable[str], *, deadline: float | None = None
    ) -> Report[str, Cached[BucketStats]]:
        """Return what ``get_many`` does, each value with its age.

        Args:
            bucket_ids: As in ``cache.status.get_many``.
            deadline: As in ``cache.status.get_many``.

        Raises:
            InvalidArgumentError: As in ``cache.status.get_many``.
            ClientClosedError: As in ``cache.status.get_many``.
            EventLoopError: As in ``cache.status.get_many``.
        """
        return await self._many(bucket_ids, "bucket_stats.lookup_many", deadline)

    async def _many(
        self, bucket_ids: Iterable[str], operation: str, deadline: float | None
    ) -> Report[str, Cached[BucketStats]]:
        with naming(operation):
            check_ids(bucket_ids)
        return await self._lookup_many([*bucket_ids], operation, deadline)

    def _plan(self, places: builtins.list[Place]) -> Iterator[Question]:
        ids = [cast("str", key) for _, key in places]
        if len(ids) == 1:
            yield Question({places[0]}, partial(one, places[0], partial(self._stats.get, ids[0])))
            return
        for batch in self._lists.batches(ids):
            yield Question({(self._name, i) for i in batch}, partial(self._list, batch))

    async def _list(self, ids: builtins.list[str], receive: Receive) -> None:
        def hand_on(answers: Answers) -> None:
            receive({(self._name, bucket_id): answer for bucket_id, answer in answers.items()})

        await self._lists.ask(ids, hand_on)
