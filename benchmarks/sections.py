"""The sections of a run, which print tables and add rows to the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.cells import MAIN_CELLS, ROUNDS, CpuSection, names_of
from benchmarks.contenders import BY_NAME, OTHERS, Aiohttp, Pyreqwest, Sdk, SdkReport
from benchmarks.floor import Floor
from benchmarks.measure import CELLS, Cell, Costs, paired, spread
from benchmarks.processes import do, loops, server
from benchmarks.report import Results, Row, number, table, with_spread
from benchmarks.transports import TransportSection

_IN_FLIGHT = 256
_KEYS = (1000, 4000)
_RATE = 500.0


class Run:
    """One run of the benchmark, whose sections print tables and add rows to the results."""

    def __init__(self, ports: dict[str, int], *, quick: bool, only: list[str]) -> None:
        self.ports = ports
        self.quick = quick
        self.only = only
        self.results = Results()
        self.bars: dict[str, dict[str, float]] = {}

    @property
    def sections(self) -> dict[str, Callable[[], None]]:
        return {
            "cpu": self.cpu,
            "cold": self.cold,
            "latency": self.latency,
            "memory": self.memory,
            "first": self.first,
            "imports": self.imports,
            "decode": self.decode,
            "scale": self.scale,
            "transport": self.transport,
        }

    def go(self) -> None:
        for name, section in self.sections.items():
            wanted = self._cells() if name == "cpu" else name in self.only
            if wanted if self.only else name == "cpu" or not self.quick:
                section()

    def add(
        self, name: str, unit: str, values: list[float], *, judged: bool = False, floor: float = 0.0
    ) -> Row:
        low, middle, high = spread(values)
        row = Row(name, unit, middle, low, high, judged, floor)
        self.results.rows.append(row)
        return row

    def ratio(
        self, name: str, slower: list[float], faster: list[float], *, judged: bool = True
    ) -> Row:
        return self.add(name, "×", paired(slower, faster), judged=judged)

    # CPU time.

    def _cells(self) -> list[Cell]:
        cells = MAIN_CELLS if self.quick else CELLS
        if not self.only or "cpu" in self.only:
            return cells
        return [cell for cell in cells if any(cell.name.startswith(name) for name in self.only)]

    def cpu(self) -> None:
        for loop in loops():
            for text in CpuSection(self, loop, self._cells()).tables():
                say(text)

    def cold(self) -> None:
        """Measure the cost while the C library does not yet keep large blocks."""
        lines = []
        names = [Floor.name, Aiohttp.name, Sdk.name]
        for cold in (False, True):
            cell = CELLS[0].name
            found = do(
                "cpu",
                ports=self.ports,
                loop="asyncio",
                cells=[cell],
                rounds=ROUNDS,
                names=names,
                cold=cold,
            )[cell]
            label = "cold" if cold else "warm"
            row = self.ratio(f"{label} {cell} ÷ SDK", found[Aiohttp.name], found[Sdk.name])
            cells = [number(self.add(f"{label} {n}", "µs", found[n]).value) for n in names]
            lines.append([label, *cells, with_spread(row)])
        head = ["µs", *names, "aiohttp ÷ SDK"]
        say(table("asyncio: memory of the C library cold and warm (status, 3 nodes)", head, lines))

    # Other costs.

    def latency(self) -> None:
        for loop in loops():
            times: Costs = {}
            kept = [kind for kind in BY_NAME.values() if kind not in (*OTHERS, SdkReport)]
            for kinds in (kept, *([kind] for kind in OTHERS)):
                job: dict[str, Any] = {
                    "rate": _RATE,
                    "seconds": 2.0,
                    "slices": 2,
                    "names": names_of(kinds),
                }
                times |= do("latency", ports=self.ports, loop=loop, **job)
            lines = []
            for name, taken in times.items():
                shown = [
                    self.add(f"latency {loop} {name} p{share}", "ms", [_percentile(taken, share)])
                    for share in (50, 90, 99)
                ]
                lines.append([name, *(number(row.value) for row in shown)])
            title = f"{loop}: latency of a status in ms, {_RATE:.0f} calls a second, open loop"
            say(table(title, ["", "p50", "p90", "p99"], lines))

    def memory(self) -> None:
        lines = []
        for name in BY_NAME:
            if name in (SdkReport.name, Pyreqwest.name):  # Python does not see Rust's memory
                flight = None
            else:
                flight = self._bytes("memory_in_flight", name, calls=_IN_FLIGHT)
            key = None
            if name not in names_of(OTHERS):
                key = self._bytes("memory_per_key", name, fewer=_KEYS[0], more=_KEYS[1])
            shown = ["–" if row is None else f"{row.value:,.0f}" for row in (flight, key)]
            lines.append([name, *shown])
        title = f"Bytes for each call in flight (of {_IN_FLIGHT}), and for each key of a run"
        say(table(title, ["", "in flight", "per key"], lines))

    def _bytes(self, task: str, name: str, **options: Any) -> Row:
        held = max(0.0, do(task, ports=self.ports, name=name, **options))
        return self.add(f"{task} {name}", "B", [held], judged=True, floor=300)

    def first(self) -> None:
        keys = 5000
        times = do("first_result", ports=self.ports, keys=keys, rounds=5)
        lines = [
            [name, with_spread(self.add(f"first result {name}", "ms", taken))]
            for name, taken in times.items()
        ]
        say(table(f"Milliseconds to the first of {keys:,} statuses", ["", "ms"], lines))

    def imports(self) -> None:
        costs = do("imports", rounds=5)
        bare = costs.pop("nothing")
        more = {
            name: [max(0.01, used - none) for used, none in zip(taken, bare, strict=True)]
            for name, taken in costs.items()
        }
        lines = [
            [name, with_spread(self.add(f"import {name}", "ms", taken))]
            for name, taken in more.items()
        ]
        row = self.ratio(
            "import FlashbackClient ÷ aiohttp", more["FlashbackClient"], more["aiohttp"]
        )
        lines.append(["FlashbackClient ÷ aiohttp", with_spread(row)])
        say(
            table(
                "CPU milliseconds of an import, the interpreter's own start apart",
                ["", "ms"],
                lines,
            )
        )

    def decode(self) -> None:
        lines = []
        for what, found in do("decode", rounds=21).items():
            plain, ours = found["json.loads"], found["this SDK"]
            cells = [
                number(self.add(f"decode {what} {name}", "µs", costs).value)
                for name, costs in found.items()
            ]
            row = self.ratio(f"decode {what} SDK ÷ json.loads", ours, plain)
            lines.append([what, *cells, with_spread(row)])
        head = ["µs", "json.loads", "json + cattrs", "this SDK", "SDK ÷ json.loads"]
        say(table("Decoding alone", head, lines))

    def scale(self) -> None:
        keys, statuses = 1_000_000, 60_000
        fan_out = do("growth_of_fan_out", keys=keys)
        grown = do("growth_of_statuses", ports=self.ports, keys=statuses)
        lines = []

        def add(name: str, unit: str, values: list[float], floor: float) -> None:
            row = self.add(name, unit, values, judged=True, floor=floor)
            lines.append([name, with_spread(row) if len(values) > 1 else number(row.value), unit])

        add(f"fan_out over {keys:,} keys: growth", "MiB", [fan_out["MiB"]], 1.0)
        add(f"fan_out over {keys:,} keys: CPU time", "µs a key", [fan_out["µs a key"]], 0.5)
        add(f"{statuses:,} statuses: growth", "MiB", [grown["MiB"]], 1.0)
        one, two = [], []
        for _ in range(3):
            one.append(do("throughput", ports=self.ports, processes=1, seconds=1.2))
            two.append(do("throughput", ports=self.ports, processes=2, seconds=1.2))
        self.add("throughput of one process", "1/s", one)
        lines.append(["throughput of one process", number(spread(one)[1]), "1/s"])
        add("two processes ÷ one: throughput", "×", paired(two, one), 0.1)
        say(table("Scale", ["", "", "unit"], lines))

    def transport(self) -> None:
        with server("benchmarks.variants") as variants:
            for text in TransportSection(self, variants.told).tables():
                say(text)


def _percentile(values: Iterable[float], share: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * share // 100)]


def say(text: str) -> None:
    print(text, flush=True)
