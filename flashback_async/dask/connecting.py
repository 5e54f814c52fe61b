"""The clusters of the command line; users of the package connect to their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from distributed import Client, LocalCluster

from flashback_async import ClusterLostError, ConfigurationError


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Client]:
    """Yield a client of the scheduler at an address, and close it after the block.

    Raises:
        ConfigurationError: ``address`` is no address of a scheduler.
        ClusterLostError: No scheduler answers there.
    """
    problem: ConfigurationError | ClusterLostError | None = None
    client = Client(address, asynchronous=True, set_as_default=False, name="flashback")
    try:
        await client
    except OSError:
        problem = ClusterLostError(f"no Dask scheduler answers at {address}")
    except ValueError as error:
        problem = ConfigurationError(f"dask must be the address of a scheduler: {error}")
    try:
        if problem is not None:
            raise problem
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def started(workers: int, environment: Mapping[str, str]) -> AsyncIterator[Client]:
    """Start a cluster of processes on this machine, yield a client of it, and end it.

    Args:
        workers: How many worker processes.
        environment: What each worker has in its environment besides that of this process.
    """
    async with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            env=dict(environment),
            asynchronous=True,
        ) as cluster,
        Client(cluster, asynchronous=True, set_as_default=False) as client,
    ):
        yield client
