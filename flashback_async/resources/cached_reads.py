"""The base of the resources' cached reads: one key or many, each for one caller alone."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import Generic, TypeVar, cast

from attrs import evolve

from flashback_async.api.urls import check_bucket_id
from flashback_async.bulk.fanout import check_deadline
from flashback_async.bulk.report import Failure, Outcome, Report, Success, repeated
from flashback_async.cache.facts import Cached
from flashback_async.cache.lookups import Lookups, Question, Receive, Result
from flashback_async.cache.shelf import Place
from flashback_async.errors import FlashbackError, InvalidArgumentError
from flashback_async.resources.bulk import name_call, naming

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Reads(ABC, Generic[K, V]):
    """The cached reads of one resource."""

    _name: str
    _listed = False  # whether ids share one comma-separated value

    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups

    async def _lookup(self, key: K) -> Cached[V]:
        if (problem := self._problem(key)) is not None:
            raise problem
        place = (self._name, key)
        results = await self._lookups.look_up([place], self._plan)
        result = self._own(results[place])
        if isinstance(result, FlashbackError):
            name_call(result, f"{self._name}.get", getattr(key, "bucket_id", key))
            raise result.with_traceback(None)
        return result

    async def _lookup_many(
        self, keys: list[K], operation: str, deadline: float | None
    ) -> Report[K, Cached[V]]:
        with naming(operation):
            check_deadline(deadline)
            self._lookups.check()
        clock = self._lookups.clock
        began = clock.monotonic()
        bad = {place: error for place, key in enumerate(keys) if (error := self._problem(key))}
        places = {(self._name, key): None for n, key in enumerate(keys) if n not in bad}
        found = await self._lookups.look_up(list(places), self._plan, deadline)
        elapsed = clock.monotonic() - began
        first: dict[K, Outcome[K, Cached[V]]] = {}
        outcomes: list[Outcome[K, Cached[V]]] = []
        for n, key in enumerate(keys):
            if n in bad:
                outcomes.append(Failure(n, key, bad[n], 0.0))
            elif key in first:
                outcomes.append(self._repeated(first[key], n, key))
            else:
                first[key] = self._outcome(n, key, found[self._name, key], elapsed)
                outcomes.append(first[key])
        return Report(outcomes)

    def _outcome(self, index: int, key: K, result: Result, elapsed: float) -> Outcome[K, Cached[V]]:
        own = self._own(result)
        if isinstance(own, FlashbackError):
            name_call(own, f"{self._name}.get", getattr(key, "bucket_id", key))
            return Failure(index, key, own.with_traceback(None), elapsed)
        return Success(index, key, own, elapsed)

    def _repeated(
        self, outcome: Outcome[K, Cached[V]], index: int, key: K
    ) -> Outcome[K, Cached[V]]:
        again = repeated(outcome, index, key)
        if again.error is not None:
            return again
        value = cast("Cached[V]", self._own(again.value))
        return Success(index, key, evolve(value, error=copy.copy(value.error)), again.elapsed)

    def _own(self, result: Result) -> Cached[V] | FlashbackError:
        """Return a result for one caller alone."""
        return result

    def _problem(self, key: K) -> InvalidArgumentError | None:
        """Return why a key cannot be asked for."""
        try:
            bucket_id = getattr(key, "bucket_id", key)
            check_bucket_id(bucket_id, f"{self._name}.get", listed=self._listed)
        except InvalidArgumentError as error:
            return error.with_traceback(None)
        return None

    @abstractmethod
    def _plan(self, places: list[Place]) -> Iterator[Question]:
        """Yield the requests that answer for some places."""


def values_of(report: Report[K, Cached[V]]) -> Report[K, V]:
    """Return a report of the values alone."""
    return Report(
        o if o.error is not None else Success(o.index, o.key, o.value.value, o.elapsed)
        for o in report
    )


async def one(place: Place, ask: Callable[[], Awaitable[object]], receive: Receive) -> None:
    """Make a call that is about one place."""
    receive({place: await ask()})
