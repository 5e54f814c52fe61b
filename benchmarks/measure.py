"""The cost of calls: CPU time in paired rounds, and the time until the first result."""

from __future__ import annotations

import gc
import statistics
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack

from attrs import frozen

from benchmarks.answers import LISTED, Ids
from benchmarks.contender import Contender, Take
from benchmarks.contenders import BY_NAME, Httpx, Sdk, SdkReport
from benchmarks.processes import raise_descriptor_limit, run

_CALLS = {1: 300, 64: 400, 512: 768}  # calls in a block, by how many are in flight at once
_LISTS = 128
_HTTPX_SHARE = 6  # its blocks are that much shorter
_WARM_UPS = 2
discard: Take = deque[object](maxlen=0).append


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
Costs = dict[str, list[float]]  # of a contender in every round
Pairs = dict[str, tuple[list[float], list[float]]]  # of a contender, and of the SDK beside it


def cpu(
    ports: Ports, loop: str, cells: list[str], rounds: int, names: list[str]
) -> dict[str, Costs]:
    """Return the CPU microseconds per call of every contender in every round, for each cell.

    In a round each contender makes one block of calls, and the first one changes from round to
    round. So figures of the same round can be compared as pairs, whatever else the machine does.
    """
    raise_descriptor_limit()
    ids = Ids()

    async def main() -> dict[str, Costs]:
        return {name: await _rounds(Cell.of(name), ports, rounds, ids, names) for name in cells}

    return run(main, loop)


async def _rounds(cell: Cell, ports: Ports, rounds: int, ids: Ids, names: list[str]) -> Costs:
    url = url_of(ports, str(cell.size) if cell.call != "list" else "3")
    chosen = [kind for kind in cell.contenders if kind.name in names]
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(kind(url, cell.concurrency)) for kind in chosen]
        return await in_turns(opened, rounds, lambda contender: _block(cell, contender, ids))


async def in_turns(
    contenders: list[Contender],
    rounds: int,
    block: Callable[[Contender], Awaitable[float]],
    warm_ups: int = _WARM_UPS,
) -> Costs:
    """Return what a block of each contender costs in every round."""
    costs: Costs = {contender.name: [] for contender in contenders}
    for number in range(-warm_ups, rounds):
        first = number % len(contenders)
        for contender in contenders[first:] + contenders[:first]:
            # A full collection: after a partial one, the next full one would come sooner.
            gc.collect()
            cost = await block(contender)
            if number >= 0:
                costs[contender.name].append(cost)
    return costs


async def _block(cell: Cell, contender: Contender, ids: Ids) -> float:
    """Make one block of calls and return the CPU microseconds of each."""
    calls = _LISTS if cell.call == "list" else _CALLS[cell.concurrency]
    if isinstance(contender, Httpx):
        calls //= _HTTPX_SHARE
    if cell.call == "list":
        lists = [ids.take(cell.size) for _ in range(calls)]
        began = time.process_time()
        await contender.stats(lists, discard)
    else:
        keys = ids.take(calls)
        many = contender.statuses if cell.call == "status" else contender.node_stats
        began = time.process_time()
        await many(keys, discard)
    return (time.process_time() - began) / calls * 1e6


# The first result.


def first_result(ports: Ports, keys: int, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds until a user has the first of many results, in every round."""

    async def main() -> dict[str, list[float]]:
        ids, url = Ids(), url_of(ports, "3")
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


def url_of(ports: Ports, which: str) -> str:
    return f"http://127.0.0.1:{ports[which]}"


def with_the_sdk(*runs: Costs) -> Pairs:
    """Return what each contender cost, and the SDK in the same run: the first that both are in."""
    pairs: Pairs = {}
    for costs in runs:
        for name, own in costs.items():
            pairs.setdefault(name, (own, costs[Sdk.name]))
    return pairs


def paired(slower: list[float], faster: list[float]) -> list[float]:
    """Return the ratio of each round."""
    return [s / f for s, f in zip(slower, faster, strict=True)]


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
