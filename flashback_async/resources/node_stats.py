"""How a bucket's nodes did on a day: ``POST /bucket/{bucketId}/stats``."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Iterable,
    Iterator,
)
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import NamedTuple

from flashback_async.api.urls import segment
from flashback_async.api.wire import decode_node_stats, encode_day
from flashback_async.bulk.keys import ReadsAhead
from flashback_async.bulk.report import Outcome, Report
from flashback_async.call.caller import Caller
from flashback_async.errors import InvalidArgumentError, show
from flashback_async.models import DailyNodeStats
from flashback_async.resources.bulk import (
    Calls,
    check_ids,
    check_ids_or_async,
    naming,
)
from flashback_async.values import Request

_OPERATION = "node_stats.get"
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})?",
    re.IGNORECASE,
)


class BucketDay(NamedTuple):
    """Name a bucket and a UTC day: the key of a run over node stats."""

    bucket_id: str
    day: date


class NodeStatsResource:
    """Ask how the nodes of buckets did on a day; reached as ``client.node_stats``."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._many = Calls(caller, _OPERATION, _question)

    async def get(self, bucket_id: str, day: date | datetime | str) -> list[DailyNodeStats]:
        """Get how a bucket's nodes did on a day (``POST /bucket/{bucketId}/stats``).

        Args:
            bucket_id: The bucket; anything but a plain id is percent-encoded as one segment.
            day: A date, an aware datetime (its UTC day counts), or either as ISO 8601 text,
                where text without an offset is UTC.

        Raises:
            InvalidArgumentError: The id or the day breaks a rule; nothing was sent.
            BadRequestError: The API did not accept the day.
            NotFoundError: There is no such bucket.
            PermissionDeniedError: The token may not see it.
            FlashbackError: Any other failure, by its class; see ``flashback_async.errors``.
        """
        with naming(_OPERATION, bucket_id):
            request, decode = _question(BucketDay(bucket_id, _utc_day(day)))
        return await self._caller.call(request, decode)

    async def get_many(
        self,
        bucket_ids: Iterable[str],
        days: date | datetime | str | Iterable[date | datetime | str],
        *,
        concurrency: int | None = None,
        deadline: float | None = None,
    ) -> Report[BucketDay, list[DailyNodeStats]]:
        """Get every pair of bucket and day, with an outcome for each.

        They come in the order of the input: all days of the first id, then all of the next. A
        pair that is given twice is asked for once. A bad id is the outcome of its pairs.

        Args:
            bucket_ids: The buckets.
            days: One day or an iterable of days, each as in ``get``.
            concurrency: Calls at once, at least 1; None is ``Limits.max_concurrency``, which
                rules in any case.
            deadline: Seconds for the whole run; None sets no limit. What is not done by then
                comes out with ``DeadlineExceededError``.

        Raises:
            InvalidArgumentError: A day is wrong, ``bucket_ids`` is one text or cannot be
                iterated, or an option is out of its range.
            ClientClosedError: The client is closed.
            EventLoopError: The client belongs to another event loop or process.
        """
        with naming("node_stats.get_many"):
            check_ids(bucket_ids)
            pairs = _pairs(bucket_ids, _utc_days(days))
        return await self._many.get_many(pairs, concurrency, deadline)

    def iter_many(
        self,
        bucket_ids: Iterable[str] | AsyncIterable[str],
        days: date | datetime | str | Iterable[date | datetime | str],
        *,
        concurrency: int | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[Outcome[BucketDay, list[DailyNodeStats]], None]:
        """Get every pair of bucket and day, and give each outcome as it completes.

        Memory is in proportion to the concurrency and the days, whatever the number of ids.
        Leaving the loop stops what is under way; a generator with a name is closed with
        ``contextlib.aclosing``.

        Args:
            bucket_ids: The buckets, read lazily.
            days: One day or an iterable of days, each as in ``get``.
            concurrency: As in ``get_many``.
            deadline: As in ``get_many``; an async iterable is not read further.

        Raises:
            InvalidArgumentError: As in ``get_many``, at the call itself.
            ClientClosedError: The client is closed, at the call itself.
            EventLoopError: As in ``get_many``, as the run begins.
        """
        with naming("node_stats.iter_many"):
            check_ids_or_async(bucket_ids)
            checked = _utc_days(days)
        if isinstance(bucket_ids, AsyncIterable):
            return self._many.iter_many(_AsyncPairs(bucket_ids, checked), concurrency, deadline)
        return self._many.iter_many(_pairs(bucket_ids, checked), concurrency, deadline)


def _question(key: BucketDay) -> tuple[Request, Callable[[bytes], list[DailyNodeStats]]]:
    """Return what to send for a bucket and a day, and how to decode the answer."""
    target = f"/bucket/{segment(key.bucket_id, _OPERATION)}/stats"
    body = encode_day(f"{key.day.isoformat()}T00:00:00.000Z")
    return Request(_OPERATION, "POST", target, key.bucket_id, body), decode_node_stats


def _pairs(bucket_ids: Iterable[str], days: list[date]) -> Iterator[BucketDay]:
    return (BucketDay(bucket_id, day) for bucket_id in bucket_ids for day in days)


class _AsyncPairs(ReadsAhead[BucketDay]):
    """The pairs of ids that come from an async iterable, all days of one after the other."""

    def __init__(self, bucket_ids: AsyncIterable[str], days: list[date]) -> None:
        self._bucket_ids = aiter(bucket_ids)
        self._days = days
        self._left: deque[BucketDay] = deque()

    def left_over(self) -> Iterable[BucketDay]:
        """Give the pairs of an id that was read, but not all asked for."""
        return self._left

    async def __anext__(self) -> BucketDay:
        while not self._left:
            bucket_id = await anext(self._bucket_ids)
            self._left.extend(BucketDay(bucket_id, day) for day in self._days)
        return self._left.popleft()


def _utc_days(days: object) -> list[date]:
    """Read one day or several."""
    if isinstance(days, str | date) or not isinstance(days, Iterable):
        return [_utc_day(days)]
    return [_utc_day(day) for day in days]


def _utc_day(value: object) -> date:
    """Read a day, which counts in UTC."""
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, datetime):
        return _utc_date(value)
    if isinstance(value, date):
        return value
    raise InvalidArgumentError(
        f"day must be a date, an aware datetime or ISO 8601 text, not {type(value).__name__}"
    )


def _utc_date(at: datetime) -> date:
    if at.tzinfo is None:
        raise InvalidArgumentError(
            f"day must be a date or an aware datetime, not the naive {show(at)}"
        )
    with suppress(OverflowError):
        return at.astimezone(UTC).date()
    raise InvalidArgumentError("day must lie in the years 1 to 9999, in UTC")


def _parsed(text: str) -> date:
    """Read ISO 8601 text; a time without an offset is UTC."""
    with suppress(ValueError):  # such as the 30th of February
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
        if _TIME.fullmatch(text):
            at = datetime.fromisoformat(text)
            return at if at.tzinfo else at.replace(tzinfo=UTC)
    raise InvalidArgumentError(
        f"day must be ISO 8601 text such as 2024-01-15 or 2024-01-15T00:00:00Z, not {show(text)}"
    )
