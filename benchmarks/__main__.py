"""The command line: measure, print tables, and keep, compare or draw the results."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.against import Comparison, tell
from benchmarks.contenders import BY_NAME, Aiohttp, Floor, Httpx, Sdk, SdkReport, Typed
from benchmarks.measure import CELLS, Cell, paired, spread
from benchmarks.processes import ROOT, do, loops, server
from benchmarks.report import Results, Row, chart, compare, number, table, with_spread

LATEST = ROOT / "benchmarks" / "results" / "latest.json"
_QUICK_CELLS = 2
_ROUNDS = 15
_IN_FLIGHT = 256
_KEYS = (1000, 4000)
_RATE = 500.0

_LABELS = {"status": "status", "node_stats": "daily stats", "list": "list"}
_COLUMNS = (Floor, Aiohttp, Typed, Httpx, SdkReport, Sdk)
_RIVALS = (Aiohttp, Typed, Httpx)


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
        }

    def go(self) -> None:
        for name, section in self.sections.items():
            wanted = self._cells() if name == "cpu" else name in self.only
            if wanted if self.only else name == "cpu" or not self.quick:
                section()

    def _add(
        self, name: str, unit: str, values: list[float], *, judged: bool = False, floor: float = 0.0
    ) -> Row:
        low, middle, high = spread(values)
        row = Row(name, unit, middle, low, high, judged, floor)
        self.results.rows.append(row)
        return row

    def _ratio(
        self, name: str, slower: list[float], faster: list[float], *, judged: bool = True
    ) -> Row:
        return self._add(name, "×", paired(slower, faster), judged=judged)

    # CPU time.

    def _cells(self) -> list[Cell]:
        cells = CELLS[:_QUICK_CELLS] if self.quick else CELLS
        if not self.only or "cpu" in self.only:
            return cells
        return [cell for cell in cells if any(cell.name.startswith(name) for name in self.only)]

    def cpu(self) -> None:
        names = [kind.name for kind in _COLUMNS if not (self.quick and kind is SdkReport)]
        for loop in loops():
            cells = [cell.name for cell in self._cells()]
            costs = do("cpu", ports=self.ports, loop=loop, cells=cells, rounds=_ROUNDS, names=names)
            absolute, ratios = [], []
            for cell in map(Cell.of, cells):
                found = costs[cell.name]
                absolute.append([_label(cell), *self._absolute(f"{loop} {cell.name}", found)])
                ratios.append([_label(cell), *self._ratios(f"{loop} {cell.name}", found)])
                if loop == "asyncio" and cell in CELLS[:_QUICK_CELLS]:
                    self.bars[f"{cell.size} nodes in the answer"] = _bars(found)
            head = ["call", *(kind.name for kind in _RIVALS)]
            _say(
                table(f"{loop}: CPU time of each, divided by this SDK's [quartiles]", head, ratios)
            )
            head = ["µs", *(kind.name for kind in _COLUMNS)]
            _say(table(f"{loop}: CPU microseconds per call", head, absolute))

    def _absolute(self, name: str, found: dict[str, list[float]]) -> list[str]:
        return [
            number(self._add(f"cpu {name} {kind.name}", "µs", found[kind.name]).value)
            if kind.name in found
            else "–"
            for kind in _COLUMNS
        ]

    def _ratios(self, name: str, found: dict[str, list[float]]) -> list[str]:
        return ["–" if row is None else with_spread(row) for row in self._rows(name, found)]

    def _rows(self, name: str, found: dict[str, list[float]]) -> Iterator[Row | None]:
        for kind in _RIVALS:
            if kind.name not in found:
                yield None
                continue
            # The cost of httpx depends on how many connections its pool happens to hold.
            judged = kind is not Httpx
            pair = found[kind.name], found[Sdk.name]
            yield self._ratio(f"cpu {name} {kind.name} ÷ SDK", *pair, judged=judged)

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
                rounds=_ROUNDS,
                names=names,
                cold=cold,
            )[cell]
            label = "cold" if cold else "warm"
            row = self._ratio(f"{label} {cell} ÷ SDK", found[Aiohttp.name], found[Sdk.name])
            cells = [number(self._add(f"{label} {n}", "µs", found[n]).value) for n in names]
            lines.append([label, *cells, with_spread(row)])
        head = ["µs", *names, "aiohttp ÷ SDK"]
        _say(table("asyncio: memory of the C library cold and warm (status, 3 nodes)", head, lines))

    # Other costs.

    def latency(self) -> None:
        for loop in loops():
            times = do("latency", ports=self.ports, loop=loop, rate=_RATE, seconds=2.0, slices=2)
            lines = []
            for name, taken in times.items():
                shown = [
                    self._add(f"latency {loop} {name} p{share}", "ms", [_percentile(taken, share)])
                    for share in (50, 90, 99)
                ]
                lines.append([name, *(number(row.value) for row in shown)])
            title = f"{loop}: latency of a status in ms, {_RATE:.0f} calls a second, open loop"
            _say(table(title, ["", "p50", "p90", "p99"], lines))

    def memory(self) -> None:
        lines = []
        for name in BY_NAME:
            if name == SdkReport.name:
                flight = None
            else:
                flight = self._bytes("memory_in_flight", name, calls=_IN_FLIGHT)
            key = None
            if name != Httpx.name:
                key = self._bytes("memory_per_key", name, fewer=_KEYS[0], more=_KEYS[1])
            shown = ["–" if row is None else f"{row.value:,.0f}" for row in (flight, key)]
            lines.append([name, *shown])
        title = f"Bytes for each call in flight (of {_IN_FLIGHT}), and for each key of a run"
        _say(table(title, ["", "in flight", "per key"], lines))

    def _bytes(self, task: str, name: str, **options: Any) -> Row:
        held = max(0.0, do(task, ports=self.ports, name=name, **options))
        return self._add(f"{task} {name}", "B", [held], judged=True, floor=300)

    def first(self) -> None:
        keys = 5000
        times = do("first_result", ports=self.ports, keys=keys, rounds=5)
        lines = [
            [name, with_spread(self._add(f"first result {name}", "ms", taken))]
            for name, taken in times.items()
        ]
        _say(table(f"Milliseconds to the first of {keys:,} statuses", ["", "ms"], lines))

    def imports(self) -> None:
        costs = do("imports", rounds=5)
        bare = costs.pop("nothing")
        more = {
            name: [max(0.01, used - none) for used, none in zip(taken, bare, strict=True)]
            for name, taken in costs.items()
        }
        lines = [
            [name, with_spread(self._add(f"import {name}", "ms", taken))]
            for name, taken in more.items()
        ]
        row = self._ratio(
            "import FlashbackClient ÷ aiohttp", more["FlashbackClient"], more["aiohttp"]
        )
        lines.append(["FlashbackClient ÷ aiohttp", with_spread(row)])
        _say(
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
                number(self._add(f"decode {what} {name}", "µs", costs).value)
                for name, costs in found.items()
            ]
            row = self._ratio(f"decode {what} SDK ÷ json.loads", ours, plain)
            lines.append([what, *cells, with_spread(row)])
        head = ["µs", "json.loads", "json + cattrs", "this SDK", "SDK ÷ json.loads"]
        _say(table("Decoding alone", head, lines))

    def scale(self) -> None:
        keys, statuses = 1_000_000, 60_000
        fan_out = do("growth_of_fan_out", keys=keys)
        grown = do("growth_of_statuses", ports=self.ports, keys=statuses)
        lines = []

        def add(name: str, unit: str, values: list[float], floor: float) -> None:
            row = self._add(name, unit, values, judged=True, floor=floor)
            lines.append([name, with_spread(row) if len(values) > 1 else number(row.value), unit])

        add(f"fan_out over {keys:,} keys: growth", "MiB", [fan_out["MiB"]], 1.0)
        add(f"fan_out over {keys:,} keys: CPU time", "µs a key", [fan_out["µs a key"]], 0.5)
        add(f"{statuses:,} statuses: growth", "MiB", [grown["MiB"]], 1.0)
        one, two = [], []
        for _ in range(3):
            one.append(do("throughput", ports=self.ports, processes=1, seconds=1.2))
            two.append(do("throughput", ports=self.ports, processes=2, seconds=1.2))
        self._add("throughput of one process", "1/s", one)
        lines.append(["throughput of one process", number(spread(one)[1]), "1/s"])
        add("two processes ÷ one: throughput", "×", paired(two, one), 0.1)
        _say(table("Scale", ["", "", "unit"], lines))


def _label(cell: Cell) -> str:
    size = f"{cell.size} {'ids' if cell.call == 'list' else 'nodes'}"
    return f"{_LABELS[cell.call]}, {size}, {cell.concurrency} at once"


def _bars(found: dict[str, list[float]]) -> dict[str, float]:
    kinds = (Sdk, Aiohttp, Typed, Httpx)
    return {kind.name: spread(found[kind.name])[1] for kind in kinds}


def _percentile(values: Iterable[float], share: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * share // 100)]


def _say(text: str) -> None:
    print(text, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="the main ratios only, in half a minute"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="a section (cpu, cold, latency, memory, first, imports, decode, scale) "
        "or the start of a cell's name (status-3-64, list); may be repeated",
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="keep the results")
    parser.add_argument(
        "--compare",
        type=Path,
        nargs="?",
        const=LATEST,
        metavar="PATH",
        help="say which rows moved since an earlier result (by default results/latest.json)",
    )
    parser.add_argument("--svg", type=Path, metavar="PATH", help="draw the main figures")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="PATH",
        help="compare with another checkout of this project instead; takes no other option",
    )
    arguments = parser.parse_args()
    given = [name for name, value in vars(arguments).items() if value]
    if "against" in given and len(given) > 1:
        parser.error("--against takes no other option")
    return arguments


def main() -> None:
    arguments = _arguments()
    if arguments.compare is not None and not arguments.compare.exists():
        raise SystemExit(f"{arguments.compare}: there is no earlier result")
    began = time.monotonic()
    with server("benchmarks.server") as canned:
        if arguments.against is None:
            run = Run(canned.told, quick=arguments.quick, only=arguments.only)
            run.go()
            _finish(run, arguments)
        else:
            comparison = Comparison(arguments.against, canned.told)
            for name, tree in comparison.trees.items():
                _say(f"{name} tree: {tree}")
            _say(tell(comparison.run()))
    _say(f"\n{time.monotonic() - began:.0f} s")


def _finish(run: Run, arguments: argparse.Namespace) -> None:
    """Compare, keep and draw the results, as far as the arguments ask for it."""
    if not run.results.rows:
        raise SystemExit(f"nothing is called {', '.join(arguments.only)}")
    if arguments.compare is not None:
        _say(compare(run.results, Results.load(arguments.compare)))
    if arguments.json is not None:
        run.results.save(arguments.json)
    if arguments.svg is not None:
        if not run.bars:
            raise SystemExit("the chart needs status-3-64 and status-50-64")
        title = "CPU time of one status request, in microseconds"
        note = "64 at once over loopback, asyncio's loop; shorter is better"
        arguments.svg.parent.mkdir(parents=True, exist_ok=True)
        arguments.svg.write_text(chart(title, note, run.bars, Sdk.name), encoding="utf-8")


if __name__ == "__main__":
    main()
