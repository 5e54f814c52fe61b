"""What the resources share: a run of many calls of one client, and its arguments."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from flashback_async.bulk.fanout import check_concurrency, run
from flashback_async.bulk.report import Outcome
from flashback_async.call.caller import Caller
from flashback_async.errors import FlashbackError, InvalidArgumentError
from flashback_async.run import Run

K = TypeVar("K")
V = TypeVar("V")


@contextmanager
def naming(operation: str, bucket_id: object = None) -> Iterator[None]:
    """Say in an error that does not know it which call it ended."""
    try:
        yield
    except FlashbackError as error:
        if error.operation is None:
            error.operation = operation
            error.bucket_id = bucket_id if isinstance(bucket_id, str) else None
        raise


def run_calls(
    caller: Caller,
    call: Callable[..., Awaitable[V]],
    keys: Iterable[K] | AsyncIterable[K],
    *,
    concurrency: int | None,
    deadline: float | None,
    describe: Callable[[FlashbackError, K], None],
    leftover: Callable[[], Iterable[K]] = tuple,
) -> AsyncGenerator[Outcome[K, V], None]:
    """Fan out within the limits of a client; a rejected token stops the run.

    ``call`` takes a key and the ``halt`` of the run.

    Raises:
        InvalidArgumentError: ``concurrency`` or ``deadline`` is out of its range.
        ClientClosedError: As the run begins: the client is closed.
        EventLoopError: As the run begins: the client belongs to another loop or process.
    """
    most = caller.state.limits.max_concurrency
    if concurrency is not None:
        check_concurrency(concurrency)
        most = min(most, concurrency)
    halt = Run()
    return run(
        partial(call, run=halt),
        keys,
        concurrency=most,
        deadline=deadline,
        halt=halt,
        describe=describe,
        prepare=caller.state.open_loop_state,
        leftover=leftover,
    )


def check_ids(bucket_ids: object) -> None:
    """Check that ids come as an iterable: each id is checked when its turn comes.

    Raises:
        InvalidArgumentError: They come as one text, or as nothing that can be iterated.
    """
    _refuse_text(bucket_ids)
    if not isinstance(bucket_ids, Iterable):
        raise InvalidArgumentError(
            f"bucket_ids must be an iterable of ids, not {type(bucket_ids).__name__}"
        )


def check_ids_or_async(bucket_ids: object) -> None:
    """Check ids as ``check_ids`` does, where an async iterable will do as well."""
    _refuse_text(bucket_ids)
    if not isinstance(bucket_ids, AsyncIterable):
        check_ids(bucket_ids)


def _refuse_text(bucket_ids: object) -> None:
    if isinstance(bucket_ids, str | bytes | bytearray):
        raise InvalidArgumentError(
            "bucket_ids must be an iterable of ids, not one text, whose letters would be polled"
        )
