"""``python -m benchmarks.watching``: the CPU time and the memory of a watch.

A watch is compared with the same polls made by hand: every 100 ms one `iter_many` over a group.
The two take turns in one process, so that neighbours disturb both alike.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from benchmarks.answers import TOKEN, bucket_id, bucket_ids, status_parts
from benchmarks.measure import paired, spread
from benchmarks.processes import free_a_large_block, server
from flashback_async import FlashbackClient
from flashback_async.api.wire import decode_status
from flashback_async.watch.schedule import STEP, Schedule
from flashback_async.watch.tracker import Tracker

_BUCKETS = 5000
_FEW = 250  # each of them is polled several times in one measurement
_PACE = 5000 / 60  # polls a second
_NODES = 3

Poll = Callable[[FlashbackClient, int, float, float], Awaitable[float]]


async def by_watch(client: FlashbackClient, buckets: int, pace: float, seconds: float) -> float:
    """Return the CPU time of a poll of a watch, once it has asked for each bucket."""
    interval = buckets / pace
    async with client.status.watch(bucket_ids(buckets), interval=interval) as watch:
        await watch.ready()
        began, asked = time.process_time(), watch.stats.asked
        await asyncio.sleep(seconds)
        return (time.process_time() - began) / (watch.stats.asked - asked)


async def by_groups(client: FlashbackClient, buckets: int, pace: float, seconds: float) -> float:
    """Return the CPU time of a poll in groups of the same size at the same pace."""
    asked, share = 0, pace * STEP
    await client.status.get_many(bucket_ids(int(share)))
    began, clock = time.process_time(), time.monotonic()
    for step in range(int(seconds / STEP)):
        await asyncio.sleep(max(0.0, clock + step * STEP - time.monotonic()))
        due = range(int(step * share), int((step + 1) * share))
        async for _ in client.status.iter_many([bucket_id(n % buckets) for n in due]):
            asked += 1
    return (time.process_time() - began) / asked


async def cost(poll: Poll, port: int, buckets: int, pace: float, seconds: float) -> float:
    """Return the microseconds of CPU time that one poll takes."""
    async with FlashbackClient(TOKEN, base_url=f"http://127.0.0.1:{port}") as client:
        return await poll(client, buckets, pace, seconds) * 1e6


def bytes_of_a_bucket(buckets: int) -> float:
    """Return the bytes that a watch holds for each bucket, after two answers about it."""
    before, after = status_parts(_NODES)
    gc.collect()
    tracemalloc.start()
    tracker, schedule = Tracker(2, 2, 2), Schedule(60.0)
    for moment in range(2):
        for n in range(buckets):
            key = bucket_id(n)
            body = before + key.encode() + after
            if not moment:
                tracker.add(key, datetime.now(UTC))
            tracker.answered(key, decode_status(body, asked=key).nodes, datetime.now(UTC))
        while tracker.waiting:
            tracker.tell(next(iter(tracker.waiting)))
        tracker.moved.clear()
        tracker.dirty.clear()
    schedule.set_buckets(tracker.members(), 0.0)
    for step in range(600):
        schedule.take(step * STEP, buckets)
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / buckets


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watching", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one measurement")
    parser.add_argument("--pace", type=float, default=_PACE, help="polls a second")
    arguments = parser.parse_args()
    print(f"memory: {bytes_of_a_bucket(_BUCKETS):,.0f} bytes a bucket of {_NODES} nodes")
    free_a_large_block()
    watched: list[float] = []
    grouped: list[float] = []
    with server("benchmarks.server") as running:
        port = running.told[str(_NODES)]
        for _ in range(arguments.rounds):
            for poll, found in ((by_watch, watched), (by_groups, grouped)):
                work = cost(poll, port, _FEW, arguments.pace, arguments.seconds)
                found.append(asyncio.run(work))
    low, middle, high = spread(paired(watched, grouped))
    share = statistics.median(watched) * arguments.pace / 1e6
    print(f"watch:  {statistics.median(watched):.0f} us of CPU time a poll")
    print(f"groups: {statistics.median(grouped):.0f} us; ratio {middle:.3f} [{low:.3f}-{high:.3f}]")
    print(f"at {arguments.pace:.0f} polls a second: {share:.2%} of a core")


if __name__ == "__main__":
    main()
