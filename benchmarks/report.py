"""Results as rows, which can be printed, kept as JSON, compared with earlier ones, and drawn."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path

import attrs
from attrs import field, frozen

_PACKAGES = ("flashback-async", "aiohttp", "httptools", "httpx", "msgspec", "pyreqwest")
_LEAST_MOVE = 0.05  # ratios of two runs on one quiet machine differ by less


@frozen
class Row:
    """One figure: the median, with its quartiles."""

    name: str
    unit: str
    value: float
    low: float
    high: float
    judged: bool = False  # whether it may be compared with a run on another machine, or another day
    floor: float = 0.0  # the smallest change that means anything


@frozen
class Results:
    """All rows of a run, with its date, Python and machine."""

    rows: list[Row] = field(factory=list)
    about: dict[str, str] = field(factory=lambda: _about())

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{**attrs.asdict(row), **_rounded(row)} for row in self.rows]
        text = json.dumps({"about": self.about, "rows": rows}, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return cls([Row(**row) for row in kept["rows"]], kept["about"])


def _rounded(row: Row) -> dict[str, float]:
    return {name: float(f"{getattr(row, name):.4g}") for name in ("value", "low", "high")}


def _about() -> dict[str, str]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        **{name: version(name) for name in _PACKAGES},
    }


def table(title: str, head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, aligned so that it reads well as plain text too."""
    rows = [list(head), *map(list, lines)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *others = cells
        padded = [first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]
        return f"| {' | '.join(padded)} |"

    rule = [widths[0] * "-", *((width - 1) * "-" + ":" for width in widths[1:])]
    return "\n".join(["", f"**{title}**", "", line(head), line(rule), *map(line, rows[1:])])


def number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def with_spread(row: Row) -> str:
    return f"{number(row.value)} [{number(row.low)}–{number(row.high)}]"


def compare(new: Results, old: Results) -> str:
    """Return a table of the rows that moved by more than the noise of the two runs."""
    before = {row.name: row for row in old.rows}
    lines, judged = [], 0
    for row in new.rows:
        was = before.get(row.name)
        if was is None or not row.judged:
            continue
        judged += 1
        if _moved(row, was):
            change = f"{(row.value / was.value - 1) * 100:+.0f} %" if was.value else "new"
            lines.append([row.name, with_spread(was), with_spread(row), row.unit, change])
    told = f"Compared with {old.about.get('date')} (Python {old.about.get('python')})"
    if not lines:
        return f"\n{told}: none of {judged} rows moved beyond noise."
    title = f"{told}: {len(lines)} of {judged} rows moved beyond noise"
    return table(title, ["row", "was", "is", "unit", "change"], lines)


def _moved(row: Row, was: Row) -> bool:
    """Return whether two medians differ by more than their quartiles and a minimum."""
    noise = ((row.high - row.low) + (was.high - was.low)) / 2
    least = max(_LEAST_MOVE * abs(was.value), row.floor)
    return abs(row.value - was.value) > max(noise, least)


# The chart.

_LEFT, _BAR, _WIDE = 210, 20, 640
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600; font-size: 15px } .note { fill: #57606a; font-size: 12px }
  .bar { fill: #8c959f } .ours { fill: #0969da } .torn { fill: none; stroke: #fff; stroke-width: 4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .note { fill: #9198a1 }
    .bar { fill: #656c76 } .ours { fill: #4493f8 } .torn { stroke: #0d1117 }
  }"""


def chart(title: str, note: str, groups: dict[str, dict[str, float]], ours: str) -> str:
    """Return horizontal bars as an SVG; a bar that would dwarf the others is cut."""
    values = sorted(value for group in groups.values() for value in group.values())
    scale = max(value for value in values if value <= 4 * values[len(values) // 2])
    parts, y = [f'<text class="title" x="0" y="16">{escape(title)}</text>'], 30
    parts.append(f'<text class="note" x="0" y="{y + 6}">{escape(note)}</text>')
    for heading, bars in groups.items():
        y += 34
        parts.append(f'<text class="note" x="0" y="{y}">{escape(heading)}</text>')
        y += 8
        for name, value in bars.items():
            parts += _bar(name, value, y, min(1.0, value / scale), name == ours, value > scale)
            y += _BAR + 6
    size = f'viewBox="0 0 {_LEFT + _WIDE} {y + 4}" width="{_LEFT + _WIDE}"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" '
        f'aria-label="{escape(title)}">\n<style>{_STYLE}\n</style>\n{body}\n</svg>\n'
    )


def _bar(name: str, value: float, y: int, share: float, ours: bool, torn: bool) -> list[str]:
    width = round((_WIDE - 80) * share, 1)
    kind, base = "ours" if ours else "bar", y + _BAR - 5
    drawn = [
        f'<text x="{_LEFT - 10}" y="{base}" text-anchor="end">{escape(name)}</text>',
        f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{width}" height="{_BAR}" rx="2"/>',
        f'<text x="{_LEFT + width + 8}" y="{base}">{number(value)}</text>',
    ]
    if torn:
        at = _LEFT + width - 40
        drawn.append(f'<path class="torn" d="M{at} {y + _BAR + 2} l12 -{_BAR + 4}"/>')
    return drawn
