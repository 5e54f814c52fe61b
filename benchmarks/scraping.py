"""``python -m benchmarks.scraping``: what a scrape of the exporter costs its event loop.

It prints how long a scrape takes, its size, and the longest time for which the loop did nothing
else. The scraper is a process of its own. The buckets are made up, and nothing polls them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace

from benchmarks.answers import bucket_id
from benchmarks.measure import spread
from flashback_async import BucketStats, BucketView, NodeState, NodeStatus
from flashback_async.pages.address import Address
from flashback_async.pages.conditions import Conditions
from flashback_async.pages.metrics import Detail, Facts, Scrape
from flashback_async.pages.metrics_server import serving
from flashback_async.watch.tracker import Tracker
from flashback_async.watch.watch import _View

_REGIONS = ("eastus", "westeurope", "us-east-1", "ap-south-1")
_BEAT = 0.0005  # seconds

# It reads as a scraper does, and asks for the compression that the first argument names.
_SCRAPER = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Accept-Encoding": sys.argv[2]})
size = 0
with urllib.request.urlopen(request) as answer:
    while block := answer.read(65536):
        size += len(block)
print(size)
"""


def facts(buckets: int, nodes: int) -> Facts:
    """Return what an exporter of so many buckets knows."""
    tracker, now = Tracker(2, 2, 2), datetime.now(UTC)
    for n in range(buckets):
        key = bucket_id(n)
        tracker.add(key, now)
        tracker.answered(key, [_node(n, place) for place in range(nodes)], now)
    while tracker.waiting:
        tracker.tell(next(iter(tracker.waiting)))
    view: Mapping[str, BucketView] = _View(tracker)
    answers = dict.fromkeys(view, now.timestamp())
    return SimpleNamespace(
        view=view,
        conditions=Conditions(view, answers),
        totals={key: BucketStats(key, 52_866, 63_290_910_870, 133_148_954_013, -1) for key in view},
        last_answers=answers,
        requests={("status.get", "success"): 1_000_000},
        lag=0.0,
    )


def _node(n: int, place: int) -> NodeStatus:
    ip = f"10.{place}.{n >> 8}.{n & 255}"
    return NodeStatus(ip, _REGIONS[(n + place) % 4], "1.4.2", NodeState.ONLINE, 12.5 + place, None)


class Heart:
    """A task that beats, and the longest time between two beats."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def beat(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(_BEAT)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last - _BEAT)
            last = now


async def scrape(url: str, coding: str) -> tuple[float, float, int]:
    """Return how long a scrape took, the longest hold-up of the loop, and the bytes."""
    heart = Heart()
    scraper = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _SCRAPER, f"{url}/metrics", coding),
        stdout=asyncio.subprocess.PIPE,
    )
    beating = asyncio.create_task(heart.beat())
    began = time.perf_counter()
    said, _ = await scraper.communicate()
    took = time.perf_counter() - began
    beating.cancel()
    return took, heart.longest, int(said)


async def measure(known: Facts, detail: Detail, coding: str, rounds: int) -> None:
    async with serving(Address("127.0.0.1", 0), lambda form: Scrape(known, detail, form)) as url:
        found = [await scrape(url, coding) for _ in range(rounds)]
    low, middle, high = spread([held * 1000 for _, held, _ in found])
    took = statistics.median(took for took, _, _ in found)
    size = found[0][2] / 2**20
    print(
        f"{detail:6} {coding:8} {took:.2f} s with the scraper's start, {size:.1f} MiB;"
        f" longest hold-up {middle:.1f} ms [{low:.1f}-{high:.1f}],"
        f" worst {max(held for _, held, _ in found) * 1000:.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scraping", description=__doc__)
    parser.add_argument("--buckets", type=int, default=15_000)
    parser.add_argument("--nodes", type=int, default=3, help="of each bucket")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    known = facts(arguments.buckets, arguments.nodes)
    gc.collect()
    print(f"{arguments.buckets:,} buckets of {arguments.nodes} nodes")
    for detail in Detail:
        for coding in ("identity", "gzip"):
            asyncio.run(measure(known, detail, coding, arguments.rounds))


if __name__ == "__main__":
    main()
