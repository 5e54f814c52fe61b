"""The daily statistics of buckets' nodes: ``POST /bucket/{bucketId}/stats``."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Collection, Iterable, Iterator
from datetime import date, datetime
from typing import NamedTuple, cast, overload

from flashback_async.api.stats import decode_node_stats
from flashback_async.api.urls import segment
from flashback_async.api.wire import encode_day
from flashback_async.bulk.keys import ReadsAhead
from flashback_async.bulk.report import Outcome, Report
from flashback_async.call.caller import Caller
from flashback_async.errors import InvalidArgumentError
from flashback_async.models import DailyNodeStats
from flashback_async.resources.bulk import Calls, check_ids, check_ids_or_async, naming
from flashback_async.resources.days import utc_day, utc_days
from flashback_async.values import Request

_GET = "node_stats.get"
_GET_MANY = "node_stats.get_many"
_ITER_MANY = "node_stats.iter_many"


class BucketDay(NamedTuple):
    """A bucket and a UTC day: the key of a run over node stats."""

    bucket_id: str
    day: date


class NodeStatsResource:
    """The daily statistics of buckets' nodes, available as ``client.node_stats``."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._many = Calls(caller, _GET, _question)

    async def get(self, bucket_id: str, day: date | datetime | str) -> list[DailyNodeStats]:
        """Get the statistics of a bucket's nodes for a day (``POST /bucket/{bucketId}/stats``).

        Args:
            bucket_id: The bucket; anything but a plain id is percent-encoded as one segment.
            day: A date, an aware datetime (its UTC day counts), or either as ISO 8601 text;
                text without an offset is UTC.

        Raises:
            InvalidArgumentError: The id or the day breaks a rule; nothing was sent.
            BadRequestError: The API did not accept the day.
            NotFoundError: There is no such bucket.
            PermissionDeniedError: The token may not see it.
            FlashbackError: Any other failure, by its class; see ``flashback_async.errors``.
        """
        with naming(_GET, bucket_id):
            request, decode = _question(BucketDay(bucket_id, utc_day(day)))
        return await self._caller.call(request, decode)

    @overload
    async def get_many(
        self,
        bucket_ids: Iterable[str],
        days: date | datetime | str | Iterable[date | datetime | str],
        *,
        concurrency: int | None = None,
        deadline: float | None = None,
    ) -> Report[BucketDay, list[DailyNodeStats]]: ...

    @overload
    async def get_many(
        self,
        bucket_ids: Iterable[BucketDay],
        *,
        concurrency: int | None = None,
        deadline: float | None = None,
    ) -> Report[BucketDay, list[DailyNodeStats]]: ...

    async def get_many(
        self,
        bucket_ids: Iterable[str] | Iterable[BucketDay],
        days: date | datetime | str | Iterable[date | datetime | str] | None = None,
        *,
        concurrency: int | None = None,
        deadline: float | None = None,
    ) -> Report[BucketDay, list[DailyNodeStats]]:
        """Get every pair of bucket and day, with an outcome for each.

        Outcomes are in the order of the input: all days of the first id, then all of the next. A
        pair that is given twice is asked for once. A bad id is the outcome of its pairs.

        Args:
            bucket_ids: The buckets; or, if ``days`` is left out, ``BucketDay`` pairs, such as
                the keys of ``report.failed``.
            days: One day, or an iterable of at least one, each as in ``get``; ``day_range``
                makes many.
            concurrency: Calls at once, at least 1; never more than ``Limits.max_concurrency``,
                which is also the default.
            deadline: Seconds for the whole run; None sets no limit. Keys that have not finished
                by then get a ``DeadlineExceededError``. If the server asks for a pause that
                lasts longer, the waiting keys get a ``RateLimitError`` at once.

        Raises:
            InvalidArgumentError: A day is wrong or there is none, or an option is out of its
                range. Or ``bucket_ids`` is a string, cannot be iterated, or holds pairs although
                ``days`` is given, or ids although it is not. Nothing was sent.
            ClientClosedError: The client is closed.
            EventLoopError: The client belongs to another event loop or process.
        """
        with naming(_GET_MANY):
            check_ids(bucket_ids)
            pairs = _pairs(bucket_ids, _Pairing(days, _GET_MANY))
        return await self._many.get_many(pairs, concurrency, deadline)

    @overload
    def iter_many(
        self,
        bucket_ids: Iterable[str] | AsyncIterable[str],
        days: date | datetime | str | Iterable[date | datetime | str],
        *,
        concurrency: int | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[Outcome[BucketDay, list[DailyNodeStats]], None]: ...

    @overload
    def iter_many(
        self,
        bucket_ids: Iterable[BucketDay] | AsyncIterable[BucketDay],
        *,
        concurrency: int | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[Outcome[BucketDay, list[DailyNodeStats]], None]: ...

    def iter_many(
        self,
        bucket_ids: Iterable[str]
        | AsyncIterable[str]
        | Iterable[BucketDay]
        | AsyncIterable[BucketDay],
        days: date | datetime | str | Iterable[date | datetime | str] | None = None,
        *,
        concurrency: int | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[Outcome[BucketDay, list[DailyNodeStats]], None]:
        """Get every pair of bucket and day, and yield each outcome as it completes.

        Memory is in proportion to the concurrency and the days, whatever the number of ids.
        Equal pairs in flight at the same time are one request. Leaving the loop cancels the
        calls in flight; close a generator that has a name with ``contextlib.aclosing``.

        Args:
            bucket_ids: As in ``get_many``, read lazily.
            days: As in ``get_many``.
            concurrency: As in ``get_many``.
            deadline: As in ``get_many``; an async iterable is not read further.

        Raises:
            InvalidArgumentError: As in ``get_many``, at the call itself. What an iterator or an
                async iterable yields is checked when it is read.
            ClientClosedError: The client is closed, at the call itself.
            EventLoopError: As in ``get_many``, as the run begins.
        """
        with naming(_ITER_MANY):
            check_ids_or_async(bucket_ids)
            pairing = _Pairing(days, _ITER_MANY)
            if isinstance(bucket_ids, Collection):
                pairing.check_all(bucket_ids)
            if isinstance(bucket_ids, AsyncIterable):
                return self._many.iter_many(_AsyncPairs(bucket_ids, pairing), concurrency, deadline)
            return self._many.iter_many(_pairs(bucket_ids, pairing), concurrency, deadline)


def _question(key: BucketDay) -> tuple[Request, Callable[[bytes], list[DailyNodeStats]]]:
    """Return what to send for a bucket and a day, and how to decode the answer."""
    target = f"/bucket/{segment(key.bucket_id, _GET)}/stats"
    body = encode_day(f"{key.day.isoformat()}T00:00:00.000Z")
    return Request(_GET, "POST", target, key.bucket_id, body), decode_node_stats


class _Pairing:
    """The pairs of ``bucket_ids``: each id with every day, or the pairs that were given."""

    def __init__(self, days: object, operation: str) -> None:
        self._days = None if days is None else utc_days(days)
        self._operation = operation

    def pairs_of(self, item: object) -> list[BucketDay]:
        """Return the pairs of an id, or the pair itself.

        Raises:
            InvalidArgumentError: It is a pair although days are given, or an id although none are.
        """
        self._check_kind(type(item))
        if isinstance(item, BucketDay):
            return [self._dated(item)]
        return [BucketDay(cast("str", item), day) for day in self._days or ()]

    def check_all(self, items: Collection[object]) -> None:
        """Check all items before the first is sent, as ``pairs_of`` does."""
        for kind in set(map(type, items)):
            self._check_kind(kind)
        for item in items if self._days is None else ():
            self.pairs_of(item)

    def _check_kind(self, kind: type) -> None:
        if (self._days is None) is issubclass(kind, BucketDay):
            return
        problem = "bucket_ids must hold ids, not BucketDay pairs, if days are given"
        if self._days is None:
            problem = (
                f"day must be given unless bucket_ids holds BucketDay pairs, not {kind.__name__}"
            )
        raise InvalidArgumentError(problem, operation=self._operation)

    def _dated(self, pair: BucketDay) -> BucketDay:
        if type(pair.day) is date:
            return pair
        with naming(self._operation, pair.bucket_id):
            return BucketDay(pair.bucket_id, utc_day(pair.day))


def all_pairs(bucket_ids: object, days: object, operation: str) -> list[BucketDay]:
    """Return each pair of ``bucket_ids`` and ``days``, as ``get_many`` takes them.

    Raises:
        InvalidArgumentError: As in ``get_many``.
    """
    check_ids(bucket_ids)
    return list(_pairs(cast("Iterable[object]", bucket_ids), _Pairing(days, operation)))


def _pairs(bucket_ids: Iterable[object], pairing: _Pairing) -> Iterator[BucketDay]:
    return (pair for item in bucket_ids for pair in pairing.pairs_of(item))


class _AsyncPairs(ReadsAhead[BucketDay]):
    """The pairs of an async iterable: all days of one id, then all of the next."""

    def __init__(self, bucket_ids: AsyncIterable[object], pairing: _Pairing) -> None:
        self._bucket_ids = aiter(bucket_ids)
        self._pairing = pairing
        self._left: deque[BucketDay] = deque()

    async def __anext__(self) -> BucketDay:
        while not self._left:
            self._left.extend(self._pairing.pairs_of(await anext(self._bucket_ids)))
        return self._left.popleft()

    def left_over(self) -> Iterable[BucketDay]:
        """Return the pairs of the last id that have not been returned."""
        return self._left
