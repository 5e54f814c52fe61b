"""``python -m benchmarks.cluster``: what a run over a Dask cluster costs in wall time.

One process polls a sandbox with so many requests in flight. Then a cluster of two worker
processes does the same with half as many in each. The two take turns, so that neighbours disturb
both alike. Setting up the workers' clients counts, starting the cluster does not.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client, LocalCluster

from benchmarks.measure import paired, spread
from flashback_async import FlashbackClient, Limits
from flashback_async.dask import WorkerSettings, status_on_cluster

_WORKERS = 2


@contextmanager
def sandbox(buckets: int, latency: float) -> Iterator[dict[str, str]]:
    """Run a sandbox in a process of its own; yields the variables that lead to it."""
    command = ["sandbox", "--buckets", str(buckets), "--latency", str(latency)]
    with subprocess.Popen(
        [sys.executable, "-m", "flashback_async", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        found: dict[str, str] = {}
        while len(found) < 2:
            line = process.stdout.readline()
            if not line:
                raise SystemExit("the sandbox did not start")
            found |= dict(re.findall(r"(FLASHBACK_\w+)=(\S+)", line))
        try:
            yield found
        finally:
            process.terminate()


async def alone(ids: list[str], in_flight: int) -> float:
    limits = Limits(max_concurrency=in_flight)
    began = time.perf_counter()
    async with FlashbackClient(limits=limits) as client:
        async for outcome in client.status.iter_many(ids):
            outcome.unwrap()
    return time.perf_counter() - began


async def together(cluster: Client, ids: list[str], in_flight: int) -> float:
    settings = WorkerSettings(limits=Limits(max_concurrency=in_flight // _WORKERS))
    began = time.perf_counter()
    async with status_on_cluster(cluster, ids, settings) as run:
        async for outcome in run:
            outcome.unwrap()
    return time.perf_counter() - began


async def compare(rounds: int, in_flight: int) -> tuple[list[float], list[float]]:
    async with FlashbackClient() as client:
        ids = [stats.bucket_id for stats in await client.bucket_stats.list()]
    one: list[float] = []
    cluster_times: list[float] = []
    async with (
        LocalCluster(
            n_workers=_WORKERS,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            asynchronous=True,
        ) as local,
        Client(local, asynchronous=True) as cluster,
    ):
        for number in range(rounds + 1):
            first = await alone(ids, in_flight)
            second = await together(cluster, ids, in_flight)
            if number:  # the first round warms both up
                one.append(first)
                cluster_times.append(second)
    return one, cluster_times


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--buckets", type=int, default=10_000)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds of each answer")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with sandbox(arguments.buckets, arguments.latency) as variables:
        os.environ.update(variables)
        one, cluster_times = asyncio.run(compare(arguments.rounds, arguments.in_flight))
    low, middle, high = spread(paired(cluster_times, one))
    print(f"{arguments.buckets:,} buckets, {arguments.in_flight} requests in flight")
    print(f"one process: {statistics.median(one):.2f} s")
    print(f"cluster:     {statistics.median(cluster_times):.2f} s, two workers")
    print(f"ratio:       {middle:.3f} [{low:.3f}-{high:.3f}]")


if __name__ == "__main__":
    main()
