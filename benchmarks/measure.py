"""The cost of calls: CPU time in paired rounds, latency at a fixed rate, memory, first result."""

from __future__ import annotations

import asyncio
import gc
import statistics
import struct
import sys
import time
import tracemalloc
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, suppress

from attrs import frozen

from benchmarks.answers import LISTED, Ids
from benchmarks.contenders import BY_NAME, Contender, Httpx, Sdk, SdkReport, Take
from benchmarks.processes import raise_descriptor_limit, run, start

_CALLS = {1: 300, 64: 400, 512: 768}  # calls in a block, by how many are in flight at once
_LISTS = 128
_HTTPX_SHARE = 6  # its blocks are that much shorter
_WARM_UPS = 2
_discard: Take = deque[object](maxlen=0).append


@frozen
class Cell:
    """One kind of call: the method, the size of its answer, and how many are in flight at once."""

    call: str  # status, node_stats, list
    size: int  # nodes in an answer; for lists, ids
    concurrency: int

    @property
    def name(self) -> str:
        return f"{self.call}-{self.size}-{self.concurrency}"

    @classmethod
    def of(cls, name: str) -> Cell:
        call, size, concurrency = name.split("-")
        return cls(call, int(size), int(concurrency))

    @property
    def contenders(self) -> list[type[Contender]]:
        """The contenders that take part. At 512, httpx does not: its pool alone takes minutes.

        ``get_many`` takes part in the main cells, to show the cost of keeping every result.
        """
        left_out: set[type[Contender]] = set()
        if self.concurrency > 64:
            left_out.add(Httpx)
        if self.call != "status" or self.concurrency != 64:
            left_out.add(SdkReport)
        return [contender for contender in BY_NAME.values() if contender not in left_out]


# The first two are the main ones.
CELLS = [
    Cell("status", 3, 64),
    Cell("status", 50, 64),
    Cell("status", 3, 1),
    Cell("status", 50, 1),
    Cell("status", 3, 512),
    Cell("status", 50, 512),
    Cell("node_stats", 3, 64),
    Cell("node_stats", 50, 64),
    Cell("list", LISTED, 1),
    Cell("list", LISTED, 64),
]

Ports = dict[str, int]


def cpu(
    ports: Ports, loop: str, cells: list[str], rounds: int, names: list[str]
) -> dict[str, dict[str, list[float]]]:
    """Return the CPU microseconds per call of every contender in every round, for each cell.

    In a round each contender makes one block of calls, and the first one changes from round to
    round. So figures of the same round can be compared as pairs, whatever else the machine does.
    """
    raise_descriptor_limit()
    ids = Ids()

    async def main() -> dict[str, dict[str, list[float]]]:
        return {name: await _rounds(Cell.of(name), ports, rounds, ids, names) for name in cells}

    return run(main, loop)


async def _rounds(
    cell: Cell, ports: Ports, rounds: int, ids: Ids, names: list[str]
) -> dict[str, list[float]]:
    url = _url(ports, str(cell.size) if cell.call != "list" else "3")
    chosen = [kind for kind in cell.contenders if kind.name in names]
    costs: dict[str, list[float]] = {kind.name: [] for kind in chosen}
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(kind(url, cell.concurrency)) for kind in chosen]
        for _ in range(_WARM_UPS):
            for contender in opened:
                await _block(cell, contender, ids)
        for number in range(rounds):
            first = number % len(opened)
            for contender in opened[first:] + opened[:first]:
                # A full collection: after a partial one, the next full one would come sooner.
                gc.collect()
                costs[contender.name].append(await _block(cell, contender, ids))
    return costs


