"""``python -m benchmarks.exporting``: an export of many days, as seconds, memory and hold-ups.

A sandbox in another process answers, and fails as often as asked. The same days are polled without
being kept too, because the client and this machine hold the event loop up as well.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import psutil  # type: ignore[import-untyped] # it has no types

from flashback_async import AttemptEnded, FlashbackClient, Limits, Observer, day_range
from flashback_async.history import export_days

_BEAT = 0.001  # seconds
_LONG = 0.020
_MIB = 2**20


class Result(NamedTuple):
    name: str
    seconds: float
    requests: int
    longest: float  # seconds that the event loop was held up
    long: int  # how often it was held up for more than 20 ms
    collection: float  # seconds of the longest run of the garbage collector
    peak: int  # bytes
    said: str


class Count(Observer):
    def __init__(self) -> None:
        self.requests = 0

    def attempt_ended(self, fact: AttemptEnded) -> None:
        self.requests += 1


class Heartbeat:
    """The longest time that the event loop was held up, and the most memory of the process."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.long = 0
        self.peak = 0
        self.collection = 0.0
        self._collecting = 0.0

    def collected(self, phase: str, _: object) -> None:
        """Take note of a run of the garbage collector, which polling alone makes too."""
        now = time.perf_counter()
        if phase == "start":
            self._collecting = now
        else:
            self.collection = max(self.collection, now - self._collecting)

    async def run(self) -> None:
        process = psutil.Process()
        beats = 0
        while True:
            began = time.perf_counter()
            await asyncio.sleep(_BEAT)
            late = time.perf_counter() - began - _BEAT
            self.longest = max(self.longest, late)
            self.long += late > _LONG
            beats += 1
            if not beats % 50:
                self.peak = max(self.peak, process.memory_info().rss)


@contextmanager
def sandbox(buckets: int, error_rate: float) -> Iterator[dict[str, str]]:
    """Run a sandbox in another process; yield what it says about itself."""
    command = [sys.executable, "-m", "flashback_async", "sandbox", "--buckets", str(buckets)]
    with subprocess.Popen(
        [*command, "--error-rate", str(error_rate)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            told: dict[str, str] = {}
            assert process.stdout is not None
            while "FLASHBACK_BASE_URL" not in told or "FLASHBACK_TOKEN" not in told:
                name, _, value = process.stdout.readline().removeprefix("export ").partition("=")
                told[name.strip()] = value.strip().strip("'\"")
            yield told
        finally:
            process.terminate()


async def measured(
    name: str,
    told: dict[str, str],
    limits: Limits,
    work: Callable[[FlashbackClient], Awaitable[str]],
) -> Result:
    count, heart = Count(), Heartbeat()
    async with FlashbackClient(
        told["FLASHBACK_TOKEN"],
        base_url=told["FLASHBACK_BASE_URL"],
        limits=limits,
        observer=count,
    ) as client:
        gc.callbacks.append(heart.collected)
        beating = asyncio.create_task(heart.run())
        began = time.perf_counter()
        said = await work(client)
        seconds = time.perf_counter() - began
        gc.callbacks.remove(heart.collected)
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
    return Result(
        name, seconds, count.requests, heart.longest, heart.long, heart.collection, heart.peak, said
    )


async def polled(client: FlashbackClient, days: list[date]) -> str:
    ids = [stats.bucket_id for stats in await client.bucket_stats.list()]
    nodes = 0
    for day in days:
        async for outcome in client.node_stats.iter_many(ids, day):
            nodes += len(outcome.value or ())
    return f"{nodes:,} nodes, kept nowhere"


async def exported(client: FlashbackClient, days: list[date], form: str, folder: Path) -> str:
    ids = [stats.bucket_id for stats in await client.bucket_stats.list()]
    path = folder / f"history.{form}"
    assert form in ("sqlite", "parquet")
    report = await export_days(client, ids, days[0], days[-1], path, format=form)
    files = [path] if path.is_file() else path.rglob("*.parquet")
    size = sum(file.stat().st_size for file in files)
    return f"{report.rows:,} rows of {len(report.days)} days in {size / _MIB:.1f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exporting", description=__doc__)
    parser.add_argument("--buckets", type=int, default=6_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--error-rate", type=float, default=0.02)
    parser.add_argument("--max-rate", type=float, help="Requests a second.")
    parser.add_argument("--only", choices=("poll", "sqlite", "parquet"))
    parser.add_argument("--folder", type=Path, help="Where to write.  [default: a temporary one]")
    arguments = parser.parse_args()
    last = datetime.now(UTC).date() - timedelta(2)
    days = day_range(last - timedelta(arguments.days - 1), last)
    limits = Limits(max_rate=arguments.max_rate)
    with (
        sandbox(arguments.buckets, arguments.error_rate) as told,
        tempfile.TemporaryDirectory(dir=arguments.folder) as folder,
    ):
        for name in ("poll", "sqlite", "parquet"):
            if arguments.only not in (None, name):
                continue

            async def work(client: FlashbackClient, form: str = name) -> str:
                if form == "poll":
                    return await polled(client, days)
                return await exported(client, days, form, Path(folder))

            show(asyncio.run(measured(name, told, limits, work)))


def show(result: Result) -> None:
    print(
        f"{result.name:8} {result.seconds:7.1f} s  {result.requests / result.seconds:6,.0f} "
        f"requests/s  peak {result.peak / _MIB:4.0f} MiB  longest hold-up "
        f"{result.longest * 1e3:5.1f} ms ({result.long} above 20 ms; longest collection "
        f"{result.collection * 1e3:.1f} ms)  {result.said}",
        flush=True,
    )


if __name__ == "__main__":
    main()
