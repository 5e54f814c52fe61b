"""The traffic counters of buckets: ``GET /bucket/stats``."""

from __future__ import annotations

import builtins
import copy
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from functools import partial
from typing import TypeVar

from flashback_async.api.urls import (
    check_bucket_id,
    check_listed_ids,
    list_room,
    list_target,
    listed_size,
)
from flashback_async.api.wire import decode_stats, decode_stats_apart
from flashback_async.bulk.batch import Batch, Cutter, gather, unpack
from flashback_async.bulk.report import Failure, Outcome, Report, Success
from flashback_async.call.caller import Caller
from flashback_async.errors import (
    APIError,
    FlashbackError,
    InvalidArgumentError,
    NotFoundError,
    show,
)
from flashback_async.models import BucketStats
from flashback_async.resources.bulk import (
    check_ids,
    check_ids_or_async,
    naming,
    run_calls,
)
from flashback_async.run import Run
from flashback_async.values import Request

A = TypeVar("A")

_GET = "bucket_stats.get"
_LIST = "bucket_stats.list"
# With these the API may refuse a whole list for the sake of one id in it.
_REFUSALS = {400, 403, 404, 414}


class BucketStatsResource:
    """Ask how much went up and down in buckets; reached as ``client.bucket_stats``."""

    def __init__(self, caller: Caller, base_url: str) -> None:
        self._caller = caller
        self._lists = _Lists(caller, base_url)

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

        Ids are asked for in as few requests as their URLs allow, at once; the answers are
        merged in the order of the ids. An id that is given twice is listed once. All of it is one
        call, with one ``Timeout.total``: for very many ids, ``get_many`` has time for each list.

        Args:
            bucket_ids: The buckets; None is every bucket that the token can see; an empty
                iterable sends nothing and gives ``[]``. Ids that the API does not answer are
                absent.

        Raises:
            InvalidArgumentError: ``bucket_ids`` is one text, or an id breaks a rule; nothing
                was sent.
            FlashbackError: The first failure of a request, by its class.
        """
        if bucket_ids is None:
            return await self._caller.call(Request(_LIST, "GET", list_target(None)), decode_stats)
        with naming(_LIST):
            self._caller.check_open()
            check_ids(bucket_ids)
        ids = list(dict.fromkeys(check_listed_ids(bucket_ids, _LIST)))
        found = _find(ids, [(item.bucket_id, item) for item in await self._lists.all_of(ids)])
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

        Ids travel in lists. A missing one is a ``NotFoundError``; a list that is refused with
        400, 403, 404 or 414 is halved until the culprit stands alone; any other failure of a
        list is the error of each id in it. An id that is given twice is asked for once.

        Args:
            bucket_ids: The buckets.
            concurrency: List requests at once, at least 1; None is ``Limits.max_concurrency``,
                which rules in any case.
            deadline: Seconds for the whole run; None sets no limit. What is not done by then
                comes out with ``DeadlineExceededError``.

        Raises:
            InvalidArgumentError: ``bucket_ids`` is one text or cannot be iterated, or an option
                is out of its range.
            ClientClosedError: The client is closed.
            EventLoopError: The client belongs to another event loop or process.
        """
        with naming("bucket_stats.get_many"):
            self._caller.check_open()
            check_ids(bucket_ids)
            ask = partial(self._lists.run, concurrency=concurrency, deadline=deadline)
            return await gather(bucket_ids, ask)

    def iter_many(
        self,
        bucket_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[Outcome[str, BucketStats], None]:
        """Get the counters of many buckets and give each outcome as its list completes.

        A list request is sent when it is full or the source ends. Leaving the loop stops what
        is under way; a generator with a name is closed with ``contextlib.aclosing``.

        Args:
            bucket_ids: The buckets, read lazily.
            concurrency: As in ``get_many``.
            deadline: As in ``get_many``; an async iterable is not read further.

        Raises:
            InvalidArgumentError: As in ``get_many``, at the call itself.
            ClientClosedError: The client is closed, at the call itself.
            EventLoopError: As in ``get_many``, as the run begins.
        """
        with naming("bucket_stats.iter_many"):
            self._caller.check_open()
            check_ids_or_async(bucket_ids)
            return self._lists.run(bucket_ids, concurrency=concurrency, deadline=deadline)


class _Lists:
    """Sends ids in lists and brings the answers back to the ids."""

    def __init__(self, caller: Caller, base_url: str) -> None:
        self._caller = caller
        self._room = list_room(base_url)
        self._longest = self._room + len(list_target([]))  # of the target of one list

    def run(
        self,
        bucket_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int | None,
        deadline: float | None,
    ) -> AsyncGenerator[Outcome[str, BucketStats], None]:
        cutter: Cutter[str] = Cutter(listed_size, self._room)
        batches: Iterable[Batch[str]] | AsyncIterable[Batch[str]]
        if isinstance(bucket_ids, AsyncIterable):
            batches = cutter.cut_async(bucket_ids)
        else:
            batches = cutter.cut(bucket_ids)
        outcomes = run_calls(
            self._caller,
            self._ask_batch,
            batches,
            concurrency=concurrency,
            deadline=deadline,
            describe=_describe,
            leftover=cutter.leftover,
        )
        return unpack(outcomes, _share)

    async def all_of(self, ids: list[str]) -> list[BucketStats]:
        """Send the list requests for these ids at once, as one call; the first failure ends it."""
        whole = list_target(ids)
        if ids and len(whole) <= self._longest:
            return await self._caller.call(Request(_LIST, "GET", whole), decode_stats)
        cutter: Cutter[str] = Cutter(listed_size, self._room)
        parts = run_calls(
            self._caller,
            partial(self._list_one, since=self._caller.state.clock.monotonic()),
            cutter.cut(ids),
            concurrency=None,
            deadline=None,
            describe=_describe,
        )
        found: list[BucketStats] = []
        async with aclosing(parts):
            async for part in parts:
                found += part.unwrap()
        return found

    async def _list_one(
        self, batch: Batch[str], *, since: float, halt: Run | None = None
    ) -> list[BucketStats]:
        target = list_target([bucket_id for _, bucket_id in batch.entries])
        return await self._caller.call(Request(_LIST, "GET", target), decode_stats, since=since)

    async def _ask_batch(self, batch: Batch[str], halt: Run) -> list[Outcome[str, BucketStats]]:
        """Ask for the ids of a batch; every one of them has its outcome, good or bad."""
        started = time.monotonic()
        results: dict[int, BucketStats | FlashbackError] = {}
        asked: dict[str, None] = {}
        for place, bucket_id in batch.entries:
            try:
                asked[check_bucket_id(bucket_id, _LIST, listed=True)] = None
            except InvalidArgumentError as error:
                results[place] = error
        answers = await self._ask(list(asked), halt) if asked else {}
        elapsed = time.monotonic() - started
        return [
            _outcome(place, bucket_id, results.get(place) or answers[bucket_id], elapsed)
            for place, bucket_id in batch.entries
        ]

    async def _ask(self, ids: list[str], halt: Run) -> dict[str, BucketStats | FlashbackError]:
        """Ask for some ids in one list; a refused list is halved until the culprit is alone."""
        request = Request(_LIST, "GET", list_target(ids))
        try:
            answers = await self._caller.call(request, partial(_match, ids), halt, _errors_in)
            return {i: _own(answer, i) for i, answer in answers.items()}
        except FlashbackError as error:
            refused = isinstance(error, APIError) and error.status in _REFUSALS
            if not refused or len(ids) == 1:
                return {i: _share(error, i) for i in ids}
        middle = len(ids) // 2
        first = await self._ask(ids[:middle], halt)
        return first | await self._ask(ids[middle:], halt)


def _find(ids: list[str], items: list[tuple[str, A]]) -> dict[str, A]:
    """Bring items to the ids asked for; the last item of an id wins.

    The same spelling goes first, then any that differs in case alone.
    """
    exact = dict(items)
    if all(map(exact.__contains__, ids)):
        return {i: exact[i] for i in ids}
    any_case = {i.casefold(): item for i, item in items}
    found = {i: exact.get(i, any_case.get(i.casefold())) for i in ids}
    return {i: item for i, item in found.items() if item is not None}


def _only(bucket_id: str, body: bytes) -> BucketStats:
    """Pick the one bucket that was asked for out of a list answer."""
    items = [(item.bucket_id, item) for item in decode_stats(body)]
    found = _find([bucket_id], items).get(bucket_id)
    if found is None:
        raise _missing(bucket_id)
    return found


def _match(ids: list[str], body: bytes) -> dict[str, BucketStats | FlashbackError]:
    """Bring what a list answer holds to the ids asked for, errors of single items included."""
    items = decode_stats_apart(body)
    found = _find(ids, [(i, item) for i, item in items if i is not None])
    # Where an item cannot be told whose it is, none of the ids left over can be called missing.
    nameless = next((item for i, item in items if i is None), None)
    return {i: found.get(i) or nameless or _missing(i) for i in ids}


def _errors_in(answers: dict[str, BucketStats | FlashbackError]) -> list[FlashbackError]:
    """Give each error once, though several ids may have it."""
    errors = [answer for answer in answers.values() if isinstance(answer, FlashbackError)]
    return list({id(error): error for error in errors}.values())


def _missing(bucket_id: str) -> NotFoundError:
    return NotFoundError(f"the answer does not hold {show(bucket_id)}", status=200)


def _own(answer: BucketStats | FlashbackError, bucket_id: str) -> BucketStats | FlashbackError:
    return _share(answer, bucket_id) if isinstance(answer, FlashbackError) else answer


def _share(error: FlashbackError, bucket_id: str) -> FlashbackError:
    """Give an id an error of its own that says the same."""
    own = copy.copy(error)
    own.operation, own.bucket_id = _LIST, bucket_id
    return own


def _outcome(
    place: int, bucket_id: str, result: BucketStats | FlashbackError, elapsed: float
) -> Outcome[str, BucketStats]:
    if isinstance(result, FlashbackError):
        return Failure(place, bucket_id, result, elapsed)
    return Success(place, bucket_id, result, elapsed)


def _describe(error: FlashbackError, batch: Batch[str]) -> None:
    error.operation = _LIST