async def _block(cell: Cell, contender: Contender, ids: Ids) -> float:
    """Make one block of calls and return the CPU microseconds of each."""
    calls = _LISTS if cell.call == "list" else _CALLS[cell.concurrency]
    if isinstance(contender, Httpx):
        calls //= _HTTPX_SHARE
    if cell.call == "list":
        lists = [ids.take(cell.size) for _ in range(calls)]
        began = time.process_time()
        await contender.stats(lists, _discard)
    else:
        keys = ids.take(calls)
        many = contender.statuses if cell.call == "status" else contender.node_stats
        began = time.process_time()
        await many(keys, _discard)
    return (time.process_time() - began) / calls * 1e6


# Latency.


def latency(
    ports: Ports, loop: str, rate: float, seconds: float, slices: int
) -> dict[str, list[float]]:
    """Return the milliseconds of every call, made at a fixed rate whether or not others are done.

    Another process signals when each call is due, because the timers of the two loops have a
    resolution of a millisecond. A call's clock starts then, even if the loop is too busy to begin.
    """

    async def main() -> dict[str, list[float]]:
        url, ids = _url(ports, "3"), Ids()
        times: dict[str, list[float]] = {name: [] for name in BY_NAME if name != SdkReport.name}
        async with AsyncExitStack() as stack:
            opened = [
                await stack.enter_async_context(BY_NAME[name](url, concurrency=64))
                for name in times
            ]
            for contender in opened:
                await contender.statuses(ids.take(200), _discard)
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

    with start("benchmarks.measure", str(len(keys)), str(rate)) as pacer:
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


# Memory.


def memory_in_flight(ports: Ports, name: str, calls: int) -> float:
    """Return the bytes that Python holds for each call while it waits for its answer.

    They include the connection, the task and their objects, but not the buffers of the system.
    """

    async def main() -> float:
        ids = Ids()
        # The first client pays for objects that are made once; the next one is measured.
        async with BY_NAME[name](_url(ports, "3"), calls) as warm_up:
            await warm_up.statuses(ids.take(calls), _discard)
        gc.collect()
        tracemalloc.start()
        async with BY_NAME[name](_url(ports, "mute"), calls) as contender:
            run_of_all = asyncio.ensure_future(contender.statuses(ids.take(calls), _discard))
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
        async with BY_NAME[name](_url(ports, "3"), 64) as contender:
            await contender.statuses(ids.take(fewer), _discard)
            for how_many in (fewer, more):
                keys = ids.take(how_many)
                gc.collect()
                tracemalloc.start()
                await contender.statuses(keys, _discard)
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
        return (peaks[1] - peaks[0]) / (more - fewer)

    return run(main)


# The first result.


def first_result(ports: Ports, keys: int, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds until a user has the first of many results, in every round."""

    async def main() -> dict[str, list[float]]:
        ids, url = Ids(), _url(ports, "3")
        names = ["aiohttp", Sdk.name]
        times: dict[str, list[float]] = {name: [] for name in names}
        async with AsyncExitStack() as stack:
            opened = [
                await stack.enter_async_context(BY_NAME[name](url, concurrency=64))
                for name in names
            ]
            for number in range(rounds + 1):
                for contender in opened:
                    taken = await _until_first(contender.statuses, ids.take(keys))
                    if number:  # the first round opens the connections
                        times[contender.name].append(taken)
        return times

    return run(main)


async def _until_first(
    many: Callable[[Iterable[str], Take], Awaitable[None]], keys: list[str]
) -> float:
    first: float | None = None

    def take(_: object) -> None:
        nonlocal first
        if first is None:
            first = time.perf_counter()

    gc.collect()
    began = time.perf_counter()
    await many(keys, take)
    assert first is not None
    return (first - began) * 1e3


def _url(ports: Ports, which: str) -> str:
    return f"http://127.0.0.1:{ports[which]}"


def paired(slower: list[float], faster: list[float]) -> list[float]:
    """Return the ratio of each round."""
    return [s / f for s, f in zip(slower, faster, strict=True)]


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


if __name__ == "__main__":
    _pace(int(sys.argv[1]), float(sys.argv[2]))
