"""Cached reads of the three resources, available through ``client.cached()``."""

from __future__ import annotations

import builtins
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Generic, TypeVar, cast

from attrs import evolve

from flashback_async.api.urls import check_bucket_id
from flashback_async.bulk.fanout import check_deadline
from flashback_async.bulk.report import Failure, Outcome, Report, Success, repeated
from flashback_async.cache.facts import Cached, CacheStats
from flashback_async.cache.flights import Answers
from flashback_async.cache.lookups import Lookups, Question, Result
from flashback_async.cache.shelf import Place
from flashback_async.call.caller import Caller
from flashback_async.call.client_state import Pauses
from flashback_async.config import CachePolicy
from flashback_async.errors import FlashbackError, InvalidArgumentError
from flashback_async.models import BucketStats, BucketStatus, DailyNodeStats
from flashback_async.resources.bucket_stats import BucketStatsResource
from flashback_async.resources.bulk import check_ids, name_call, naming
from flashback_async.resources.days import utc_day
from flashback_async.resources.node_stats import BucketDay, NodeStatsResource, all_pairs
from flashback_async.resources.status import StatusResource

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# So long after its end, a day's statistics do not change any more.
_SETTLES = timedelta(hours=1)


class _Reads(ABC, Generic[K, V]):
    """The cached reads of one resource."""

    _name: str

    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups

    async def _lookup(self, key: K) -> Cached[V]:
        if (problem := self._problem(key)) is not None:
            raise problem
        place = (self._name, key)
        results = await self._lookups.look_up([place], self._plan)
        result = self._own(results[place])
        if isinstance(result, FlashbackError):
            raise result.with_traceback(None)
        return result

    async def _lookup_many(
        self, keys: list[K], operation: str, deadline: float | None
    ) -> Report[K, Cached[V]]:
        with naming(operation):
            check_deadline(deadline)
            self._lookups.check()
        clock = self._lookups.clock
        began = clock.monotonic()
        bad = {place: error for place, key in enumerate(keys) if (error := self._problem(key))}
        places = {(self._name, key): None for n, key in enumerate(keys) if n not in bad}
        found = await self._lookups.look_up(list(places), self._plan, deadline)
        elapsed = clock.monotonic() - began
        first: dict[K, Outcome[K, Cached[V]]] = {}
        outcomes: list[Outcome[K, Cached[V]]] = []
        for n, key in enumerate(keys):
            if n in bad:
                outcomes.append(Failure(n, key, bad[n], 0.0))
            elif key in first:
                outcomes.append(self._repeated(first[key], n, key))
            else:
                first[key] = self._outcome(n, key, found[self._name, key], elapsed)
                outcomes.append(first[key])
        return Report(outcomes)

    def _outcome(self, index: int, key: K, result: Result, elapsed: float) -> Outcome[K, Cached[V]]:
        own = self._own(result)
        if isinstance(own, FlashbackError):
            if own.operation is None:
                name_call(own, f"{self._name}.get", getattr(key, "bucket_id", key))
            return Failure(index, key, own.with_traceback(None), elapsed)
        return Success(index, key, own, elapsed)

    def _repeated(
        self, outcome: Outcome[K, Cached[V]], index: int, key: K
    ) -> Outcome[K, Cached[V]]:
        again = repeated(outcome, index, key)
        if again.error is not None:
            return again
        return Success(index, key, cast("Cached[V]", self._own(again.value)), again.elapsed)

    def _own(self, result: Result) -> Cached[V] | FlashbackError:
        """Return a result for one caller alone."""
        return result

    def _problem(self, key: K) -> InvalidArgumentError | None:
        """Return why a key cannot be asked for."""
        try:
            check_bucket_id(key, f"{self._name}.get")
        except InvalidArgumentError as error:
            return error.with_traceback(None)
        return None

    @abstractmethod
    def _plan(self, places: list[Place]) -> Iterator[Question]:
        """Yield the requests that answer for some places."""


