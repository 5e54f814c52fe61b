"""Dask clusters for tests: in this process, or as processes that a test can kill."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from distributed import Client, LocalCluster

GUARD = 60  # seconds, against a process that does not come


@contextlib.asynccontextmanager
async def local(workers: int = 2, threads: int = 1) -> AsyncIterator[Client]:
    """Run a cluster in this process."""
    async with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            processes=False,
            dashboard_address="127.0.0.1:0",
            asynchronous=True,
        ) as cluster,
        Client(cluster, asynchronous=True, set_as_default=False) as client,
    ):
        yield client


class Processes:
    """A scheduler and workers as processes of their own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.client: Client
        self.address = ""
        self._folder = folder
        self._environment = environment
        self._started: list[asyncio.subprocess.Process] = []

    async def start_scheduler(self) -> asyncio.subprocess.Process:
        file = self._folder / "scheduler.json"
        scheduler = await self._start(
            "distributed.cli.dask_scheduler",
            *("--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
            *("--scheduler-file", str(file)),
            secret=False,
        )
        async with asyncio.timeout(GUARD):
            while not (file.exists() and '"address"' in file.read_text()):
                await asyncio.sleep(0.05)
        self.address = file.read_text().split('"address": "')[1].split('"')[0]
        return scheduler

    async def start_worker(self, *, nanny: bool = True) -> asyncio.subprocess.Process:
        return await self._start(
            "distributed.cli.dask_worker",
            self.address,
            *("--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard"),
            *("--nanny" if nanny else "--no-nanny",),
            *("--local-directory", str(self._folder)),
        )

    async def workers(self, number: int) -> dict[str, int]:
        """Wait for so many workers, and return their process ids by their addresses."""
        async with asyncio.timeout(GUARD):
            while True:
                with contextlib.suppress(OSError):
                    found = await self.client.run(os.getpid)
                    if len(found) >= number:
                        return found
                await asyncio.sleep(0.05)

    async def _start(
        self, module: str, *arguments: str, secret: bool = True
    ) -> asyncio.subprocess.Process:
        environment = self._environment
        if not secret:
            environment = {k: v for k, v in environment.items() if "FLASHBACK" not in k}
        log = self._folder / f"{len(self._started)}.log"
        with log.open("wb") as stream:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", module, *arguments),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,  # so that its own children end with it
            )
        self._started.append(process)
        return process

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self._folder.glob("*.log")))

    async def end(self) -> None:
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self._started:
            await process.wait()


@contextlib.asynccontextmanager
async def processes(
    folder: Path, workers: int = 2, *, nanny: bool = True, **environment: str
) -> AsyncIterator[Processes]:
    """Run a scheduler and workers; the processes end with the block, however they are."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("FLASHBACK_")}
    cluster = Processes(folder, inherited | environment)
    try:
        await cluster.start_scheduler()
        for _ in range(workers):
            await cluster.start_worker(nanny=nanny)
        async with asyncio.timeout(GUARD):
            cluster.client = await Client(
                cluster.address, asynchronous=True, set_as_default=False, timeout=GUARD
            )
        try:
            await cluster.workers(workers)
            yield cluster
        finally:
            await cluster.client.close()
    finally:
        await cluster.end()


def kill(pid: int) -> float:
    """Kill a process at once, and return when."""
    os.kill(pid, signal.SIGKILL)
    return time.monotonic()
