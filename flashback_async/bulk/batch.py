"""Batches of keys, and the outcomes of batches as outcomes of their keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Generic, TypeAlias, TypeVar

from attrs import evolve

from flashback_async.bulk.keys import ReadsAhead
from flashback_async.bulk.report import Failure, Outcome, Report, can_hash, repeated
from flashback_async.errors import FlashbackError

K = TypeVar("K")
V = TypeVar("V")

# Keys that are asked for together, each with its place in the input.
Batch: TypeAlias = list[tuple[int, K]]


class Cutter(Generic[K]):
    """A cutter of keys into batches whose sizes add up to no more than ``room``.

    A key that a batch holds already takes no further room in it. ``most`` is the largest number
    of keys in a batch, repeated ones included.
    """

    def __init__(self, size: Callable[[K], int], room: int, most: int) -> None:
        self._size = size
        self._room = room
        self._most = most
        self._left = room
        self._seen = 0
        self._batch: Batch[K] = []
        self._distinct: set[K] = set()

    def add(self, key: K) -> Batch[K] | None:
        """Add a key; return the previous batch if that has no room for the key."""
        full = None
        size = self._size(key) if self._record(key) else 0
        if 0 < size > self._left or len(self._batch) == self._most:
            full = self.rest()
            self._record(key)
            size = self._size(key)
        self._batch.append((self._seen, key))
        self._seen += 1
        self._left -= size
        return full or None

    def rest(self) -> Batch[K]:
        """Return the last batch, which may be empty."""
        batch, self._batch, self._left = self._batch, [], self._room
        self._distinct.clear()
        return batch

    def _record(self, key: K) -> bool:
        """Record a key; return whether it is new to the batch.

        One that cannot be hashed (bad input among ids) always is.
        """
        before = len(self._distinct)
        try:
            self._distinct.add(key)
        except TypeError:
            return True
        return len(self._distinct) > before


def cut(keys: Iterable[K], cutter: Cutter[K]) -> Iterator[Batch[K]]:
    """Cut keys as they are read.

    If the source raises, the keys before that are the last batch; then the error is raised.
    """
    failure = None
    try:
        for key in keys:
            if full := cutter.add(key):
                yield full
    except Exception as error:
        failure = error
    if rest := cutter.rest():
        yield rest
    if failure is not None:
        raise failure


class AsyncBatches(ReadsAhead[Batch[K]]):
    """The batches of an async source, cut as ``cut`` does; each waits until it is full."""

    def __init__(self, keys: AsyncIterable[K], cutter: Cutter[K]) -> None:
        self._keys = aiter(keys)
        self._cutter = cutter
        self._end: Exception | None = None

    async def __anext__(self) -> Batch[K]:
        while self._end is None:
            try:
                key = await anext(self._keys)
            except Exception as error:  # the end of the source, or its failure
                self._end = error
                break
            if full := self._cutter.add(key):
                return full
        if rest := self._cutter.rest():
            return rest
        raise self._end

    def left_over(self) -> Iterable[Batch[K]]:
        """Return the keys that were read for a batch which was never returned."""
        rest = self._cutter.rest()
        return [rest] if rest else []


async def unpack(
    batches: AsyncGenerator[Outcome[Batch[K], list[Outcome[K, V]]], None],
    own_error: Callable[[FlashbackError, K], FlashbackError],
) -> AsyncGenerator[Outcome[K, V], None]:
    """Yield the outcomes in the batches of a run.

    ``own_error`` makes the error of a batch an error of a key.
    """
    async with aclosing(batches):
        async for batch in batches:
            if batch.error is None:
                for outcome in batch.value:
                    yield outcome
                continue
            for index, key in batch.key:
                yield Failure(index, key, own_error(batch.error, key), batch.elapsed)


async def gather(
    keys: Iterable[K],
    ask: Callable[[list[K]], AsyncGenerator[Outcome[K, V], None]],
) -> Report[K, V]:
    """Return a report: each distinct key is asked for once, for all of its places."""
    given = list(keys)
    distinct, places = _distinct(given)
    found: dict[int, Outcome[K, V]] = {}
    async with aclosing(ask(distinct)) as outcomes:
        async for outcome in outcomes:
            first, *others = places[outcome.index]
            found[first] = outcome if outcome.index == first else evolve(outcome, index=first)
            for place in others:
                found[place] = repeated(outcome, place, given[place])
    return Report(found[place] for place in range(len(given)))


def _distinct(keys: list[K]) -> tuple[list[K], list[list[int]]]:
    """Return each key once, in the order of the input, and all its places there."""
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
