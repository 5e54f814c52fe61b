"""Measure the calls of one tree: a job as JSON in, the CPU microseconds of its calls as JSON out.

It runs as a script with the tree in PYTHONPATH. The tree may be an older one, so it imports nothing
but public names of ``flashback_async``, and nothing of ``benchmarks``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import date
from itertools import count, islice
from typing import Any

import flashback_async
from flashback_async import FlashbackClient, Limits

Job = dict[str, Any]
Run = Callable[[Iterable[Any]], Awaitable[None]]


def main() -> None:
    job: Job = json.load(sys.stdin)
    # glibc then keeps blocks of this size, as it does in most programs sooner or later.
    block = bytearray(8 * 2**20)
    del block
    costs = asyncio.run(measure(job))
    print(json.dumps({"file": flashback_async.__file__, "costs": costs}))


async def measure(job: Job) -> dict[str, float]:
    """Return the median cost of a call in each case."""
    ids = map(job["id_template"].format, count())
    limits = Limits(max_concurrency=job["at_once"])
    async with (
        FlashbackClient(job["token"], base_url=job["few_nodes"], limits=limits) as few,
        FlashbackClient(job["token"], base_url=job["many_nodes"], limits=limits) as many,
    ):
        cases = cases_of(few, many, date.fromisoformat(job["day"]), job["at_once"])
        return {
            name: await _median(run, keys_of(name, ids, job), job) for name, run in cases.items()
        }


def cases_of(
    few: FlashbackClient, many: FlashbackClient, day: date, at_once: int
) -> dict[str, Run]:
    """Return the function that makes the calls of each case."""

    async def daily(bucket_id: str) -> object:
        return await few.node_stats.get(bucket_id, day)

    async def iter_many(bucket_ids: Iterable[str]) -> None:
        async for outcome in few.status.iter_many(bucket_ids, concurrency=at_once):
            outcome.unwrap()

    def single(call: Callable[[Any], Awaitable[object]]) -> Run:
        async def run(keys: Iterable[Any]) -> None:
            source = iter(keys)

            async def work() -> None:
                for key in source:
                    await call(key)

            await asyncio.gather(*[work() for _ in range(at_once)])

        return run

    return {
        "status.get, 3 nodes": single(few.status.get),
        "status.get, 50 nodes": single(many.status.get),
        "node_stats.get, 3 nodes": single(daily),
        "bucket_stats.list, 100 ids": single(few.bucket_stats.list),
        "status.iter_many, 3 nodes": iter_many,
    }


def keys_of(name: str, ids: Iterator[str], job: Job) -> Iterator[list[Any]]:
    """Yield the keys of one block after another, none of them twice."""
    while True:
        if "list" in name:
            yield [list(islice(ids, job["ids_in_list"])) for _ in range(job["lists"])]
        else:
            yield list(islice(ids, job["calls"]))


async def _median(run: Run, blocks: Iterator[list[Any]], job: Job) -> float:
    for keys in islice(blocks, job["warm_ups"]):
        await run(keys)
    costs = []
    for keys in islice(blocks, job["blocks"]):
        gc.collect()
        began = time.process_time()
        await run(keys)
        costs.append((time.process_time() - began) / len(keys) * 1e6)
    return statistics.median(costs)


if __name__ == "__main__":
    main()
