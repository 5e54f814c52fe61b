"""The memory of a call in flight, and of a key of a run."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from contextlib import suppress

from benchmarks.answers import Ids
from benchmarks.contenders import BY_NAME
from benchmarks.measure import Ports, discard, url_of
from benchmarks.processes import run


def memory_in_flight(ports: Ports, name: str, calls: int) -> float:
    """Return the bytes that Python holds for each call while it waits for its answer.

    They include the connection, the task and their objects, but not the buffers of the system.
    """

    async def main() -> float:
        ids = Ids()
        # The first client pays for objects that are made once; the next one is measured.
        async with BY_NAME[name](url_of(ports, "3"), calls) as warm_up:
            await warm_up.statuses(ids.take(calls), discard)
        gc.collect()
        tracemalloc.start()
        async with BY_NAME[name](url_of(ports, "mute"), calls) as contender:
            run_of_all = asyncio.ensure_future(contender.statuses(ids.take(calls), discard))
            held = await _settled()
            run_of_all.cancel()
            with suppress(asyncio.CancelledError):
                await run_of_all
        tracemalloc.stop()
        return held / calls

    return run(main)


async def _settled() -> int:
    """Wait until memory stops growing, and return its size in bytes."""
    last = -1
    while True:
        await asyncio.sleep(0.25)
        gc.collect()
        now = tracemalloc.get_traced_memory()[0]
        if now <= last:
            return now
        last = now


def memory_per_key(ports: Ports, name: str, fewer: int, more: int) -> float:
    """Return the bytes by which the peak of a run grows with each key, kept results included."""

    async def main() -> float:
        ids = Ids()
        peaks = []
        async with BY_NAME[name](url_of(ports, "3"), 64) as contender:
            await contender.statuses(ids.take(fewer), discard)
            for how_many in (fewer, more):
                keys = ids.take(how_many)
                gc.collect()
                tracemalloc.start()
                await contender.statuses(keys, discard)
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
        return (peaks[1] - peaks[0]) / (more - fewer)

    return run(main)
