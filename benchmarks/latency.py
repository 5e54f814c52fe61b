"""The time that calls take at a fixed rate."""

from __future__ import annotations

import asyncio
import gc
import struct
import sys
import time
from contextlib import AsyncExitStack

from benchmarks.answers import Ids
from benchmarks.contender import Contender
from benchmarks.contenders import BY_NAME
from benchmarks.measure import Ports, discard, url_of
from benchmarks.processes import run, start


def latency(
    ports: Ports, loop: str, rate: float, seconds: float, slices: int, names: list[str]
) -> dict[str, list[float]]:
    """Return the milliseconds of every call, made at a fixed rate whether or not others are done.

    Another process signals when each call is due, because the timers of the two loops have a
    resolution of a millisecond. A call's clock starts then, even if the loop is too busy to begin.
    """

    async def main() -> dict[str, list[float]]:
        url, ids = url_of(ports, "3"), Ids()
        times: dict[str, list[float]] = {name: [] for name in names}
        async with AsyncExitStack() as stack:
            opened = [
                await stack.enter_async_context(BY_NAME[name](url, concurrency=64))
                for name in times
            ]
            for contender in opened:
                await contender.statuses(ids.take(200), discard)
            for number in range(slices):
                first = number % len(opened)
                for contender in opened[first:] + opened[:first]:
                    gc.collect()
                    keys = ids.take(round(rate * seconds / slices))
                    times[contender.name] += await _open_loop(contender, keys, rate)
        return times

    return run(main, loop)


async def _open_loop(contender: Contender, keys: list[str], rate: float) -> list[float]:
    times: list[float] = []
    source = iter(keys)
    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    all_due = loop.create_future()

    async def call(key: str, due: float) -> None:
        await contender.status(key)
        times.append((time.monotonic() - due) * 1e3)

    class Due(asyncio.Protocol):
        rest = b""

        def data_received(self, data: bytes) -> None:
            data = self.rest + data
            whole = len(data) - len(data) % _DUE.size
            self.rest = data[whole:]
            for (due,) in _DUE.iter_unpack(data[:whole]):
                task = loop.create_task(call(next(source), due))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

        def connection_lost(self, exc: Exception | None) -> None:
            all_due.set_result(None)

    with start("benchmarks.latency", str(len(keys)), str(rate)) as pacer:
        pipe, _ = await loop.connect_read_pipe(Due, pacer.stdout)
        await all_due
        await asyncio.gather(*tasks)
        pipe.close()
    return times


_DUE = struct.Struct("d")


def _pace(calls: int, rate: float) -> None:
    """Write the time at which each call is due to standard output, when it is due."""
    begins = time.monotonic() + 0.05
    for number in range(calls):
        due = begins + number / rate
        time.sleep(max(0.0, due - time.monotonic()))
        sys.stdout.buffer.write(_DUE.pack(due))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _pace(int(sys.argv[1]), float(sys.argv[2]))
