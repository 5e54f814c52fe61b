"""The clusters of the command line; users of the package connect to their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from distributed import Client, LocalCluster

from flashback_async import ClusterLostError, ConfigurationError


@asynccontextmanager
async def connected(address: str, within: float) -> AsyncIterator[Client]:
    """Yield a client of the scheduler at an address, and close it after the block.

    Args:
        address: The address of the scheduler, such as ``tcp://127.0.0.1:8786``.
        within: Seconds in which it has to answer, above 0.

    Raises:
        ConfigurationError: ``address`` is no address of a scheduler.
        ClusterLostError: No scheduler answers there in time.
    """
    problem: ConfigurationError | ClusterLostError | None = None
    client = Client(
        address, asynchronous=True, set_as_default=False, name="flashback", timeout=within
    )
    connecting = asyncio.ensure_future(_connect(client))
    try:
        # Dask's own limit holds for a part of its steps, and not for a server that stays silent.
        await asyncio.wait({connecting}, timeout=within)
        if not connecting.done() or isinstance(connecting.exception(), OSError):
            problem = ClusterLostError(f"no Dask scheduler answers at {address} in {within:g} s")
        elif isinstance(error := connecting.exception(), ValueError):
            problem = ConfigurationError(f"dask must be the address of a scheduler: {error}")
        if problem is not None:
            raise problem
        connecting.result()
        yield client
    finally:
        connecting.cancel()
        await asyncio.wait({connecting})
        await client.close()


async def _connect(client: Client) -> None:
    await client


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
