"""``python -m benchmarks.scraping``: what a scrape of the exporter costs its event loop.

It prints how long a scrape takes, its size, and the longest time for which the loop did nothing
else. The last line is about a tiny page, for comparison. The scraper is a process of its own. The
buckets are made up, and nothing polls them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import statistics
import sys
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace

from flashback_async import BucketStats, BucketView, NodeState, NodeStatus
from flashback_async.pages.exporter.address import Address
from flashback_async.pages.exporter.conditions import Conditions
from flashback_async.pages.exporter.metrics import Detail, Facts, Scrape
from flashback_async.pages.exporter.server import serving
from flashback_async.watch.tracker import Tracker
from flashback_async.watch.watch import _View

_REGIONS = ("eastus", "westeurope", "us-east-1", "ap-south-1")
_BEAT = 0.0005  # seconds

# It reads as a scraper does, and asks for the compression that the first argument names.
_SCRAPER = """
import sys, time, urllib.request
began = time.perf_counter()
request = urllib.request.Request(sys.argv[1], headers={"Accept-Encoding": sys.argv[2]})
size = 0
with urllib.request.urlopen(request) as answer:
    while block := answer.read(65536):
        size += len(block)
print(time.perf_counter() - began, size)
"""


def facts(buckets: int, nodes: int) -> Facts:
    """Return what an exporter of so many buckets knows."""
    tracker, now, chance = Tracker(2, 2, 2), datetime.now(UTC), random.Random(0)
    for n in range(buckets):
        key = str(uuid.UUID(int=chance.getrandbits(128), version=4))  # they compress badly
        tracker.add(key, now)
        tracker.answered(key, [_node(n, place, chance) for place in range(nodes)], now)
    while tracker.waiting:
        tracker.tell(next(iter(tracker.waiting)))
    view: Mapping[str, BucketView] = _View(tracker)
    answers = dict.fromkeys(view, now.timestamp())
    return SimpleNamespace(
        view=view,
        conditions=Conditions(view, answers),
        totals={
            key: BucketStats(key, *(chance.randrange(10**digits) for digits in (5, 11, 12, 10)))
            for key in view
        },
        last_answers=answers,
        requests={("status.get", "success"): 1_000_000},
        lag=0.0,
    )


def _node(n: int, place: int, chance: random.Random) -> NodeStatus:
    ip = f"10.{place}.{n >> 8}.{n & 255}"
    latency = chance.randrange(50, 2500) / 10
    return NodeStatus(ip, _REGIONS[(n + place) % 4], "1.4.2", NodeState.ONLINE, latency, None)


class Heart:
    """A task that beats, and the longest times between two beats.

    Attributes:
        busy: The longest one in CPU time of the loop's thread, which neighbours cannot lengthen.
        held: The longest one by the clock.
    """

    def __init__(self) -> None:
        self.busy = 0.0
        self.held = 0.0

    async def beat(self) -> None:
        clock, used = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(_BEAT)
            now, spent = time.perf_counter(), time.thread_time()
            self.held = max(self.held, now - clock - _BEAT)
            self.busy = max(self.busy, spent - used)
            clock, used = now, spent


async def scrape(url: str, coding: str) -> tuple[Heart, float, int]:
    """Return the heart of a scrape, how long the scrape took, and its bytes."""
    heart = Heart()
    scraper = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _SCRAPER, url, coding), stdout=asyncio.subprocess.PIPE
    )
    beating = asyncio.create_task(heart.beat())
    said, _ = await scraper.communicate()
    beating.cancel()
    took, size = said.split()
    return heart, float(took), int(size)


async def measure(known: Facts, detail: Detail, coding: str, path: str, rounds: int) -> None:
    async with serving(Address("127.0.0.1", 0), lambda form: Scrape(known, detail, form)) as url:
        found = [await scrape(f"{url}{path}", coding) for _ in range(rounds)]
    busy, held = ([getattr(heart, name) * 1000 for heart, *_ in found] for name in ("busy", "held"))
    took = statistics.median(took for _, took, _ in found)
    print(
        f"{detail:6} {path:8} {coding:8} {took:.2f} s, {found[0][2] / 2**20:5.1f} MiB;"
        f" longest hold-up {statistics.median(busy):.1f} ms of CPU time, worst {max(busy):.1f};"
        f" {statistics.median(held):.1f} ms by the clock, worst {max(held):.1f}"
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
            asyncio.run(measure(known, detail, coding, "/metrics", arguments.rounds))
    # What the machine itself holds up.
    asyncio.run(measure(known, Detail.NODE, "identity", "/", arguments.rounds))


if __name__ == "__main__":
    main()
