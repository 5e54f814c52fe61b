"""The state of a bucket's nodes now: ``GET /bucket/{bucketId}/status``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Iterable
from functools import partial

from flashback_async.api.urls import segment
from flashback_async.api.wire import decode_status
from flashback_async.bulk.batch import gather
from flashback_async.bulk.report import Outcome, Report
from flashback_async.call.caller import Caller
from flashback_async.errors import FlashbackError
from flashback_async.models import BucketStatus
from flashback_async.resources.bulk import (
    check_ids,
    check_ids_or_async,
    naming,
    run_calls,
)
from flashback_async.run import SINGLE_CALL, Run
from flashback_async.values import Request

_OPERATION = "status.get"


class StatusResource:
    """Ask how the nodes of buckets are; reached as ``client.status``."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, bucket_id: str) -> BucketStatus:
        """Get the state of a bucket's nodes (``GET /bucket/{bucketId}/status``).

        Args:
            bucket_id: The bucket; anything but a plain id is percent-encoded as one segment.

        Raises:
            InvalidArgumentError: The id breaks a rule; nothing was sent.
            NotFoundError: There is no such bucket.
            PermissionDeniedError: The token may not see it.
            FlashbackError: Any other failure, by its class; see ``flashback_async.errors``.
        """
        return await self._get(bucket_id)

    async def get_many(
        self,
        bucket_ids: Iterable[str],
        *,
        concurrency: int | None = None,
        deadline: float | None = None,
    ) -> Report[str, BucketStatus]:
        """Get the state of many buckets, with an outcome for each id in the order given.

        An id that is given twice is asked for once. A bad id is the outcome of that id.

        Args:
            bucket_ids: The buckets.
            concurrency: Calls at once, at least 1; None is ``Limits.max_concurrency``, which
                rules in any case.
            deadline: Seconds for the whole run; None sets no limit. What is not done by then
                comes out with ``DeadlineExceededError``.

        Raises:
            InvalidArgumentError: ``bucket_ids`` is one text or cannot be iterated, or an option
                is out of its range.
            ClientClosedError: The client is closed.
            EventLoopError: The client belongs to another event loop or process.
        """
        with naming("status.get_many"):
            self._caller.check_open()
            check_ids(bucket_ids)
            ask = partial(self._run, concurrency=concurrency, deadline=deadline)
            return await gather(bucket_ids, ask)

    def iter_many(
        self,
        bucket_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[Outcome[str, BucketStatus], None]:
        """Get the state of many buckets and give each outcome as it completes.

        Memory is in proportion to the concurrency, whatever the number of ids. Leaving the loop
        stops what is under way; a generator with a name is closed with ``contextlib.aclosing``.

        Args:
            bucket_ids: The buckets, read lazily.
            concurrency: As in ``get_many``.
            deadline: As in ``get_many``; an async iterable is not read further.

        Raises:
            InvalidArgumentError: As in ``get_many``, at the call itself.
            ClientClosedError: The client is closed, at the call itself.
            EventLoopError: As in ``get_many``, as the run begins.
        """
        with naming("status.iter_many"):
            self._caller.check_open()
            check_ids_or_async(bucket_ids)
            return self._run(bucket_ids, concurrency=concurrency, deadline=deadline)

    def _get(self, bucket_id: str, run: Run = SINGLE_CALL) -> Awaitable[BucketStatus]:
        target = f"/bucket/{segment(bucket_id, _OPERATION)}/status"
        request = Request(_OPERATION, "GET", target, bucket_id)
        return self._caller.call(request, partial(decode_status, asked=bucket_id), run)

    def _run(
        self,
        bucket_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int | None,
        deadline: float | None,
    ) -> AsyncGenerator[Outcome[str, BucketStatus], None]:
        return run_calls(
            self._caller,
            self._get,
            bucket_ids,
            concurrency=concurrency,
            deadline=deadline,
            describe=_describe,
        )


def _describe(error: FlashbackError, bucket_id: str) -> None:
    error.operation, error.bucket_id = _OPERATION, bucket_id
