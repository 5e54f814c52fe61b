"""The section on transports: this SDK over both of them, code by hand, and pyreqwest."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from attrs import frozen

from benchmarks.answers import LATENCY, Ids
from benchmarks.contender import Contender
from benchmarks.contenders import BY_NAME, Aiohttp, Pyreqwest, Sdk, SdkAiohttp
from benchmarks.measure import Costs, Pairs, discard, in_turns, with_the_sdk
from benchmarks.processes import do, loops, raise_descriptor_limit, run
from benchmarks.report import number, table, with_spread

if TYPE_CHECKING:
    from benchmarks.sections import Run

_PYREQWEST_WANTED = 1.4  # pyreqwest ÷ this SDK


@frozen
class Setting:
    """One way in which the same answers come, and the ratio by hand ÷ SDK that is wanted there."""

    label: str
    server: str
    loop: str
    wanted: float


SETTINGS = (
    Setting("3 nodes", "3", "asyncio", 2.7),
    Setting("50 nodes", "50", "asyncio", 2.1),
    Setting("3 nodes, 11 header fields", "fields", "asyncio", 3.0),
    Setting("3 nodes, TLS 1.3", "tls-3", "asyncio", 2.5),
    Setting("50 nodes, TLS 1.3", "tls-50", "asyncio", 1.8),
    Setting("3 nodes, uvloop", "3", "uvloop", 2.9),
    Setting("50 nodes, uvloop", "50", "uvloop", 2.1),
)


@frozen
class Flood:
    """So many calls in flight to the late server, and what wall time ÷ ideal is wanted."""

    at_once: int
    calls: int
    wanted: float | None

    @property
    def ideal(self) -> float:
        """The seconds that the server's latency alone takes."""
        return math.ceil(self.calls / self.at_once) * LATENCY


FLOODS = (Flood(64, 1280, None), Flood(256, 5120, 1.15), Flood(1024, 10240, 2.8))


@frozen
class Sizes:
    """What is measured, and how much; tests need little."""

    settings: tuple[Setting, ...] = SETTINGS
    rounds: int = 15
    calls: int = 400
    late_rounds: int = 5
    floods: tuple[Flood, ...] = FLOODS
    new_calls: int = 96  # new connections are dear, so fewer show the same


# In the process of the contenders.


def blocks(
    url: str,
    loop: str,
    names: list[str],
    at_once: int,
    calls: int,
    rounds: int,
    authority: str = "",
    wall: bool = False,
) -> Costs:
    """Return the seconds of each contender's block in every round, of CPU time or of wall time."""
    raise_descriptor_limit()
    ids = Ids()
    clock = time.perf_counter if wall else time.process_time

    async def block(contender: Contender) -> float:
        keys = ids.take(calls)
        began = clock()
        await contender.statuses(keys, discard)
        return clock() - began

    async def main() -> Costs:
        async with AsyncExitStack() as stack:
            opened = [
                await stack.enter_async_context(BY_NAME[name](url, at_once, authority))
                for name in names
            ]
            return await in_turns(opened, rounds, block, warm_ups=1 if wall else 2)

    return run(main, loop)


# In the process that prints.


