"""Ids into lists, and answers back to their places."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
)
from contextlib import aclosing
from typing import Generic, TypeVar

from flashback_async.bulk.report import Failure, Outcome, Report, can_hash, repeated
from flashback_async.errors import FlashbackError

K = TypeVar("K")
V = TypeVar("V")


class Batch(Generic[K]):
    """Keys that are asked for together, each with its place in the input."""

    __slots__ = ("entries",)

    def __init__(self, entries: list[tuple[int, K]]) -> None:
        self.entries = entries


class Cutter(Generic[K]):
    """Cuts keys into batches whose sizes add up to no more than ``room``.

    Where a source raises, what it gave before makes the last batch, and then it is raised.
    """

    def __init__(self, size: Callable[[K], int], room: int) -> None:
        self._size = size
        self._room = room
        self._left = room
        self._seen = 0
        self._entries: list[tuple[int, K]] = []

    def cut(self, keys: Iterable[K]) -> Iterator[Batch[K]]:
        """Cut keys as they are read."""
        failure = None
        try:
            for key in keys:
                if full := self._add(key):
                    yield full
        except Exception as error:
            failure = error
        yield from self._end(failure)

    async def cut_async(self, keys: AsyncIterable[K]) -> AsyncIterator[Batch[K]]:
        """Cut keys as they come; a batch waits until it is full."""
        failure = None
        try:
            async for key in keys:
                if full := self._add(key):
                    yield full
        except Exception as error:
            failure = error
        for rest in self._end(failure):
            yield rest

    def _end(self, failure: Exception | None) -> Iterator[Batch[K]]:
        yield from self.leftover()
        if failure is not None:
            raise failure

    def leftover(self) -> list[Batch[K]]:
        """Give what was read for a batch that a halted run never came to."""
        rest = self._rest()
        return [] if rest is None else [rest]

    def _rest(self) -> Batch[K] | None:
        entries, self._entries, self._left = self._entries, [], self._room
        return Batch(entries) if entries else None

    def _add(self, key: K) -> Batch[K] | None:
        """Add a key, and give the batch that has no room for it, if so."""
        size = self._size(key)
        full = self._rest() if size > self._left else None
        self._entries.append((self._seen, key))
        self._seen += 1
        self._left -= size
        return full


async def unpack(
    batches: AsyncGenerator[Outcome[Batch[K], list[Outcome[K, V]]], None],
    share: Callable[[FlashbackError, K], FlashbackError],
) -> AsyncGenerator[Outcome[K, V], None]:
    """Give the outcomes in the batches of a run; ``share`` makes a batch's error a key's own."""
    async with aclosing(batches):
        async for batch in batches:
            if batch.error is None:
                for outcome in batch.value:
                    yield outcome
                continue
            for place, key in batch.key.entries:
                yield Failure(place, key, share(batch.error, key), batch.elapsed)


async def gather(
    keys: Iterable[K],
    ask: Callable[[list[K]], AsyncGenerator[Outcome[K, V], None]],
) -> Report[K, V]:
    """Ask once for each distinct key, and put its outcome at every place that it has."""
    distinct, places = _distinct(keys)
    found: dict[int, Outcome[K, V]] = {}
    async with aclosing(ask(distinct)) as outcomes:
        async for outcome in outcomes:
            for place in places[outcome.index]:
                found[place] = _placed(outcome, place)
    return Report(found[place] for place in range(len(found)))


def _distinct(keys: Iterable[K]) -> tuple[list[K], list[list[int]]]:
    """Give each key once, in the order of the input, with all its places there."""
    distinct: list[K] = []
    places: list[list[int]] = []
    seen: dict[K, list[int]] = {}
    for place, key in enumerate(keys):
        here = [place]
        if can_hash(key):
            here = seen.setdefault(key, here)
        if here[0] != place:
            here.append(place)
            continue
        distinct.append(key)
        places.append(here)
    return distinct, places


def _placed(outcome: Outcome[K, V], place: int) -> Outcome[K, V]:
    if outcome.index == place:
        return outcome
    return repeated(outcome, place, outcome.key)
