"""The base of the resources' bulk calls: a run of many calls of one client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar

from flashback_async.bulk.batch import gather
from flashback_async.bulk.fanout import check_concurrency, fan_out_in
from flashback_async.bulk.report import Outcome, Report
from flashback_async.call.caller import Caller
from flashback_async.errors import FlashbackError, InvalidArgumentError
from flashback_async.run import Run
from flashback_async.values import Request

K = TypeVar("K")
V = TypeVar("V")
AnyK = TypeVar("AnyK")
AnyV = TypeVar("AnyV")


@contextmanager
def naming(operation: str, bucket_id: object = None) -> Iterator[None]:
    """Name the call in an error that names none."""
    try:
        yield
    except FlashbackError as error:
        if error.operation is None:
            name_call(error, operation, bucket_id)
        raise


def name_call(error: FlashbackError, operation: str, bucket_id: object) -> None:
    """Record in an error which call it ended; a bucket id that is not text is left out."""
    error.operation = operation
    error.bucket_id = bucket_id if isinstance(bucket_id, str) else None


class Bulk(ABC, Generic[K, V]):
    """The ``get_many`` and ``iter_many`` of a resource."""

    def __init__(self, caller: Caller, resource: str) -> None:
        self._caller = caller
        self._resource = resource

    async def get_many(
        self, keys: Iterable[K], concurrency: int | None, deadline: float | None
    ) -> Report[K, V]:
        """Return an outcome for each key in the order given; an equal key is asked for once."""
        operation = f"{self._resource}.get_many"
        with naming(operation):
            self._caller.check_open()
            check_ids(keys)
            return await gather(
                keys, lambda distinct: self.outcomes(distinct, operation, concurrency, deadline)
            )

    def iter_many(
        self,
        keys: Iterable[K] | AsyncIterable[K],
        concurrency: int | None,
        deadline: float | None,
    ) -> AsyncGenerator[Outcome[K, V], None]:
        """Return a generator of the outcomes as they complete."""
        operation = f"{self._resource}.iter_many"
        with naming(operation):
            self._caller.check_open()
            check_ids_or_async(keys)
            return self.outcomes(keys, operation, concurrency, deadline)

    @abstractmethod
    def outcomes(
        self,
        keys: Iterable[K] | AsyncIterable[K],
        operation: str,
        concurrency: int | None,
        deadline: float | None,
    ) -> AsyncGenerator[Outcome[K, V], None]:
        """Return a generator that runs the calls; an error of its start names ``operation``."""

    def most_at_once(self, concurrency: int | None) -> int:
        """Return how many calls a run makes at once, at most."""
        most = self._caller.state.limits.max_concurrency
        if concurrency is None:
            return most
        check_concurrency(concurrency)
        return min(most, concurrency)

    def fan_out(
        self,
        call: Callable[[Run, AnyK], Awaitable[AnyV]],
        keys: Iterable[AnyK] | AsyncIterable[AnyK],
        operation: str,
        concurrency: int | None,
        deadline: float | None,
        label: Callable[[FlashbackError, AnyK], None],
        *,
        merge: bool = False,
    ) -> AsyncGenerator[Outcome[AnyK, AnyV], None]:
        """Fan out within the limits of the client.

        Raises:
            InvalidArgumentError: ``concurrency`` or ``deadline`` is out of its range.
            ClientClosedError: As the run begins: the client is closed.
            EventLoopError: As the run begins: the client belongs to another loop or process.
        """
        state = self._caller.state
        most = self.most_at_once(concurrency)
        run = Run()

        def begin() -> None:
            with naming(operation):
                state.open_loop_state()
            if deadline is not None:
                run.ends = state.clock.monotonic() + deadline

        return fan_out_in(
            run,
            partial(call, run),
            keys,
            concurrency=most,
            deadline=deadline,
            begin=begin,
            label=label,
            merge=merge,
            call_later=state.clock.call_later,
        )


class Calls(Bulk[K, V]):
    """Many calls of one operation, one for each key; equal keys in flight are one call.

    ``question`` returns what to send for a key and how to decode the answer.
    """

    def __init__(
        self,
        caller: Caller,
        operation: str,
        question: Callable[[K], tuple[Request, Callable[[bytes], V]]],
    ) -> None:
        super().__init__(caller, operation.partition(".")[0])
        self._operation = operation
        self._question = question

    def outcomes(
        self,
        keys: Iterable[K] | AsyncIterable[K],
        operation: str,
        concurrency: int | None,
        deadline: float | None,
    ) -> AsyncGenerator[Outcome[K, V], None]:
        """Return a generator that makes a call for each key."""
        return self.fan_out(
            self._call, keys, operation, concurrency, deadline, self._label, merge=True
        )

    def _call(self, run: Run, key: K) -> Awaitable[V]:
        request, decode = self._question(key)
        return self._caller.call(request, decode, run)

    def _label(self, error: FlashbackError, key: K) -> None:
        # A key is an id, or a pair with one.
        name_call(error, self._operation, getattr(key, "bucket_id", key))


def check_ids(bucket_ids: object) -> None:
    """Check that ids are an iterable; each id is checked before its own call.

    Raises:
        InvalidArgumentError: They are a string, or cannot be iterated.
    """
    _refuse_text(bucket_ids)
    if not isinstance(bucket_ids, Iterable):
        raise InvalidArgumentError(
            f"bucket_ids must be an iterable of ids, not {type(bucket_ids).__name__}"
        )


def check_ids_or_async(bucket_ids: object) -> None:
    """Check ids as ``check_ids`` does, but also permit an async iterable."""
    _refuse_text(bucket_ids)
    if not isinstance(bucket_ids, AsyncIterable):
        check_ids(bucket_ids)


def _refuse_text(bucket_ids: object) -> None:
    if isinstance(bucket_ids, str | bytes | bytearray):
        raise InvalidArgumentError(
            "bucket_ids must be an iterable of ids, not a string, whose letters would be polled"
        )