class TransportSection:
    """The tables of the section, whose rows are added to a run."""

    def __init__(self, run: Run, variants: dict[str, Any], sizes: Sizes = Sizes()) -> None:
        self._run = run
        self._told = run.ports | variants
        self._sizes = sizes

    def tables(self) -> Iterator[str]:
        yield from self.exchange()
        yield self.flood()
        yield self.handshakes()

    def exchange(self) -> Iterator[str]:
        """Yield the tables of CPU time over connections that are kept."""
        ratios, absolute = [], []
        job = {"at_once": 64, "calls": self._sizes.calls, "rounds": self._sizes.rounds}
        for setting in self._sizes.settings:
            if setting.loop not in loops():
                continue
            at, name = (setting.server, setting.loop), f"transport cpu {setting.label}"
            pairs = with_the_sdk(
                self._blocks(at, [Aiohttp, SdkAiohttp, Sdk], **job),
                self._blocks(at, [Aiohttp, Pyreqwest, Sdk], **job),
            )
            by_hand, over_aiohttp, rust = self._ratios(name, pairs, Aiohttp, SdkAiohttp, Pyreqwest)
            wanted = f"≥ {setting.wanted}", f"≥ {_PYREQWEST_WANTED}"
            ratios.append([setting.label, by_hand, wanted[0], over_aiohttp, rust, wanted[1]])
            absolute.append([setting.label, *self._absolute(name, pairs, self._sizes.calls)])
        head = ["status", Aiohttp.name, "wanted", SdkAiohttp.name, Pyreqwest.name, "wanted"]
        yield table("CPU time of each, divided by this SDK's [quartiles]", head, ratios)
        head = ["µs", *_COLUMNS]
        yield table("CPU microseconds per call", head, absolute)

    def flood(self) -> str:
        """Return the table of wall time where the server takes its time."""
        lines = []
        for flood in self._sizes.floods:
            job = {"at_once": flood.at_once, "calls": flood.calls, "wall": True}
            job |= {"rounds": self._sizes.late_rounds}
            found = self._blocks(("late", "asyncio"), [Aiohttp, SdkAiohttp, Sdk], **job)
            found |= self._blocks(("late", "asyncio"), [Pyreqwest], **job)
            cells = []
            for kind in _COLUMNS:
                name = f"transport wall ÷ ideal, {flood.at_once:,} at once {kind}"
                over = [taken / flood.ideal for taken in found[kind]]
                cells.append(with_spread(self._run.add(name, "×", over, judged=True)))
            wanted = f"≤ {flood.wanted}" if flood.wanted else "–"
            lines.append([f"{flood.at_once:,} in flight", *cells, wanted])
        title = f"Wall time ÷ ideal, from a server that answers after {LATENCY * 1e3:.0f} ms"
        return table(title, ["", *_COLUMNS, f"wanted of {Sdk.name}"], lines)

    def handshakes(self) -> str:
        """Return the table of what a request costs that needs a new connection over TLS."""
        calls = self._sizes.new_calls
        job = {"at_once": 16, "calls": calls, "rounds": self._sizes.rounds}
        pairs = with_the_sdk(
            self._blocks(("closing", "asyncio"), [Aiohttp, SdkAiohttp, Sdk], **job),
            self._blocks(("closing", "asyncio"), [Aiohttp, Pyreqwest, Sdk], **job),
        )
        name = "transport new TLS connection"
        kinds = (Aiohttp, SdkAiohttp, Pyreqwest)
        ratios = self._ratios(name, pairs, *kinds)
        lines = [
            ["µs", *self._absolute(name, pairs, calls)],
            [f"÷ {Sdk.name}", *ratios[:2], "1", ratios[2]],
        ]
        return table("CPU time of a status over a new TLS connection", ["", *_COLUMNS], lines)

    def _blocks(self, at: tuple[str, str], kinds: list[type[Contender]], **job: Any) -> Costs:
        """Measure contenders in a process of their own, at a server and on an event loop."""
        where, loop = at
        encrypted = where.startswith("tls") or where == "closing"
        found: Costs = do(
            "blocks",
            url=f"{'https' if encrypted else 'http'}://127.0.0.1:{self._told[where]}",
            authority=self._told["authority"] if encrypted else "",
            loop=loop,
            names=[kind.name for kind in kinds],
            **job,
        )
        return found

    def _ratios(self, name: str, pairs: Pairs, *kinds: type[Contender]) -> list[str]:
        return [
            with_spread(self._run.ratio(f"{name} {kind.name} ÷ SDK", *pairs[kind.name]))
            for kind in kinds
        ]

    def _absolute(self, name: str, pairs: Pairs, calls: int) -> list[str]:
        shown = []
        for kind in _COLUMNS:
            costs = [seconds / calls * 1e6 for seconds in pairs[kind][0]]
            shown.append(number(self._run.add(f"{name} {kind}", "µs", costs).value))
        return shown


_COLUMNS = tuple(kind.name for kind in (Aiohttp, SdkAiohttp, Sdk, Pyreqwest))
