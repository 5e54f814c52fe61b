"""Two trees of this project, compared by processes that take turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from benchmarks.answers import BUCKET_ID, DAY, LISTED, SIZES, TOKEN
from benchmarks.measure import paired, spread
from benchmarks.processes import ROOT
from benchmarks.report import number, table

PAIRS = 6
CASES = (
    "status.get, 3 nodes",
    "status.get, 50 nodes",
    "node_stats.get, 3 nodes",
    "bucket_stats.list, 100 ids",
    "status.iter_many, 3 nodes",
)
_WORKER = ROOT / "benchmarks" / "against_worker.py"

Blocks = dict[str, list[float]]  # CPU microseconds of a call in each block, by case


class Comparison:
    """Measurements of this tree and of another one, made with this tree's libraries and server."""

    def __init__(
        self, other: Path, ports: dict[str, int], transport: str | None = None, **sizes: int
    ) -> None:
        """Check the other tree; `sizes` replace those of the blocks.

        None as the transport is what each tree's client takes by default.
        """
        self.trees = {"this": ROOT, "other": other.expanduser().resolve()}
        if not (self.trees["other"] / "flashback_async" / "__init__.py").is_file():
            raise SystemExit(f"{other}: there is no package flashback_async in it")
        few, many = (f"http://127.0.0.1:{ports[str(size)]}" for size in SIZES)
        self._job: dict[str, Any] = {
            "transport": transport,
            "token": TOKEN,
            "day": DAY.isoformat(),
            "id_template": BUCKET_ID,
            "few_nodes": few,
            "many_nodes": many,
            "at_once": 64,
            "ids_in_list": LISTED,
            "calls": 384,
            "lists": 128,
            "warm_ups": 2,
            "blocks": 24,
        } | sizes

    def run(self, pairs: int = PAIRS) -> dict[str, list[Blocks]]:
        """Return each tree's blocks in each pair of processes, which take turns block by block."""
        measured: dict[str, list[Blocks]] = {name: [] for name in self.trees}
        with tempfile.TemporaryDirectory() as folder:
            links = _links(self.trees, Path(folder).resolve())
            bytecode = sys.pycache_prefix or folder
            for _ in range(pairs):
                with ExitStack() as stack:
                    workers = {
                        name: stack.enter_context(_Worker(tree, links[name], bytecode, self._job))
                        for name, tree in self.trees.items()
                    }
                    pair = self._pair(workers)
                for name, blocks in pair.items():
                    measured[name].append(blocks)
        return measured

    def _pair(self, workers: dict[str, _Worker]) -> dict[str, Blocks]:
        pair: dict[str, Blocks] = {name: {} for name in workers}
        for case in CASES:
            for _ in range(self._job["warm_ups"]):
                for worker in workers.values():
                    worker.block(case)
            for block in range(self._job["blocks"]):
                # What one block leaves behind for the next one hits both trees alike.
                for name in sorted(workers, reverse=block % 2 == 0):
                    pair[name].setdefault(case, []).append(workers[name].block(case))
        return pair


def _links(trees: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Link to each tree by a path of the same length.

    The length of paths shifts what a process has in memory, and so by a few percent its speed.
    """
    links = {name: folder / f"{number}" for number, name in enumerate(trees)}
    for name, link in links.items():
        link.symlink_to(trees[name], target_is_directory=True)
    return links


class _Worker:
    """A process that measures one tree, which it finds under ``link``."""

    def __init__(self, tree: Path, link: Path, bytecode: str, job: dict[str, Any]) -> None:
        self._tree = tree
        self._link = link
        self._job = job
        environment = os.environ | {
            "PYTHONPATH": str(link),
            "PYTHONSAFEPATH": "1",  # nothing comes from the folder of the script
            # Bytecode is kept, so that no process compiles anew, but not in the other tree.
            "PYTHONPYCACHEPREFIX": bytecode,
            "PYTHONDONTWRITEBYTECODE": "",
        }
        self._process = subprocess.Popen(
            [sys.executable, str(_WORKER)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> _Worker:
        package = self._ask(json.dumps(self._job))
        # An editable installation of this tree could come first.
        if not Path(package).is_relative_to(self._link):
            self.__exit__()
            raise SystemExit(f"{self._tree}: measured {package} instead")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def block(self, case: str) -> float:
        """Run one block of calls and return the CPU microseconds of each."""
        return float(self._ask(case))

    def _ask(self, line: str) -> str:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(line + "\n")
            process.stdin.flush()
        answer = process.stdout.readline().rstrip("\n")
        if not answer:
            self.__exit__()
            raise SystemExit(f"{self._tree}: the measurement failed")
        return answer


def ratios(this: list[Blocks], other: list[Blocks], case: str) -> list[float]:
    """Return the ratio of each pair of processes: the median of those of neighbouring blocks."""
    return [
        statistics.median(paired(ours[case], theirs[case]))
        for ours, theirs in zip(this, other, strict=True)
    ]


def verdict(ratios: list[float]) -> str:
    """Return what the ratios of this tree to the other one say about the cost of a call."""
    low, middle, high = spread(ratios)
    if low <= 1.0 <= high:
        return "no difference"
    return f"{abs(middle - 1) * 100:.1f} % {'more' if middle > 1 else 'less'}"


def tell(measured: dict[str, list[Blocks]]) -> str:
    """Return the table of a comparison."""
    this, other = measured["this"], measured["other"]
    lines = []
    for case in this[0]:
        found = ratios(this, other, case)
        low, middle, high = spread(found)
        absolute = (
            number(spread([cost for pair in tree for cost in pair[case]])[1])
            for tree in (this, other)
        )
        lines.append([case, *absolute, f"{middle:.3f} [{low:.3f}–{high:.3f}]", verdict(found)])
    title = f"CPU microseconds per call, and the ratio of {len(this)} pairs [quartiles]"
    return table(title, ["", "this tree", "other tree", "this ÷ other", "this tree costs"], lines)
