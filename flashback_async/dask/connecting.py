"""The connection of the command line to a cluster; users of the package make their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from distributed import Client

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
