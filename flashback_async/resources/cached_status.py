"""Cached node status of buckets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import cast

from flashback_async.bulk.report import Report
from flashback_async.cache.facts import Cached
from flashback_async.cache.lookups import Lookups, Question
from flashback_async.cache.shelf import Place
from flashback_async.models import BucketStatus
from flashback_async.resources.bulk import check_ids, naming
from flashback_async.resources.cached_reads import Reads, one, values_of
from flashback_async.resources.status import StatusResource


class CachedStatus(Reads[str, BucketStatus]):
    """Cached node status of buckets, available as ``cache.status``."""

    _name = "status"

    def __init__(self, lookups: Lookups, status: StatusResource) -> None:
        super().__init__(lookups)
        self._status = status

    async def get(self, bucket_id: str) -> BucketStatus:
        """Return the state of a bucket's nodes, from the cache or as ``client.status.get`` does.

        Raises:
            FlashbackError: As in ``client.status.get``, if there is no old value to serve.
        """
        value: BucketStatus | None = self._lookups.fresh(("status", bucket_id))
        return (await self._lookup(bucket_id)).value if value is None else value

    async def lookup(self, bucket_id: str) -> Cached[BucketStatus]:
        """Return what ``get`` does, with its age.

        Raises:
            FlashbackError: As in ``get``.
        """
        return await self._lookup(bucket_id)

    async def get_many(
        self, bucket_ids: Iterable[str], *, deadline: float | None = None
    ) -> Report[str, BucketStatus]:
        """Return the state of many buckets, with an outcome for each id in the order given.

        Args:
            bucket_ids: The buckets.
            deadline: Seconds for all of it; None sets no limit. A bucket without an answer by then
                has its old value, or else a ``DeadlineExceededError``.

        Raises:
            InvalidArgumentError: ``bucket_ids`` is a string or cannot be iterated, or
                ``deadline`` is out of its range.
            ClientClosedError: The client is closed.
            EventLoopError: The client belongs to another event loop or process.
        """
        return values_of(await self._many(bucket_ids, "status.get_many", deadline))

    async def lookup_many(
        self, bucket_ids: Iterable[str], *, deadline: float | None = None
    ) -> Report[str, Cached[BucketStatus]]:
        """Return what ``get_many`` does, each value with its age.

        Args:
            bucket_ids: As in ``get_many``.
            deadline: As in ``get_many``.

        Raises:
            InvalidArgumentError: As in ``get_many``.
            ClientClosedError: As in ``get_many``.
            EventLoopError: As in ``get_many``.
        """
        return await self._many(bucket_ids, "status.lookup_many", deadline)

    async def _many(
        self, bucket_ids: Iterable[str], operation: str, deadline: float | None
    ) -> Report[str, Cached[BucketStatus]]:
        with naming(operation):
            check_ids(bucket_ids)
        return await self._lookup_many(list(bucket_ids), operation, deadline)

    def _plan(self, places: list[Place]) -> Iterator[Question]:
        for place in places:
            ask = partial(self._status.get, cast("str", place[1]))
            yield Question({place}, partial(one, place, ask))
