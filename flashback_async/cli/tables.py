"""The table of each resource: states in colour, sizes in units, times as ages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from rich.text import Text

from flashback_async import BucketStats, DailyNodeStats, NodeStatus, Outcome
from flashback_async.cli import grid, text
from flashback_async.cli.grid import Column, Group
from flashback_async.cli.records import View

_STYLES = {"ONLINE": "green", "OFFLINE": "bold red", "DISCONNECTED": "yellow"}


class _Table(NamedTuple):
    columns: tuple[Column, ...]
    cells: Callable[[Any, datetime], list[Text]]


def show(view: View[Any, Any], outcomes: Sequence[Outcome[Any, Any]]) -> None:
    """Print the successes as a table, in the order of the input."""
    table, now = _TABLES[view.item], datetime.now(UTC)
    groups = [
        Group(view.label(o.key), _rows(table, view.items(o.unwrap()), now))
        for o in sorted(outcomes, key=lambda o: o.index)
        if o.ok
    ]
    if view.item is BucketStats and len(groups) > 1:
        groups.append(Group("Total", [_totals([o.unwrap() for o in outcomes if o.ok])]))
    if groups:
        title = " ".join(name.removesuffix("_id").capitalize() for name in view.key_names)
        grid.show(grid.make_console(), title, table.columns, groups)


def state(value: str | None) -> Text:
    """Return a node's state in its colour; an unknown state has none."""
    return Text(text.optional(value), style=_STYLES.get(value or "", ""))


def _rows(table: _Table, items: Sequence[Any], now: datetime) -> list[list[Text]]:
    if items:
        return [table.cells(item, now) for item in items]
    blank = [Text() for _ in table.columns]
    return [[Text("no nodes", style="dim"), *blank[1:]]]


def _totals(stats: Sequence[BucketStats]) -> list[Text]:
    def total(values: list[int | None]) -> int:
        return sum(value for value in values if value is not None)

    whole = BucketStats(
        bucket_id="",
        total_count=total([s.total_count for s in stats]),
        total_upload_bytes=total([s.total_upload_bytes for s in stats]),
        total_download_bytes=total([s.total_download_bytes for s in stats]),
        total_size_change=total([s.total_size_change for s in stats]),
    )
    return [Text(cell.plain, style="bold") for cell in _stats_cells(whole, datetime.now(UTC))]


def _status_cells(node: NodeStatus, now: datetime) -> list[Text]:
    return [
        state(node.state),
        Text(text.milliseconds(node.latency_ms)),
        Text(text.optional(node.region)),
        Text(text.optional(node.ip)),
        Text(text.optional(node.version), style="dim"),
        Text(text.age(node.last_updated, now), style="dim"),
    ]


def _stats_cells(stats: BucketStats, _: datetime) -> list[Text]:
    return [
        Text(text.count(stats.total_count)),
        Text(text.size(stats.total_upload_bytes)),
        Text(text.size(stats.total_download_bytes)),
        Text(text.size(stats.total_size_change, signed=True)),
    ]


def _daily_cells(node: DailyNodeStats, now: datetime) -> list[Text]:
    return [
        state(node.state),
        Text(text.percent(node.uptime_percent)),
        Text(text.milliseconds(node.avg_latency_ms)),
        Text(text.milliseconds(node.last_latency_ms)),
        Text(text.optional(node.ip)),
        Text(text.optional(node.host)),
        Text(text.optional(node.version), style="dim"),
        Text(text.age(node.last_updated, now), style="dim"),
    ]


_TABLES: dict[type, _Table] = {
    NodeStatus: _Table(
        (
            Column("State"),
            Column("Latency", right=True),
            Column("Region"),
            Column("Node"),
            Column("Version", optional=True),
            Column("Updated", right=True, optional=True),
        ),
        _status_cells,
    ),
    BucketStats: _Table(
        (
            Column("Objects", right=True),
            Column("Upload", right=True),
            Column("Download", right=True),
            Column("Change", right=True),
        ),
        _stats_cells,
    ),
    DailyNodeStats: _Table(
        (
            Column("State"),
            Column("Uptime", right=True),
            Column("Mean", right=True),
            Column("Last", right=True),
            Column("Node"),
            Column("Host", optional=True),
            Column("Version", optional=True),
            Column("Updated", right=True, optional=True),
        ),
        _daily_cells,
    ),
}
