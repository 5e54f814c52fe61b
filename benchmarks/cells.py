"""The section on CPU time: every kind of call, by every contender."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from benchmarks.contender import Contender
from benchmarks.contenders import (
    OTHERS,
    Aiohttp,
    Httpx,
    Pyreqwest,
    Sdk,
    SdkAiohttp,
    SdkReport,
    Typed,
)
from benchmarks.floor import Floor
from benchmarks.measure import CELLS, Cell, Costs, Pairs, spread, with_the_sdk
from benchmarks.processes import do
from benchmarks.report import Row, number, table, with_spread

if TYPE_CHECKING:
    from benchmarks.sections import Run

ROUNDS = 15
MAIN_CELLS = CELLS[:2]

_LABELS = {"status": "status", "node_stats": "daily stats", "list": "list"}
_COLUMNS = (Floor, Aiohttp, Typed, Httpx, Pyreqwest, SdkReport, SdkAiohttp, Sdk)
_RIVALS = (Aiohttp, Typed, Httpx, Pyreqwest, SdkAiohttp)
_DRAWN = (Sdk, SdkAiohttp, Pyreqwest, Aiohttp, Typed, Httpx)


class CpuSection:
    """The tables of one event loop, whose rows are added to a run."""

    def __init__(self, run: Run, loop: str, cells: list[Cell]) -> None:
        self._run = run
        self._loop = loop
        self._cells = cells

    def tables(self) -> Iterator[str]:
        absolute, ratios = [], []
        for cell, found in self._costs().items():
            absolute.append([_label(cell), *self._absolute(cell, found)])
            ratios.append([_label(cell), *self._ratios(cell, found)])
            if self._loop == "asyncio" and cell in MAIN_CELLS:
                bars = {kind.name: spread(found[kind.name][0])[1] for kind in _DRAWN}
                self._run.bars[f"{cell.size} nodes in the answer"] = bars
        title = f"{self._loop}: CPU time of each, divided by this SDK's [quartiles]"
        yield table(title, ["call", *names_of(_RIVALS)], ratios)
        title = f"{self._loop}: CPU microseconds per call"
        yield table(title, ["µs", *names_of(_COLUMNS)], absolute)

    def _costs(self) -> dict[Cell, Pairs]:
        """Measure each other library in a run of its own, as it would make the rest dearer."""
        main = [kind for kind in _COLUMNS if kind not in OTHERS]
        if self._run.quick:
            main.remove(SdkReport)
        runs = [self._measure(main, self._cells)]
        for kind in OTHERS:
            cells = [cell for cell in self._cells if kind in cell.contenders]
            runs.append(self._measure([Aiohttp, kind, Sdk], cells))
        return {
            cell: with_the_sdk(*(found[cell.name] for found in runs if cell.name in found))
            for cell in self._cells
        }

    def _measure(self, kinds: Sequence[type[Contender]], cells: list[Cell]) -> dict[str, Costs]:
        found: dict[str, Costs] = do(
            "cpu",
            ports=self._run.ports,
            loop=self._loop,
            cells=[cell.name for cell in cells],
            rounds=ROUNDS,
            names=names_of(kinds),
        )
        return found

    def _absolute(self, cell: Cell, found: Pairs) -> list[str]:
        name = f"cpu {self._loop} {cell.name}"
        return [
            number(self._run.add(f"{name} {kind.name}", "µs", found[kind.name][0]).value)
            if kind.name in found
            else "–"
            for kind in _COLUMNS
        ]

    def _ratios(self, cell: Cell, found: Pairs) -> list[str]:
        return ["–" if row is None else with_spread(row) for row in self._rows(cell, found)]

    def _rows(self, cell: Cell, found: Pairs) -> Iterator[Row | None]:
        for kind in _RIVALS:
            if kind.name not in found:
                yield None
                continue
            # The cost of httpx depends on how many connections its pool happens to hold.
            judged = kind is not Httpx
            name = f"cpu {self._loop} {cell.name} {kind.name} ÷ SDK"
            yield self._run.ratio(name, *found[kind.name], judged=judged)


def names_of(kinds: Iterable[type[Contender]]) -> list[str]:
    return [kind.name for kind in kinds]


def _label(cell: Cell) -> str:
    size = f"{cell.size} {'ids' if cell.call == 'list' else 'nodes'}"
    return f"{_LABELS[cell.call]}, {size}, {cell.concurrency} at once"
