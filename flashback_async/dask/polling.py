"""The calls of a user: runs over a cluster, with their arguments checked."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, Iterable
from datetime import date, datetime
from functools import partial
from typing import Any, TypeVar

from distributed import Client

from flashback_async import (
    BucketDay,
    BucketStatus,
    ConfigurationError,
    DailyNodeStats,
    InvalidArgumentError,
)
from flashback_async.dask.keys import Input, check_input, pairs
from flashback_async.dask.link import Link
from flashback_async.dask.placement import Placement
from flashback_async.dask.run import ClusterRun, Plan
from flashback_async.dask.settings import WorkerSettings
from flashback_async.dask.wire import Resource

K = TypeVar("K")

_LONGEST = 1e9  # seconds, some thirty years


def status_on_cluster(
    cluster: Client,
    bucket_ids: Iterable[str] | AsyncIterable[str],
    settings: WorkerSettings = WorkerSettings(),
    *,
    shard_size: int = 500,
    ahead: int = 2,
    rate: float | None = None,
    deadline: float | None = None,
    patience: float = 30.0,
) -> ClusterRun[str, BucketStatus]:
    """Return a run that gets the state of many buckets through the workers of a Dask cluster.

    Enter it with ``async with``, and iterate over it: ``async for outcome in run``. Each place of
    the input has exactly one outcome, whichever worker ends. Memory is in proportion to the
    workers, whatever the number of ids.

    Args:
        cluster: A ``distributed.Client`` with ``asynchronous=True``, made in this event loop. It
            is borrowed: the run does not close it.
        bucket_ids: The buckets, read lazily.
        settings: What each worker makes its client with.
        shard_size: The most ids that are sent to a worker at once, at least 1. With a ``rate``, a
            shard has no more than about a second's worth.
        ahead: Shards that each worker has at once, at least 1. With fewer than 2, a worker is
            idle while its answers travel.
        rate: Requests a second of the whole cluster, above 0; retries do not count. None sets no
            limit.
        deadline: Seconds for the whole run, as in ``status.iter_many``; None sets no limit.
        patience: Seconds, above 0, that shards wait for a worker if there is none.

    Raises:
        InvalidArgumentError: An argument is out of its range, or ``bucket_ids`` is a string.
        ConfigurationError: ``settings`` is of the wrong type.
    """
    check_input(bucket_ids)
    problem = _problem_of(settings)
    if problem is not None:
        del settings  # it may be a token, which local variables in a traceback must not show
        raise problem
    placement = _placement(cluster, ahead, rate)
    plan = _plan("status", shard_size, deadline, patience)
    return ClusterRun(plan, Input(bucket_ids), placement, partial(Link, cluster, settings))


def node_stats_on_cluster(
    cluster: Client,
    bucket_ids: Iterable[str] | AsyncIterable[str] | Iterable[BucketDay] | AsyncIterable[BucketDay],
    days: date | datetime | str | Iterable[date | datetime | str] | None = None,
    settings: WorkerSettings = WorkerSettings(),
    *,
    shard_size: int = 500,
    ahead: int = 2,
    rate: float | None = None,
    deadline: float | None = None,
    patience: float = 30.0,
) -> ClusterRun[BucketDay, list[DailyNodeStats]]:
    """Return a run that gets every pair of bucket and day through the workers of a Dask cluster.

    It is like that of ``status_on_cluster``. A shard holds pairs.

    Args:
        cluster: As in ``status_on_cluster``.
        bucket_ids: The buckets, read lazily; or, if ``days`` is None, ``BucketDay`` pairs.
        days: One day, or an iterable of at least one, as in ``node_stats.get_many``.
        settings: As in ``status_on_cluster``.
        shard_size: The most pairs that are sent to a worker at once, at least 1.
        ahead: As in ``status_on_cluster``.
        rate: As in ``status_on_cluster``.
        deadline: As in ``status_on_cluster``.
        patience: As in ``status_on_cluster``.

    Raises:
        InvalidArgumentError: As in ``status_on_cluster``, or a day is wrong or there is none.
        ConfigurationError: ``settings`` is of the wrong type.
    """
    check_input(bucket_ids)
    problem = _problem_of(settings)
    if problem is not None:
        del settings  # it may be a token, which local variables in a traceback must not show
        raise problem
    placement = _placement(cluster, ahead, rate)
    plan = _plan("node_stats", shard_size, deadline, patience)
    keys = Input(pairs(bucket_ids, days))
    return ClusterRun(plan, keys, placement, partial(Link, cluster, settings))


def _problem_of(settings: object) -> ConfigurationError | None:
    if isinstance(settings, WorkerSettings):
        return None
    return ConfigurationError(f"settings must be a WorkerSettings, not {type(settings).__name__}")


def _placement(cluster: object, ahead: object, rate: Any) -> Placement:
    if not isinstance(cluster, Client):
        kind = type(cluster).__name__
        raise InvalidArgumentError(f"cluster must be a distributed.Client, not {kind}")
    if not cluster.asynchronous:
        raise InvalidArgumentError(
            "cluster must be a distributed.Client with asynchronous=True, made in this event loop"
        )
    if rate is not None:
        _check_number("rate", rate, "a number of requests a second, above 0, or None", 1e12)
    return Placement(_whole("ahead", ahead), rate)


def _plan(resource: Resource, shard_size: object, deadline: Any, patience: Any) -> Plan:
    if deadline is not None:
        _check_number("deadline", deadline, "finite seconds above 0, or None", sys.float_info.max)
    _check_number("patience", patience, "seconds above 0, at most 1e9", _LONGEST)
    return Plan(resource, _whole("shard_size", shard_size), deadline, patience)


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgumentError(f"{name} must be a whole number of at least 1, not {value!a}")
    return value


def _check_number(name: str, value: object, rule: str, most: float) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= most:
        return
    raise InvalidArgumentError(f"{name} must be {rule}, not {value!a}")
