"""The traffic counters of buckets: ``GET /bucket/stats``."""

from __future__ import annotations

import builtins
import copy
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from functools import partial

from flashback_async.bulk.batch import Batch, cut, cut_async, gather, unpack
from flashback_async.bulk.fanout import Halt
from flashback_async.bulk.report import Outcome, Report
from flashback_async.errors import (
    APIError,
    FlashbackError,
    InvalidArgumentError,
    NotFoundError,
    show,
)
from flashback_async.http.codec import decode_stats, decode_stats_apart
from flashback_async.http.session import SessionManager
from flashback_async.http.urls import check_bucket_id, list_room, list_target, listed_size
from flashback_async.http.values import Request
from flashback_async.models import BucketStats
from flashback_async.resources.bulk_calls import check_ids, check_ids_or_async, run_calls

_LIST = "bucket_stats.list"
# With these the API may refuse a whole list for the sake of one id in it.
_REFUSALS = {400, 403, 404, 414}


class BucketStatsResource:
    """Ask how much went up and down in buckets; reached as ``client.bucket_stats``."""

    def __init__(self, manager: SessionManager, base_url: str) -> None:
        self._manager = manager
        self._lists = _Lists(manager, base_url)

    async def get(self, bucket_id: str) -> BucketStats:
        """Get the counters of one bucket (``GET /bucket/stats?bucketId=…``).

        Raises:
            InvalidArgumentError: The id breaks a rule; nothing was sent.
            NotFoundError: The answer does not hold the bucket (``.status`` is then 200).
            PermissionDeniedError: The token may not see it.
            FlashbackError: Any other failure, by its class; see ``flashback_async.errors``.
        """
        checked = check_bucket_id(bucket_id, listed=True)
        request = Request("bucket_stats.get", "GET", list_target((checked,)), checked)
        return await self._manager.call(request, lambda body: _only(decode_stats(body), checked))

    async def list(self, bucket_ids: Iterable[str] | None = None) -> builtins.list[BucketStats]:
        """List the counters of several buckets, or of all (``GET /bucket/stats``).

        Ids are asked for in as few requests as their URLs allow, at once; the answers are
        merged in the order of the ids. An id that is given twice is listed once.

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
            return await self._manager.call(Request(_LIST, "GET", list_target(None)), decode_stats)
        check_ids(bucket_ids)
        ids = {check_bucket_id(i, listed=True).casefold(): i for i in bucket_ids}
        found = await self._lists.all_of(ids.values())
        return [found[folded] for folded in ids if folded in found]

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
        """
        self._manager.check_open()
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
        """
        self._manager.check_open()
        check_ids_or_async(bucket_ids)
        return self._lists.run(bucket_ids, concurrency=concurrency, deadline=deadline)


class _Lists:
    """Sends ids in lists and brings the answers back to the ids."""

    def __init__(self, manager: SessionManager, base_url: str) -> None:
        self._manager = manager
        self._room = list_room(base_url)

    def run(
        self,
        bucket_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int | None,
        deadline: float | None,
    ) -> AsyncGenerator[Outcome[str, BucketStats], None]:
        batches: Iterable[Batch[str]] | AsyncIterable[Batch[str]]
        if isinstance(bucket_ids, AsyncIterable):
            batches = cut_async(bucket_ids, listed_size, self._room)
        else:
            batches = cut(bucket_ids, listed_size, self._room)
        outcomes = run_calls(
            self._manager,
            self._ask_batch,
            batches,
            concurrency=concurrency,
            deadline=deadline,
            describe=_describe,
        )
        return unpack(outcomes, _share)

    async def all_of(self, ids: Iterable[str]) -> dict[str, BucketStats]:
        """Send the list requests for these ids at once; the first failure ends them all."""
        batches = list(cut(ids, listed_size, self._room))
        if len(batches) == 1:
            return _by_id(await self._list_one(batches[0]))
        parts = run_calls(
            self._manager,
            self._list_one,
            batches,
            concurrency=None,
            deadline=self._manager.timeout.total,
            describe=_describe,
        )
        found: dict[str, BucketStats] = {}
        async with aclosing(parts):
            async for part in parts:
                found |= _by_id(part.unwrap())
        return found

    async def _list_one(self, batch: Batch[str], *, halt: Halt | None = None) -> list[BucketStats]:
        target = list_target(tuple(bucket_id for _, bucket_id in batch.entries))
        return await self._manager.call(Request(_LIST, "GET", target), decode_stats)

    async def _ask_batch(self, batch: Batch[str], halt: Halt) -> list[Outcome[str, BucketStats]]:
        """Ask for the ids of a batch; every one of them has its outcome, good or bad."""
        started = time.monotonic()
        results: dict[int, BucketStats | FlashbackError] = {}
        asked: dict[str, str] = {}
        for place, bucket_id in batch.entries:
            try:
                asked[check_bucket_id(bucket_id, listed=True).casefold()] = bucket_id
            except InvalidArgumentError as error:
                results[place] = error
        answers = await self._ask(list(asked.values()), halt) if asked else {}
        elapsed = time.monotonic() - started
        return [
            _outcome(place, bucket_id, results.get(place) or answers[bucket_id.casefold()], elapsed)
            for place, bucket_id in batch.entries
        ]

    async def _ask(self, ids: list[str], halt: Halt) -> dict[str, BucketStats | FlashbackError]:
        """Ask for some ids in one list; a refused list is halved until the culprit is alone."""
        request = Request(_LIST, "GET", list_target(tuple(ids)))
        try:
            answers = await self._manager.call(request, partial(_match, ids), halt, _errors_in)
            return {i.casefold(): _own(answer, i) for i, answer in answers.items()}
        except FlashbackError as error:
            refused = isinstance(error, APIError) and error.status in _REFUSALS
            if not refused or len(ids) == 1:
                return {i.casefold(): _share(error, i) for i in ids}
        middle = len(ids) // 2
        first = await self._ask(ids[:middle], halt)
        return first | await self._ask(ids[middle:], halt)


def _by_id(stats: list[BucketStats]) -> dict[str, BucketStats]:
    return {item.bucket_id.casefold(): item for item in stats}


def _only(stats: list[BucketStats], bucket_id: str) -> BucketStats:
    """Pick the one bucket that was asked for."""
    for item in reversed(stats):
        if item.bucket_id.casefold() == bucket_id.casefold():
            return item
    raise _missing(bucket_id)


def _match(ids: list[str], body: bytes) -> dict[str, BucketStats | FlashbackError]:
    """Bring what a list answer holds to the ids asked for; the last item of an id wins."""
    items = decode_stats_apart(body)
    answers = {i.casefold(): item for i, item in items if i is not None}
    # Where an item cannot be told whose it is, none of the ids left over can be called missing.
    nameless = next((item for i, item in items if i is None), None)
    return {i: answers.get(i.casefold(), nameless) or _missing(i) for i in ids}


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
        return Outcome(place, bucket_id, None, result, elapsed)
    return Outcome(place, bucket_id, result, None, elapsed)


def _describe(error: FlashbackError, batch: Batch[str]) -> None:
    error.operation = _LIST
