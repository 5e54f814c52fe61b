"""What travels between a run and its workers: orders and answers, as bytes.

Dask walks through a list or tuple among the arguments of a task, element by element. Bytes are
one thing to it.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypeVar

import attrs

from flashback_async import (
    BucketDay,
    BucketStatus,
    DailyNodeStats,
    FlashbackError,
    NodeStatus,
)

E = TypeVar("E", bound=FlashbackError)

Resource = Literal["status", "node_stats"]
_OPERATIONS: dict[Resource, str] = {"status": "status.get", "node_stats": "node_stats.get"}


class Order(NamedTuple):
    """What a worker is to ask for.

    ``share`` is the worker's part of the rate, in requests a second, and ``left`` the seconds
    until the deadline; None means no limit.
    """

    resource: Resource
    keys: Sequence[Any]
    share: float | None
    left: float | None


class Answer(NamedTuple):
    """What a worker found out, each with its place in the order.

    ``rest`` is why the other places have no outcome. A rejected token is there in any case.
    """

    successes: list[tuple[int, Any, float]]  # the place, the value, the seconds that it took
    failures: list[tuple[int, FlashbackError, float]]
    rest: FlashbackError | None = None


def _reducer(kind: type) -> Callable[[Any], tuple[type, tuple[Any, ...]]]:
    """Return a function that tells a pickler how to make a model again: from its fields."""
    fields = attrgetter(*(field.name for field in attrs.fields(kind)))
    return lambda model: (kind, fields(model))


# With these, models take half as long to write and to read.
_REDUCERS: dict[type, Any] = {
    kind: _reducer(kind) for kind in (BucketStatus, NodeStatus, DailyNodeStats)
}


def to_bytes(message: Order | Answer) -> bytes:
    """Return an order or an answer as bytes."""
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = _REDUCERS
    pickler.dump(tuple(message))
    return stream.getvalue()


def order_from(data: bytes) -> Order:
    """Return the order that a run has sent."""
    return Order(*pickle.loads(data))  # noqa: S301 - a cluster's own messages  # nosec B301


def answer_from(data: bytes) -> Answer:
    """Return the answer that a worker has sent."""
    return Answer(*pickle.loads(data))  # noqa: S301 - a cluster's own messages  # nosec B301


def bucket_of(key: object) -> object:
    """Return the bucket id of a key, which is an id or a pair with one."""
    return key.bucket_id if isinstance(key, BucketDay) else key


def name_call(error: E, resource: Resource, key: object) -> E:
    """Return an error as that of a key for which no request was sent."""
    bucket_id = bucket_of(key)
    error.operation = _OPERATIONS[resource]
    error.bucket_id = bucket_id if isinstance(bucket_id, str) else None
    error.attempts, error.elapsed = 0, 0.0
    return error


def unsent(error: FlashbackError, resource: Resource, key: object) -> FlashbackError:
    """Return a copy of the error that ended a run, for a key which was not asked for."""
    return name_call(copy.copy(error), resource, key)
