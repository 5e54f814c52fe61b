"""The outcomes of a run that wait to be taken."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from flashback_async import (
    ConnectionLostError,
    Failure,
    FlashbackError,
    InvalidArgumentError,
    Outcome,
    Success,
)
from flashback_async.dask.keys import Place, Shard
from flashback_async.dask.placement import MOST_STRIKES
from flashback_async.dask.wire import Answer, Resource, bucket_of, unsent

K = TypeVar("K")
V = TypeVar("V")


class Outcomes(Generic[K, V]):
    """The outcomes that wait, and the counts of those that were taken."""

    def __init__(self, resource: Resource) -> None:
        self.taken = self.failed = 0
        self._resource = resource
        self._waiting: deque[Outcome[K, V]] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self) -> Outcome[K, V]:
        """Return the oldest outcome."""
        outcome = self._waiting.popleft()
        self.taken += 1
        self.failed += outcome.error is not None
        return outcome

    def add_answer(self, shard: Shard[K], answer: Answer) -> None:
        """Add an outcome for each place of a shard that was answered."""
        missing = set(range(len(shard.places)))
        for place, value, elapsed in answer.successes:
            missing.discard(place)
            self._waiting.append(Success(*shard.places[place], value, elapsed))
        for place, error, elapsed in answer.failures:
            missing.discard(place)
            self._waiting.append(Failure(*shard.places[place], error, elapsed))
        if answer.rest is not None:
            for place in sorted(missing):
                self.add_unsent(shard.places[place], answer.rest)

    def add_unsent(self, place: Place[K], error: FlashbackError) -> None:
        """Add a failure for a key that was not asked for, because of an error of the run."""
        index, key = place
        self._waiting.append(Failure(index, key, unsent(error, self._resource, key), 0.0))

    def add_condemned(self, shard: Shard[K]) -> None:
        """Add the failures of a shard that brought down too many workers."""
        error = ConnectionLostError("the worker was lost before it had answered")
        error.add_note(
            f"{MOST_STRIKES} workers ended while they had the {len(shard.places)} keys of this"
            " shard, so it is not tried again."
        )
        for place in shard.places:
            self.add_unsent(place, error)

    def without_bad(self, places: list[Place[K]]) -> list[Place[K]]:
        """Return the keys that can be sent, and add a failure for each of the others."""
        good = []
        for place in places:
            bucket_id = bucket_of(place[1])
            if isinstance(bucket_id, str):
                good.append(place)
            else:
                text = f"bucket_id must be text, not {type(bucket_id).__name__}"
                self.add_unsent(place, InvalidArgumentError(text))
        return good
