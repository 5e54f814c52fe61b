"""The work of `status --dask`: the same outcomes, polled by the workers of a Dask cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Callable

import click

from flashback_async import (
    BucketStatus,
    ClusterLostError,
    ConfigurationError,
    Failure,
    FlashbackClient,
    Limits,
    Outcome,
)
from flashback_async.cli.ids import Ids, IdStream
from flashback_async.cli.options import Options
from flashback_async.cli.settings import make_timeout

Outcomes = AsyncGenerator[Outcome[str, BucketStatus], None]

# What a cluster's workers cannot be told.
_OWN = {"allow_insecure_http": "--allow-insecure-http", "transport": "--transport"}


def check_options(options: Options) -> None:
    """Check that the options have a meaning for a cluster.

    Raises:
        click.UsageError: One of them has none.
    """
    for name, option in _OWN.items():
        if getattr(options, name) != Options._field_defaults.get(name, False):
            raise click.UsageError(f"{option} cannot be given together with --dask")


def hush_dask() -> None:
    """Keep Dask's log off standard error; what matters of it is said in our words."""
    # It has set levels and handlers for several of its loggers, each on its own.
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)


def through(
    address: str, options: Options
) -> Callable[[FlashbackClient, Ids, float | None], Outcomes]:
    """Return a function that asks the workers of the cluster at an address."""

    async def ask(_: FlashbackClient, ids: Ids, deadline: float | None) -> Outcomes:
        try:
            from flashback_async.dask import WorkerSettings, status_on_cluster
            from flashback_async.dask.connecting import connected
        except ImportError:
            raise ConfigurationError(
                'dask needs distributed: pip install "flashback-async[cli,dask]"'
            ) from None
        if not options.verbose:
            hush_dask()
        timeout = make_timeout(options)
        settings = WorkerSettings(
            # The search for all buckets asks this API, so the workers must ask no other one.
            base_url=options.base_url or os.environ.get("FLASHBACK_BASE_URL") or None,
            timeout=timeout,
            limits=Limits(max_concurrency=options.concurrency),
        )
        async with connected(address, timeout.connect) as cluster:
            run = status_on_cluster(
                cluster, ids, settings, rate=options.max_rate, deadline=deadline
            )
            try:
                async with run:
                    async for outcome in run:
                        yield outcome
            except ClusterLostError as error:
                lost = error
            else:
                return
        for place, bucket_id in lost.unfinished:
            own = ClusterLostError(lost.args[0], operation="status.get", bucket_id=bucket_id)
            yield Failure(place, bucket_id, own, 0.0)
        if isinstance(ids, IdStream):
            raise lost  # what was never read has no row

    return ask
