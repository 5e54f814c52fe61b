"""The input of a run: keys that are read as far as they are sent, and no further."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Generic, TypeVar

from attrs import define

from flashback_async import BucketDay, InvalidArgumentError, day_range

K = TypeVar("K")

Place = tuple[int, K]  # a key with its index in the input

# Seconds that a key of a slow asynchronous input waits for others to fill a shard.
_LINGERS = 0.05


@define(eq=False)
class Shard(Generic[K]):
    """Keys that are sent together. ``strikes`` counts the workers that ended while they had it."""

    places: list[Place[K]]
    strikes: int = 0


class Input(Generic[K]):
    """The keys of a run, each with its index.

    Attributes:
        error: What the input raised, if it did.
    """

    def __init__(self, keys: Iterable[K] | AsyncIterable[K]) -> None:
        self.error: BaseException | None = None
        self._count = 0
        self._ended = False
        self._stopped = False
        self._plain: Iterator[K] | None = None
        self._async: AsyncIterator[K] | None = None
        if isinstance(keys, AsyncIterable):
            self._async = aiter(keys)
        else:
            self._plain = iter(keys)
        self._read: deque[Place[K]] = deque()  # and not taken
        self._room = asyncio.Event()
        self._oldest = 0.0  # when the first of them was read

    @property
    def is_exhausted(self) -> bool:
        """Whether every key has been taken."""
        return self._ended and not self._read

    def take(self, most: int) -> list[Place[K]]:
        """Return the next keys; none if the input has ended, or if there are too few as yet."""
        if self._plain is not None:
            ahead = [self._read.popleft()] if self._read else []
            return ahead + self._next(self._plain, most - len(ahead))
        if len(self._read) < most and not self._ended and self._lingers_for() > 0:
            return []
        self._room.set()
        return [self._read.popleft() for _ in range(min(most, len(self._read)))]

    @property
    def has_waiting(self) -> bool:
        """Whether keys wait to be sent, as far as one can tell without reading on."""
        return bool(self._read) or (self._plain is not None and not self._ended)

    def look_ahead(self) -> None:
        """Read one key of a plain input ahead, to find out whether there is any."""
        if self._plain is not None and not self._read:
            self._read.extend(self._next(self._plain, 1))

    def stop(self) -> None:
        """Read no further in an asynchronous input."""
        self._stopped = True
        if self._plain is None:
            self._ended = True

    def rest(self) -> Iterator[Place[K]]:
        """Return the keys that were not taken; of an asynchronous input, only those read."""
        yield from self._read
        if self._plain is not None and not self._ended:
            for key in self._plain:
                self._count += 1
                yield self._count - 1, key

    async def read(self, most: int, news: Callable[[], object]) -> None:
        """Read an asynchronous input, at most so many keys ahead; report when there are some."""
        if self._async is None:
            return
        loop = asyncio.get_running_loop()
        timer = None
        try:
            async for key in self._async:
                if not self._read:
                    self._oldest = loop.time()
                    timer = loop.call_later(_LINGERS, news)
                self._read.append((self._count, key))
                self._count += 1
                while len(self._read) >= most:
                    news()
                    self._room.clear()
                    await self._room.wait()
        except asyncio.CancelledError as error:
            if not self._stopped:  # nobody asked for it, so the run has to end
                self.error = error
            raise
        except Exception as error:
            self.error = error
        finally:
            self._ended = True
            if timer is not None:
                timer.cancel()
            news()

    def _next(self, source: Iterator[K], most: int) -> list[Place[K]]:
        if self._ended or most < 1:
            return []
        taken: list[Place[K]] = []
        try:
            for key in islice(source, most):
                taken.append((self._count, key))
                self._count += 1
        except Exception as error:
            self.error = error
        self._ended = len(taken) < most
        return taken

    def _lingers_for(self) -> float:
        if not self._read:
            return _LINGERS
        return self._oldest + _LINGERS - asyncio.get_running_loop().time()


class Unfinished(Generic[K]):
    """The places of an input without an outcome: those sent out, and then the rest, lazily.

    The rest can be iterated over once. A pickle has those that were sent out, as a list.
    """

    def __init__(self, sent: list[Place[K]], rest: Iterator[Place[K]]) -> None:
        self._sent = sent
        self._rest = rest

    def __iter__(self) -> Iterator[Place[K]]:
        yield from self._sent
        yield from self._rest

    def __reduce__(self) -> tuple[type[list[Place[K]]], tuple[list[Place[K]]]]:
        return list, (self._sent,)


def check_input(bucket_ids: object) -> None:
    """Check that ids are an iterable, plain or asynchronous.

    Raises:
        InvalidArgumentError: They are not, or they are a string.
    """
    if isinstance(bucket_ids, str | bytes | bytearray):
        raise InvalidArgumentError(
            "bucket_ids must be an iterable of ids, not a string, whose letters would be polled"
        )
    if not isinstance(bucket_ids, Iterable | AsyncIterable):
        kind = type(bucket_ids).__name__
        raise InvalidArgumentError(f"bucket_ids must be an iterable of ids, not {kind}")


def pairs(
    bucket_ids: Iterable[Any] | AsyncIterable[Any], days: object
) -> Iterable[BucketDay] | AsyncIterable[BucketDay]:
    """Return each id with every day; without days, the pairs that were given.

    Raises:
        InvalidArgumentError: ``days`` holds no day, or something else.
    """
    if days is None:
        of_item = _given_pair
    else:
        dates = _dates(days)

        def of_item(item: Any) -> list[BucketDay]:
            if isinstance(item, BucketDay):
                raise InvalidArgumentError(
                    "bucket_ids must hold ids, not BucketDay pairs, if days are given"
                )
            return [BucketDay(item, day) for day in dates]

    if isinstance(bucket_ids, AsyncIterable):
        return _async_pairs(bucket_ids, of_item)
    return (pair for item in bucket_ids for pair in of_item(item))


async def _async_pairs(
    bucket_ids: AsyncIterable[Any], of_item: Callable[[Any], list[BucketDay]]
) -> AsyncIterator[BucketDay]:
    async for item in bucket_ids:
        for pair in of_item(item):
            yield pair


def _given_pair(item: Any) -> list[BucketDay]:
    if isinstance(item, BucketDay):
        return [BucketDay(item.bucket_id, *_dates(item.day))]
    kind = type(item).__name__
    raise InvalidArgumentError(
        f"days must be given unless bucket_ids holds BucketDay pairs, not {kind}"
    )


def _dates(days: Any) -> list[Any]:
    """Return one day or several as dates."""
    several = not isinstance(days, str) and isinstance(days, Iterable)
    dates = [date for day in (days if several else [days]) for date in day_range(day, day)]
    if not dates:
        raise InvalidArgumentError("days must hold at least one day")
    return dates
