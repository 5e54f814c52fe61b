"""The traffic counters of buckets: ``GET /bucket/stats``."""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from functools import partial

from flashback_async.api.urls import check_bucket_id, check_listed_ids, list_target
from flashback_async.bulk.report import Outcome, Report
from flashback_async.call.caller import Caller
from flashback_async.errors import FlashbackError
from flashback_async.models import BucketStats
from flashback_async.resources.bulk import check_ids, naming
from flashback_async.resources.lists import Lists, answers_in, find, list_all
from flashback_async.values import Request

_GET = "bucket_stats.get"
_LIST = "bucket_stats.list"


class BucketStatsResource:
    """The traffic counters of buckets, available as ``client.bucket_stats``."""

    def __init__(self, caller: Caller, base_url: str) -> None:
        self._caller = caller
        self.lists = Lists(caller, base_url)

    async def get(self, bucket_id: str) -> BucketStats:
        """Get the counters of one bucket (``GET /bucket/stats?bucketId=…``).

        Raises:
            InvalidArgumentError: The id breaks a rule; nothing was sent.
            NotFoundError: The answer does not hold the bucket (``.status`` is then 200).
            PermissionDeniedError: The token may not see it.
            FlashbackError: Any other failure, by its class; see ``flashback_async.errors``.
        """
        checked = check_bucket_id(bucket_id, _GET, listed=True)
        request = Request(_GET, "GET", list_target([checked]), checked)
        return await self._caller.call(request, partial(_only, checked))

    async def list(self, bucket_ids: Iterable[str] | None = None) -> builtins.list[BucketStats]:
        """List the counters of several buckets, or of all (``GET /bucket/stats``).

        Ids are asked for in as few requests as their URLs allow, all at once. The answers are
        merged in the order of the ids. An id that is given twice is listed once. All of it is one
        call, with one ``Timeout.total``: for very many ids, ``get_many`` has time for each list.

        Args:
            bucket_ids: The buckets; None is every bucket that the token can see; an empty
                iterable sends nothing and returns ``[]``. Ids that the answer does not hold are
                absent.

        Raises:
            InvalidArgumentError: ``bucket_ids`` is a string, or an id breaks a rule; nothing
                was sent.
            FlashbackError: The first failure of a request, by its class.
        """
        if bucket_ids is None:
            return await list_all(self._caller)
        with naming(_LIST):
            self._caller.check_open()
            check_ids(bucket_ids)
        ids = list(dict.fromkeys(check_listed_ids(bucket_ids, _LIST)))
        found = find(ids, [(item.bucket_id, item) for item in await self.lists.all_of(ids)])
        # Two spellings of an id may have found the same item.
        return list({id(item): item for item in found.values()}.values())

    async def get_many(
        self,
        bucket_ids: Iterable[str],
        *,
        concurrency: int | None = None,
        deadline: float | None = None,
    ) -> Report[str, BucketStats]:
        """Get the counters of many buckets, with an outcome for each id in the order given.

        Ids are sent in lists. One that the answer does not hold gets a ``NotFoundError``. A list
        that is refused with 400, 403, 404 or 414 is halved until the bad id is alone. Any other
        failure of a list is the error of each id in it. An id that is given twice is asked for
        once.

        Args:
            bucket_ids: The buckets.
            concurrency: List requests at once, at least 1; never more than
                ``Limits.max_concurrency``, which is also the default.
            deadline: Seconds for the whole run; None sets no limit. Keys that have not finished
                by then get a ``DeadlineExceededError``. If the server asks for a pause that
                lasts longer, the waiting keys get a ``RateLimitError`` at once.

        Raises:
            InvalidArgumentError: ``bucket_ids`` is a string or cannot be iterated, or an option
                is out of its range.
            ClientClosedError: The client is closed.
            EventLoopError: The client belongs to another event loop or process.
        """
        return await self.lists.get_many(bucket_ids, concurrency, deadline)

    def iter_many(
        self,
        bucket_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[Outcome[str, BucketStats], None]:
        """Get the counters of many buckets and yield each outcome as its list completes.

        A list request is sent when it is full or the source ends. An id in flight is not asked
        for again. Leaving the loop cancels the calls in flight; close a generator
        that has a name with ``contextlib.aclosing``.

        Args:
            bucket_ids: The buckets, read lazily.
            concurrency: As in ``get_many``.
            deadline: As in ``get_many``; an async iterable is not read further.

        Raises:
            InvalidArgumentError: As in ``get_many``, at the call itself.
            ClientClosedError: The client is closed, at the call itself.
            EventLoopError: As in ``get_many``, as the run begins.
        """
        return self.lists.iter_many(bucket_ids, concurrency, deadline)


def _only(bucket_id: str, body: bytes) -> BucketStats:
    """Return the bucket that was asked for from a list answer."""
    answer = answers_in([bucket_id], body)[bucket_id]
    if isinstance(answer, FlashbackError):
        raise answer
    return answer
