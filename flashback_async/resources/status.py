"""The current state of buckets' nodes: ``GET /bucket/{bucketId}/status``."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from functools import partial

from flashback_async.api.answers import is_retried
from flashback_async.api.urls import check_bucket_id, segment
from flashback_async.api.wire import decode_status
from flashback_async.bulk.report import Outcome, Report
from flashback_async.call.caller import Caller
from flashback_async.errors import ClientClosedError, DeadlineExceededError
from flashback_async.models import BucketStatus
from flashback_async.resources.bulk import Calls, check_ids, name_call, naming
from flashback_async.resources.lists import list_all
from flashback_async.values import Request
from flashback_async.watch.listing import ListIds
from flashback_async.watch.polls import LASTING
from flashback_async.watch.settings import Settings
from flashback_async.watch.wait import Wait
from flashback_async.watch.watch import Watch

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

    def watch(
        self,
        bucket_ids: Iterable[str] | Callable[[], Awaitable[Iterable[str]]] | None = None,
        *,
        interval: float = 60.0,
        fall: int = 2,
        rise: int = 2,
        unknown_after: int = 2,
        refresh: float = 300.0,
        concurrency: int | None = None,
        state: str | os.PathLike[str] | None = None,
    ) -> Watch:
        """Watch buckets and yield each change of their nodes, for ever.

        Enter the watch with ``async with``, and iterate over it: ``async for change in watch``.
        Each bucket is polled once an interval, spread evenly over it. A poll is one call under
        the options of this client. A poll that fails changes no node's state.

        Args:
            bucket_ids: The buckets, or an async function that returns them. None means all that
                ``bucket_stats.list()`` returns.
            interval: Seconds between two polls of a bucket, from 0.1 to 1e9.
            fall: Answers in a row, at least 1, after which a node that was ONLINE is not, or is
                gone.
            rise: Answers in a row, at least 1, after which a node is ONLINE again.
            unknown_after: Failed polls in a row, at least 1, after which a bucket is UNKNOWN.
            refresh: Seconds between two listings of the buckets, from 0.1 to 1e9. A fixed list is
                never refreshed.
            concurrency: Polls at once, as in ``iter_many``.
            state: The path of a file that keeps what was seen and what was delivered, so that a
                later watch goes on from there. None keeps nothing.

        Raises:
            InvalidArgumentError: An argument is out of its range, or an id breaks a rule.
            ClientClosedError: The client is closed.
        """
        with naming("status.watch"):
            self._caller.check_open()
            settings = Settings(interval, fall, rise, unknown_after, refresh, concurrency, state)
            buckets, lasting = self._buckets_of(bucket_ids)
            return Watch(
                settings,
                buckets,
                lambda source: self.iter_many(source, concurrency=concurrency),
                self._many.most_at_once(concurrency),
                self._caller.state.clock,
                self._caller.while_open,
                lasting,
            )

    async def wait_until(
        self,
        bucket_id: str,
        predicate: Callable[[BucketStatus], bool],
        *,
        timeout: float,
        interval: float = 5.0,
        times: int = 1,
    ) -> BucketStatus:
        """Poll a bucket until its status fulfils a predicate, and return that status.

        The first poll is made at once. Failures of a kind that is retried count for nothing.

        Args:
            bucket_id: The bucket.
            predicate: A function that returns whether a status is as it should be.
            timeout: Seconds for all of it, from 0.000001 to 1e9.
            interval: Seconds from the end of a poll to the next, from 0.000001 to 1e9; each time
                up to 10 % more or less.
            times: Answers in a row, at least 1, that must fulfil the predicate.

        Raises:
            DeadlineExceededError: The time is up; the message says what the last answer was.
            InvalidArgumentError: An argument is out of its range, or the id breaks a rule.
            FlashbackError: A poll failed, in a way that is not retried.
        """
        with naming("status.wait_until", bucket_id):
            request, decode = _question(bucket_id)
            wait = Wait(
                predicate,
                lambda left: self._caller.within(left).call(request, decode),
                is_retried,
                self._caller.state.clock,
                timeout=timeout,
                interval=interval,
                times=times,
            )
        try:
            return await self._caller.while_open(wait.result)
        except (DeadlineExceededError, ClientClosedError) as error:
            if error.operation is None:
                name_call(error, "status.wait_until", bucket_id)
            raise

    def _buckets_of(
        self, bucket_ids: Iterable[str] | Callable[[], Awaitable[Iterable[str]]] | None
    ) -> tuple[set[str] | ListIds, tuple[type[Exception], ...]]:
        """Return the buckets of a watch, or their listing with the errors that end it."""
        if bucket_ids is None:
            return self._list_ids, LASTING
        if callable(bucket_ids):
            return bucket_ids, ()
        check_ids(bucket_ids)
        return {check_bucket_id(bucket_id, _GET) for bucket_id in bucket_ids}, ()

    async def _list_ids(self) -> list[str]:
        return [stats.bucket_id for stats in await list_all(self._caller)]


def _question(bucket_id: str) -> tuple[Request, Callable[[bytes], BucketStatus]]:
    """Return what to send for a bucket, and how to decode the answer."""
    target = f"/bucket/{segment(bucket_id, _GET)}/status"
    return Request(_GET, "GET", target, bucket_id), partial(decode_status, asked=bucket_id)
