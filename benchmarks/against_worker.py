"""Measure the calls of one tree, one block of calls for each line that arrives.

The first line in is the job as JSON; the first line out is the file of the package that is
measured. Then each line in names a case, and each line out is what one call of a block cost.

It runs as a script with the tree in PYTHONPATH. The tree may be an older one, so it imports nothing
but public names of ``flashback_async``, and nothing of ``benchmarks``.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
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
    job: Job = json.loads(sys.stdin.readline())
    # glibc then keeps blocks of this size, as it does in most programs sooner or later.
    block = bytearray(8 * 2**20)
    del block
    print(flashback_async.__file__, flush=True)
    asyncio.run(measure(job))


async def measure(job: Job) -> None:
    """Run a block of the case that each line names, and write the CPU microseconds of a call."""
    ids = map(job["id_template"].format, count())
    options = {"limits": Limits(max_concurrency=job["at_once"]), **transport_of(job)}
    async with (
        FlashbackClient(job["token"], base_url=job["few_nodes"], **options) as few,
        FlashbackClient(job["token"], base_url=job["many_nodes"], **options) as many,
    ):
        cases = cases_of(few, many, date.fromisoformat(job["day"]), job["at_once"])
        # Nothing is under way between two blocks, so the loop may wait here.
        for name in map(str.rstrip, sys.stdin):
            print(await cost_of(cases[name], keys_of(name, ids, job)), flush=True)


def transport_of(job: Job) -> dict[str, str]:
    """Return the option that chooses the transport; a tree without it has aiohttp's only."""
    wanted = job["transport"]
    if wanted is None:
        return {}
    if "transport" in inspect.signature(FlashbackClient).parameters:
        return {"transport": wanted}
    if wanted == "aiohttp":
        return {}
    raise SystemExit(f"this tree's client has no transport {wanted!r}")


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


def keys_of(name: str, ids: Iterator[str], job: Job) -> list[Any]:
    """Return the keys of the next block, none of which was asked for before."""
    if "list" in name:
        return [list(islice(ids, job["ids_in_list"])) for _ in range(job["lists"])]
    return list(islice(ids, job["calls"]))


async def cost_of(run: Run, keys: list[Any]) -> float:
    """Run one block of calls and return the CPU microseconds of each."""
    gc.collect()
    began = time.process_time()
    await run(keys)
    return (time.process_time() - began) / len(keys) * 1e6


if __name__ == "__main__":
    main()
