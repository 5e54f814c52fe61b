"""List requests for many ids: ``GET /bucket/stats?bucketId=a,b,c``."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing, suppress
from functools import partial
from typing import TypeAlias, TypeVar

from flashback_async.api.stats import decode_stats, decode_stats_apart
from flashback_async.api.urls import (
    check_bucket_id,
    check_listed_ids,
    fold,
    list_room,
    list_target,
    listed_size,
)
from flashback_async.bulk.batch import AsyncBatches, Batch, Cutter, cut, unpack
from flashback_async.bulk.flights import Flight
from flashback_async.bulk.report import Failure, Outcome, Success
from flashback_async.call.caller import Caller
from flashback_async.errors import (
    APIError,
    FlashbackError,
    InvalidArgumentError,
    NotFoundError,
    show,
)
from flashback_async.models import BucketStats
from flashback_async.resources.bulk import Bulk, name_call
from flashback_async.run import SINGLE_CALL, Run
from flashback_async.values import Request

A = TypeVar("A")

Answer: TypeAlias = BucketStats | FlashbackError
Answers: TypeAlias = dict[str, Answer]
Receive: TypeAlias = Callable[[Answers], None]

_LIST = "bucket_stats.list"
# Statuses with which the API may refuse a whole list because of one id in it.
_REFUSALS = {400, 403, 404, 414}
# Only repeated ids make a list so long: one URL has no room for 1,000 of the shortest ids.
_MOST_IN_LIST = 1000


class Lists(Bulk[str, BucketStats]):
    """Many calls for ids that are sent in lists, with an outcome for each id."""

    def __init__(self, caller: Caller, base_url: str) -> None:
        super().__init__(caller, "bucket_stats")
        self._room = list_room(base_url)
        self._longest = self._room + len(list_target([]))  # of the target of one list

    def outcomes(
        self,
        keys: Iterable[str] | AsyncIterable[str],
        operation: str,
        concurrency: int | None,
        deadline: float | None,
    ) -> AsyncGenerator[Outcome[str, BucketStats], None]:
        """Return a generator that asks for the ids in lists."""
        batches: Iterable[Batch[str]] | AsyncIterable[Batch[str]]
        if isinstance(keys, AsyncIterable):
            batches = AsyncBatches(keys, self._cutter())
        else:
            batches = cut(keys, self._cutter())
        ask = partial(self._ask_batch, {})
        unpacked = self.fan_out(ask, batches, operation, concurrency, deadline, _label_list)
        return unpack(unpacked, _own)

    async def all_of(self, ids: list[str]) -> list[BucketStats]:
        """Send the list requests for these ids at once, as one call; the first failure ends it."""
        whole = list_target(ids)
        if ids and len(whole) <= self._longest:
            return await self._caller.call(Request(_LIST, "GET", whole), partial(_those_in, ids))
        call = partial(self._list_one, self._caller.state.clock.monotonic())
        batches = cut(ids, self._cutter())
        found: list[BucketStats] = []
        async with aclosing(self.fan_out(call, batches, _LIST, None, None, _label_list)) as parts:
            async for part in parts:
                found += part.unwrap()
        return found

    def batches(self, ids: list[str]) -> list[list[str]]:
        """Return checked ids in as few lists as their URLs allow."""
        return [[bucket_id for _, bucket_id in batch] for batch in cut(ids, self._cutter())]

    async def ask(self, ids: list[str], receive: Receive) -> None:
        """Ask for one list, as one call; hand on the answers as they arrive."""
        await self._ask(ids, SINGLE_CALL, receive, self._caller.state.clock.monotonic())

    def _cutter(self) -> Cutter[str]:
        return Cutter(listed_size, self._room, _MOST_IN_LIST)

    async def _list_one(self, since: float, _: Run, batch: Batch[str]) -> list[BucketStats]:
        ids = [bucket_id for _, bucket_id in batch]
        request = Request(_LIST, "GET", list_target(ids))
        return await self._caller.call(request, partial(_those_in, ids), since=since)

    async def _ask_batch(
        self, in_flight: dict[str, Flight[Answers]], run: Run, batch: Batch[str]
    ) -> list[Outcome[str, BucketStats]]:
        """Return the outcome of each place in a batch, a value or an error of its own.

        An id that is in flight in an earlier list of the run is not sent again.
        """
        started = time.monotonic()
        bad, ids = _checked(batch)
        others = {i: in_flight[i] for i in in_flight.keys() & ids}
        asked = [i for i in ids if i not in others] if others else ids
        answers = await self._lead(asked, in_flight, run) if asked else {}
        if others:
            answers = answers | {i: (await others[i].result(run))[i] for i in others}
        elapsed = time.monotonic() - started
        return [
            _outcome(place, key, bad.get(place) or answers[key], elapsed) for place, key in batch
        ]

    async def _lead(
        self, ids: list[str], in_flight: dict[str, Flight[Answers]], run: Run
    ) -> Answers:
        """Return the answers for ids that are in flight in no other list."""
        flight: Flight[Answers] = Flight()
        in_flight.update(dict.fromkeys(ids, flight))
        answers: Answers = {}
        try:
            await self._ask(ids, run, answers.update)
        except asyncio.CancelledError:
            if run.expired is None:
                raise
            missing: Answers = dict.fromkeys(ids, run.cancelled())
            answers = missing | answers
        for bucket_id in ids:
            del in_flight[bucket_id]
        flight.land(answers)
        return answers

    async def _ask(
        self, ids: list[str], run: Run, receive: Receive, since: float | None = None
    ) -> None:
        """Ask for ids in one list, or in its halves if the API refuses it."""
        request = Request(_LIST, "GET", list_target(ids))
        answers: Answers | None
        try:
            answers = await self._caller.call(
                request, partial(answers_in, ids), run, errors_in=_errors_in, since=since
            )
        except FlashbackError as error:
            refused = isinstance(error, APIError) and error.status in _REFUSALS
            answers = None if refused and len(ids) > 1 else dict.fromkeys(ids, error)
        if answers is not None:
            receive(answers)
            return
        middle = len(ids) // 2
        await self._ask(ids[:middle], run, receive, since)
        await self._ask(ids[middle:], run, receive, since)


async def list_all(caller: Caller) -> list[BucketStats]:
    """Return the counters of every bucket that the token can see."""
    return await caller.call(Request(_LIST, "GET", list_target(None)), decode_stats)


def find(ids: list[str], items: list[tuple[str, A]]) -> dict[str, A]:
    """Return the item of each id that has one; the last item of an id wins.

    An exact match goes first, then one that ignores the case of ASCII letters.
    """
    exact = dict(items)
    if all(map(exact.__contains__, ids)):
        return {i: exact[i] for i in ids}
    folded = {fold(i): item for i, item in items}
    found = {i: exact.get(i, folded.get(fold(i))) for i in ids}
    return {i: item for i, item in found.items() if item is not None}


def _not_found(bucket_id: str) -> NotFoundError:
    """Return the error of an id that a list answer left out."""
    return NotFoundError(f"the answer does not hold {show(bucket_id)}", status=200)


def _checked(batch: Batch[str]) -> tuple[dict[int, InvalidArgumentError], list[str]]:
    """Return the errors of the bad ids by place, and each good id once."""
    bad: dict[int, InvalidArgumentError] = {}
    with suppress(InvalidArgumentError):
        return bad, list(dict.fromkeys(check_listed_ids((key for _, key in batch), _LIST)))
    good: dict[str, None] = {}
    for place, key in batch:
        try:
            good[check_bucket_id(key, _LIST, listed=True)] = None
        except InvalidArgumentError as error:
            bad[place] = error.with_traceback(None)
    return bad, list(good)


def answers_in(ids: list[str], body: bytes) -> Answers:
    """Return the item of each id in a list answer, or its error."""
    items = decode_stats_apart(body)
    found: Answers = find(ids, [(i, item) for i, item in items if i is not None])
    # An item without an id may be about any id left over, so none of those is missing.
    nameless = next((item for i, item in items if i is None), None)
    return {i: found.get(i) or nameless or _not_found(i) for i in ids}


def _those_in(ids: list[str], body: bytes) -> list[BucketStats]:
    """Return the items of the ids that a list answer holds; raise the error of the first bad one.

    Items of other ids are ignored.
    """
    with suppress(FlashbackError):
        return decode_stats(body)
    items = decode_stats_apart(body)
    wanted = find(ids, [(i, item) for i, item in items if i is not None])
    models = []
    for item in (*wanted.values(), *(item for i, item in items if i is None)):
        if isinstance(item, FlashbackError):
            raise item
        models.append(item)
    return models


def _errors_in(answers: Answers) -> list[FlashbackError]:
    """Return each error once, even if several ids share it."""
    errors = [answer for answer in answers.values() if isinstance(answer, FlashbackError)]
    return list({id(error): error for error in errors}.values())


def _outcome(
    place: int, bucket_id: str, answer: Answer, elapsed: float
) -> Outcome[str, BucketStats]:
    if isinstance(answer, FlashbackError):
        return Failure(place, bucket_id, _own(answer, bucket_id), elapsed)
    return Success(place, bucket_id, answer, elapsed)


def _own(error: FlashbackError, bucket_id: object) -> FlashbackError:
    """Return a copy of an error for one bucket."""
    own = copy.copy(error)
    name_call(own, _LIST, bucket_id)
    return own


def _label_list(error: FlashbackError, batch: Batch[str]) -> None:
    name_call(error, _LIST, None)
