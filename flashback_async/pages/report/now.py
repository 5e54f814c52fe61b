"""The sections of a report about all buckets: nodes by region, and a cell for each bucket."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

from flashback_async import NodeState
from flashback_async.pages.look import LOOKS, NOT_REPORTED, ONLINE, OTHER, UNKNOWN, Look, look_of
from flashback_async.pages.report.findings import Findings
from flashback_async.pages.report.markup import (
    Markup,
    Room,
    foreign,
    join,
    scroll,
    section,
    shortened,
    state,
    tag,
)
from flashback_async.pages.report.phrases import plural

_REGIONS = 60
_OTHER_STATES = 4  # columns for states that the API is not known to report
_NAMED = 160  # cells of a group that a pointer names
_NAMES = 24_000  # bytes of their names
_MANY = 1_500  # buckets from which on their cells are smaller
_HEADER = {"scope": "col"}


def regions(found: Findings) -> Markup:
    """Return nodes by region and state, the region with most problems first."""
    if not found.states:
        return Markup()
    columns = _columns(found.states)
    ordered = sorted(found.regions.items(), key=_region_order)
    rows = [_region(_region_name(name), counts, columns) for name, counts in ordered[:_REGIONS]]
    if ordered[_REGIONS:]:
        others: Counter[str | None] = Counter()
        for _, counts in ordered[_REGIONS:]:
            others.update(counts)
        title = join(f"{len(ordered) - _REGIONS:,} other regions")
        rows.append(_region(title, others, columns))
    heads = [tag("th", state(look), class_="n", **_HEADER) for look in columns]
    names = [tag("th", "Region", **_HEADER), tag("th", "Nodes", class_="n", **_HEADER)]
    share = tag("th", tag("span", "Share of each state", class_="hidden"), **_HEADER)
    table = tag(
        "table",
        tag("caption", "Nodes by region and state", class_="hidden"),
        tag("thead", tag("tr", names, heads, share)),
        tag("tbody", rows),
        class_="regions",
    )
    intro = "Nodes by region and state; a node that serves several buckets counts for each."
    return section("regions", "Regions", tag("p", intro), scroll(table, "Nodes by region"))


def _columns(states: Counter[str | None]) -> list[Look]:
    """Return the looks that have a column: those that occur, ONLINE first."""
    found = {look_of(state): number for state, number in states.most_common()}
    others = [look for look in found if look.css == "other"]
    if len(others) > _OTHER_STATES:
        others = [OTHER]
    fixed = [look for look in LOOKS if look in found and look.css not in ("other", "online")]
    return [ONLINE, *fixed, *others]


def _region(title: Markup, counts: Counter[str | None], columns: list[Look]) -> Markup:
    numbers = dict.fromkeys(columns, 0)
    catch = columns[-1]
    for name, number in counts.items():
        look = look_of(name)
        numbers[look if look in numbers else catch] += number
    cells = [
        tag("td", f"{n:,}" if n else tag("span", "0", class_="muted"), class_="n")
        for n in numbers.values()
    ]
    total = tag("td", f"{counts.total():,}", class_="n")
    bar = tag("td", _bar(numbers), class_="share")
    return tag("tr", tag("th", title, scope="row"), total, cells, bar)


def _bar(numbers: dict[Look, int]) -> Markup:
    parts, place = [], 0
    for look, number in numbers.items():
        if number:
            drawn = f"M{place} 0h{number}"
            parts.append(tag("path", d=drawn, class_=f"s-{look.css}"))
            place += number
    box = f"0 -1 {place} 2"
    return tag("svg", parts, viewBox=box, preserveAspectRatio="none", aria_hidden="true")


def _region_order(pair: tuple[str | None, Counter[str | None]]) -> tuple[float, int, str]:
    name, counts = pair
    total = counts.total()
    return counts[NodeState.ONLINE] / total, -total, name or ""


def _region_name(name: str | None) -> Markup:
    return tag("em", "not reported") if name is None else foreign(name, 60)


def cells(found: Findings) -> Markup:
    """Return every bucket as a cell, in groups of the same state."""
    if not found.total:
        return Markup()
    groups = [group for group in _groups(found) if group]
    intro = "One cell for each bucket, with the worst state of its nodes."
    size = "many" if found.total > _MANY else None
    return section("all", "All buckets", tag("p", intro), tag("div", groups, class_=size))


def _groups(found: Findings) -> Iterator[Markup]:
    named, names = _NAMED, Room(_NAMES)  # as many as may have a row
    down = [problem for problem in found.problems if problem.is_total]
    partly = [problem for problem in found.problems if not problem.is_total]
    yield _group("No node ONLINE", [(p.look, p.bucket_id) for p in down], named, names)
    for look in LOOKS:
        some = [(p.look, p.bucket_id) for p in partly if p.look.css == look.css]
        words = "in another state" if look.css == "other" else look.word
        yield _group(f"Some nodes {words}", some, max(0, named - len(down)), names)
    silent = [(UNKNOWN, bucket_id) for ids in found.silent.values() for bucket_id in ids]
    yield _group("No answer", silent, named, names)
    empty = [(NOT_REPORTED, bucket_id) for bucket_id in found.empty]
    yield _group("No nodes", empty, named, names)
    yield _group("Every node ONLINE", [(ONLINE, "")] * found.well, 0, names)


def _group(title: str, members: list[tuple[Look, str]], named: int, names: Room) -> Markup:
    """Return a group of cells; the first few have titles that name them."""
    if not members:
        return Markup()
    label = f"{title}: {plural(len(members), 'bucket')}"
    count = tag("span", f" {len(members):,}", class_="muted")
    drawn = _cells(members, named, names)
    picture = tag("div", drawn, class_="cells", role="img", aria_label=label)
    return tag("div", tag("h3", title, count), picture, class_="group")


def _cells(members: Iterable[tuple[Look, str]], named: int, names: Room) -> Iterator[Markup]:
    """Yield the cells, those that look the same together, so that each needs few characters."""
    places = enumerate(members)
    for css, run in groupby(places, lambda place: place[1][0].css):
        if css == ONLINE.css:
            yield Markup("<i></i>" * len(list(run)))
            continue
        found = [_cell(look, i if place < named else None, names) for place, (look, i) in run]
        yield tag("span", found, class_=f"s-{css}")


def _cell(look: Look, bucket_id: str | None, names: Room) -> Markup:
    plain = tag("b", look.glyph)
    if bucket_id is None:
        return plain
    named = tag("b", look.glyph, title=shortened(bucket_id, 80))
    return named if names.take(named) else plain
