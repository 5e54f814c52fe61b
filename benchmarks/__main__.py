"""The command line: measure, print tables, and keep, compare or draw the results."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks.against import Comparison, tell
from benchmarks.contenders import Sdk
from benchmarks.processes import ROOT, server
from benchmarks.report import Results, chart, compare
from benchmarks.sections import Run, say

LATEST = ROOT / "benchmarks" / "results" / "latest.json"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the main ratios only, in a minute")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="a section (cpu, cold, latency, memory, first, imports, decode, scale, transport) "
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
        help="compare with another checkout of this project instead; takes --transport alone",
    )
    parser.add_argument(
        "--transport",
        choices=("aiohttp", "direct"),
        help="what carries the requests of both checkouts (by default, what each client takes)",
    )
    arguments = parser.parse_args()
    given = [name for name, value in vars(arguments).items() if value]
    if "against" in given and set(given) - {"against", "transport"}:
        parser.error("--against takes no other option but --transport")
    if "transport" in given and "against" not in given:
        parser.error("--transport needs --against")
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
            comparison = Comparison(arguments.against, canned.told, arguments.transport)
            for name, tree in comparison.trees.items():
                say(f"{name} tree: {tree}")
            say(tell(comparison.run()))
    say(f"\n{time.monotonic() - began:.0f} s")


def _finish(run: Run, arguments: argparse.Namespace) -> None:
    """Compare, keep and draw the results, as far as the arguments ask for it."""
    if not run.results.rows:
        raise SystemExit(f"nothing is called {', '.join(arguments.only)}")
    if arguments.compare is not None:
        say(compare(run.results, Results.load(arguments.compare)))
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
