"""The sections of a report about kept days: the calendar, regions, and the worst nodes."""

from __future__ import annotations

from collections.abc import Iterator

from flashback_async.pages.report.calendar import calendar
from flashback_async.pages.report.markup import Markup, foreign, scroll, section, tag
from flashback_async.pages.report.phrases import percent, plural
from flashback_async.pages.report.uptime import NodeUptime, Uptime

_NODES = 20
_REGIONS = 100
_COLUMN = {"scope": "col"}
_NUMBER = {"scope": "col", "class_": "n"}


def history(uptime: Uptime) -> Iterator[Markup]:
    """Yield the sections about kept days."""
    if not uptime.kept or not uptime.buckets:
        days = plural(uptime.kept, "day")
        words = f"The history holds no node statistics of these buckets ({days} kept)."
        yield section("calendar", "Uptime", tag("p", words))
        return
    yield calendar(uptime)
    yield _regions(uptime)
    yield _nodes(uptime)


def _regions(uptime: Uptime) -> Markup:
    found = sorted(
        uptime.regions.items(),
        key=lambda pair: (float("inf") if pair[1].mean is None else pair[1].mean, pair[0] or ""),
    )
    rows = [
        tag(
            "tr",
            tag("th", _place(name), scope="row"),
            (
                tag("td", text, class_="n")
                for text in (
                    percent(sums.mean),
                    f"{sums.count:,}",
                    f"{sums.below_high:,}",
                    f"{sums.below_low:,}",
                    f"{sums.count - sums.reported:,}",
                )
            ),
        )
        for name, sums in found[:_REGIONS]
    ]
    names = ("Mean uptime", "Node days", "Below 99.9 %", "Below 99 %", "Not reported")
    head = (tag("th", "Region", **_COLUMN), [tag("th", name, **_NUMBER) for name in names])
    table = tag(
        "table",
        tag("caption", "Uptime by region, the lowest first", class_="hidden"),
        tag("thead", tag("tr", head)),
        tag("tbody", rows),
    )
    intro = "A node day is one node of one bucket on one day. The mean is of those with a report."
    left = len(found) - len(rows)
    after = tag("p", f"{plural(left, 'region')} left out.", class_="after") if left else Markup()
    parts = (tag("p", intro), scroll(table, "Uptime by region"), after)
    return section("sla", "Uptime by region", *parts)


def _nodes(uptime: Uptime) -> Markup:
    nodes = uptime.worst_nodes()
    if not nodes:
        return Markup()
    names = ("Mean uptime", "Days below 99 %", "Worst day")
    head = (
        tag("th", "Node", **_COLUMN),
        tag("th", "Region", **_COLUMN),
        [tag("th", name, **_NUMBER) for name in names],
        tag("th", "Buckets", **_COLUMN),
    )
    table = tag(
        "table",
        tag("caption", "Nodes with the lowest mean uptime", class_="hidden"),
        tag("thead", tag("tr", head)),
        tag("tbody", (_node(node) for node in nodes[:_NODES])),
    )
    shown = min(len(nodes), _NODES)
    intro = f"The {shown:,} nodes with the lowest mean uptime, of {len(nodes):,}."
    return section("nodes", "Worst nodes", tag("p", intro), scroll(table, "Worst nodes"))


def _node(node: NodeUptime) -> Markup:
    first = min(node.bucket_ids)
    others = len(node.bucket_ids) - 1
    buckets = [foreign(first, 60), f" and {others:,} more" if others else ""]
    name = tag("em", "no address") if node.ip is None else foreign(node.ip, 60)
    return tag(
        "tr",
        tag("th", name, scope="row", class_="id"),
        tag("td", _place(node.region)),
        tag("td", percent(node.mean), class_="n"),
        tag("td", f"{node.below_low:,} of {node.reported:,}", class_="n"),
        tag("td", f"{node.worst_day}: {percent(node.worst)}", class_="n"),
        tag("td", buckets, class_="id"),
    )


def _place(region: str | None) -> Markup:
    return tag("em", "not reported") if region is None else foreign(region, 60)
