"""Two trees of this project, compared by processes that take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.answers import BUCKET_ID, DAY, LISTED, SIZES, TOKEN
from benchmarks.measure import paired, spread
from benchmarks.processes import ROOT
from benchmarks.report import number, table

PAIRS = 15
_WORKER = ROOT / "benchmarks" / "against_worker.py"

Costs = dict[str, float]  # CPU microseconds per call, by case


class Comparison:
    """Measurements of this tree and of another one, made with this tree's libraries and server."""

    def __init__(self, other: Path, ports: dict[str, int], **sizes: int) -> None:
        """Check the other tree; `sizes` replace those of the blocks."""
        self.trees = {"this": ROOT, "other": other.expanduser().resolve()}
        if not (self.trees["other"] / "flashback_async" / "__init__.py").is_file():
            raise SystemExit(f"{other}: there is no package flashback_async in it")
        few, many = (f"http://127.0.0.1:{ports[str(size)]}" for size in SIZES)
        self._job = {
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
            "blocks": 5,
        } | sizes

    def run(self, pairs: int = PAIRS) -> dict[str, list[Costs]]:
        """Return each tree's costs, the n-th of both measured one right after the other."""
        costs: dict[str, list[Costs]] = {name: [] for name in self.trees}
        with tempfile.TemporaryDirectory() as folder:
            bytecode = sys.pycache_prefix or folder
            for pair in range(pairs):
                for name in sorted(costs, reverse=pair % 2 == 0):
                    costs[name].append(self._measure(self.trees[name], bytecode))
        return costs

    def _measure(self, tree: Path, bytecode: str) -> Costs:
        environment = os.environ | {
            "PYTHONPATH": str(tree),
            "PYTHONSAFEPATH": "1",  # nothing comes from the folder of the script
            # Bytecode is kept, so that no process compiles anew, but not in the other tree.
            "PYTHONPYCACHEPREFIX": bytecode,
            "PYTHONDONTWRITEBYTECODE": "",
        }
        done = subprocess.run(
            [sys.executable, str(_WORKER)],
            input=json.dumps(self._job),
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{tree}: the measurement failed")
        result: dict[str, Any] = json.loads(done.stdout)
        # An editable installation of this tree could come first.
        if not Path(result["file"]).is_relative_to(tree):
            raise SystemExit(f"{tree}: measured {result['file']} instead")
        costs: Costs = result["costs"]
        return costs


def verdict(ratios: list[float]) -> str:
    """Return what the ratios of this tree to the other one say about the cost of a call."""
    low, middle, high = spread(ratios)
    if low <= 1.0 <= high:
        return "no difference"
    return f"{abs(middle - 1) * 100:.1f} % {'more' if middle > 1 else 'less'}"


def tell(costs: dict[str, list[Costs]]) -> str:
    """Return the table of a comparison."""
    lines = []
    for case in costs["this"][0]:
        this, other = ([one[case] for one in costs[name]] for name in ("this", "other"))
        ratios = paired(this, other)
        low, middle, high = spread(ratios)
        lines.append(
            [
                case,
                number(spread(this)[1]),
                number(spread(other)[1]),
                f"{middle:.3f} [{low:.3f}–{high:.3f}]",
                verdict(ratios),
            ]
        )
    title = f"CPU microseconds per call, and the ratio of {len(costs['this'])} pairs [quartiles]"
    return table(title, ["", "this tree", "other tree", "this ÷ other", "this tree costs"], lines)