def _values(report: Report[K, Cached[V]]) -> Report[K, V]:
    """Return a report of the values alone."""
    return Report(
        o if o.error is not None else Success(o.index, o.key, o.value.value, o.elapsed)
        for o in report
    )


async def _one(place: Place, ask: Callable[[], Awaitable[object]]) -> Answers:
    return {place: await ask()}


class CachedStatus(_Reads[str, BucketStatus]):
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
        return _values(await self._many(bucket_ids, "status.get_many", deadline))

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
            yield Question({place}, partial(_one, place, ask))


class CachedBucketStats(_Reads[str, BucketStats]):
    """Cached traffic counters of buckets, available as ``cache.bucket_stats``."""

    _name = "bucket_stats"

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
        ask = partial(_one, place, self._stats.list)
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
        return _values(await self._many(bucket_ids, "bucket_stats.get_many", deadline))

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

    def _problem(self, key: str) -> InvalidArgumentError | None:
        try:
            check_bucket_id(key, f"{self._name}.get", listed=True)
        except InvalidArgumentError as error:
            return error.with_traceback(None)
        return None

    def _plan(self, places: builtins.list[Place]) -> Iterator[Question]:
        ids = [cast("str", key) for _, key in places]
        if len(ids) == 1:
            yield Question({places[0]}, partial(_one, places[0], partial(self._stats.get, ids[0])))
            return
        for batch in self._lists.batches(ids):
            yield Question({(self._name, i) for i in batch}, partial(self._list, batch))

    async def _list(self, ids: builtins.list[str]) -> Answers:
        answers = await self._lists.answers(ids)
        return {(self._name, bucket_id): answer for bucket_id, answer in answers.items()}


class CachedNodeStats(_Reads[BucketDay, list[DailyNodeStats]]):
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
        return _values(await self._many(bucket_ids, days, "node_stats.get_many", deadline))

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

    def _problem(self, key: BucketDay) -> InvalidArgumentError | None:
        try:
            check_bucket_id(key.bucket_id, f"{self._name}.get")
        except InvalidArgumentError as error:
            return error.with_traceback(None)
        return None

    def _plan(self, places: list[Place]) -> Iterator[Question]:
        now = datetime.fromtimestamp(self._lookups.clock.wall(), UTC)
        for place in places:
            key = cast("BucketDay", place[1])
            ends = datetime.combine(key.day, time(), UTC) + timedelta(days=1)
            final = frozenset({place}) if now - ends > _SETTLES else frozenset()
            yield Question({place}, partial(_one, place, partial(self._stats.get, *key)), final)


class Cache:
    """Cached reads of one client, so of one token: ``client.cached()`` makes it.

    A value is served at once while it is fresh, and for a while after that. Any number of callers
    that ask for the same key share one request. Each gets errors and lists of its own.

    Attributes:
        status: Cached node status of buckets.
        bucket_stats: Cached traffic counters of buckets.
        node_stats: Cached daily statistics of buckets' nodes.
    """

    def __init__(
        self,
        caller: Caller,
        policy: CachePolicy,
        status: StatusResource,
        bucket_stats: BucketStatsResource,
        node_stats: NodeStatsResource,
    ) -> None:
        state = caller.state
        lookups = Lookups(policy, state.clock, Pauses(state), state.current_loop_state)
        self._lookups = lookups
        self.status = CachedStatus(lookups, status)
        self.bucket_stats = CachedBucketStats(lookups, bucket_stats)
        self.node_stats = CachedNodeStats(lookups, node_stats)

    @property
    def stats(self) -> CacheStats:
        """How the cache is doing, over all three resources."""
        return self._lookups.stats

    def forget(self, bucket_id: str) -> None:
        """Drop everything that is known of a bucket, the list of all buckets included.

        Those who wait for an answer about it still get it, but it is not kept.
        """

        def is_about(place: Place) -> bool:
            resource, key = place
            if resource == "bucket_stats.list":
                return True
            return (key.bucket_id if isinstance(key, BucketDay) else key) == bucket_id

        self._lookups.forget(is_about)

    def clear(self) -> None:
        """Drop everything, as ``forget`` does for one bucket."""
        self._lookups.clear()
