"""The current state of buckets' nodes: ``GET /bucket/{bucketId}/status``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from functools import partial

from flashback_async.api.urls import segment
from flashback_async.api.wire import decode_status
from flashback_async.bulk.report import Outcome, Report
from flashback_async.call.caller import Caller
from flashback_async.models import BucketStatus
from flashback_async.resources.bulk import Calls
from flashback_async.values import Request

_GET = "status.get"


class StatusResource:
    """The current state of buckets' nodes, available as ``client.status``."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._many = Calls(caller, _GET, _question)

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
        request, decode = _question(bucket_id)
        return await self._caller.call(request, decode)

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
            concurrency: Calls at once, at least 1; never more than ``Limits.max_concurrency``,
                which is also the default.
            deadline: Seconds for the whole run; None sets no limit. Keys that have not finished
                by then get a ``DeadlineExceededError``. If the server asks for a pause that
                lasts longer, the waiting keys get a ``RateLimitError`` at once.

        Raises:
            InvalidArgumentError: ``bucket_ids`` is a string or cannot be iterated, or an option
                is out of its range.
            ClientClosedError: The client is closed.
            EventLoopError: The client belongs to another event loop or process.
        """
        return await self._many.get_many(bucket_ids, concurrency, deadline)

    def iter_many(
        self,
        bucket_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[Outcome[str, BucketStatus], None]:
        """Get the state of many buckets and yield each outcome as it completes.

        Memory is in proportion to the concurrency, whatever the number of ids. Equal ids in
        flight at the same time are one request. Leaving the loop cancels the calls in flight;
        close a generator that has a name with ``contextlib.aclosing``.

        Args:
            bucket_ids: The buckets, read lazily.
            concurrency: As in ``get_many``.
            deadline: As in ``get_many``; an async iterable is not read further.

        Raises:
            InvalidArgumentError: As in ``get_many``, at the call itself.
            ClientClosedError: The client is closed, at the call itself.
            EventLoopError: As in ``get_many``, as the run begins.
        """
        return self._many.iter_many(bucket_ids, concurrency, deadline)


def _question(bucket_id: str) -> tuple[Request, Callable[[bytes], BucketStatus]]:
    """Return what to send for a bucket, and how to decode the answer."""
    target = f"/bucket/{segment(bucket_id, _GET)}/status"
    return Request(_GET, "GET", target, bucket_id), partial(decode_status, asked=bucket_id)
