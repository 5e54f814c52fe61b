"""The sections of a report about now: the headline, problems, regions and all buckets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby

from flashback_async import NodeState, NodeStatus
from flashback_async.pages.findings import Findings, Problem
from flashback_async.pages.look import LOOKS, NOT_REPORTED, ONLINE, UNKNOWN, Look, look_of
from flashback_async.pages.markup import (
    Child,
    Markup,
    foreign,
    join,
    scroll,
    section,
    shortened,
    tag,
)
from flashback_async.pages.phrases import age, plural, verb

_OPEN = 40  # problems that are shown at once
_ROWS = 160  # problems with a row of their own; the others are listed by id
_NODES = 6  # nodes that such a row names
_LISTED = 195_000  # characters of lists of ids, so that no account makes a huge file
_REASONS = 30
_MANY = 1_500  # buckets from which on their cells are smaller
_REGIONS = 60
_OTHER_STATES = 4  # columns for states that the API is not known to report
_HEADER = {"scope": "col"}


def headline(found: Findings) -> str:
    """Return in one sentence what matters most."""
    every = plural(found.total, "bucket")
    bad, silent = len(found.problems), found.unanswered
    if not found.total:
        return "There is no bucket to report on"
    if silent == found.total:
        return "The bucket did not answer" if silent == 1 else f"None of {every} answered"
    if bad:
        return f"{bad:,} of {every} {verb(bad, 'has', 'have')} a node that is not ONLINE"
    if silent:
        return f"{silent:,} of {every} did not answer"
    return f"Every node of {every} is ONLINE" if found.states else f"{every} without a node"


def tone(found: Findings) -> Look:
    """Return the look of the headline."""
    if found.problems:
        return found.problems[0].look
    return UNKNOWN if found.silent else ONLINE if found.states else NOT_REPORTED


def more(found: Findings) -> str:
    """Return what else there is to say, in sentences."""
    said = []
    if found.down:
        said.append(f"{plural(found.down, 'bucket')} {_have(found.down)} no node ONLINE.")
    if found.silent and (found.problems or found.unanswered == found.total):
        if found.problems:
            said.append(f"{plural(found.unanswered, 'bucket')} did not answer.")
    elif found.silent and found.well:
        said.append("Every node of the others is ONLINE.")
    if found.empty and found.states:
        said.append(f"{plural(len(found.empty), 'bucket')} {_have(len(found.empty))} no nodes.")
    return " ".join(said)


def figures(found: Findings) -> Markup:
    """Return the counts in large type."""
    online = f"{found.states[NodeState.ONLINE]:,}"
    of = tag("small", f" of {found.states.total():,}")
    pairs: list[tuple[str, Child]] = [
        ("Buckets", f"{found.total:,}"),
        ("Every node ONLINE", f"{found.well:,}"),
        ("With a problem", f"{len(found.problems):,}"),
        ("Without an answer", f"{found.unanswered:,}"),
        ("Nodes ONLINE", [online, of]),
    ]
    shown = (tag("div", tag("dt", name), tag("dd", number)) for name, number in pairs)
    return tag("dl", shown, class_="figures")


def state(look: Look, number: int | None = None) -> Markup:
    """Return a state as glyph and word, with a number before the word if there is one."""
    count = "" if number is None else f"{number:,} "
    glyph = tag("i", look.glyph, aria_hidden="true")
    return tag("span", glyph, f" {count}", foreign(look.word, 40), class_=f"state s-{look.css}")


def problems(found: Findings, now: datetime) -> Iterator[Markup]:
    """Yield the sections of what is wrong; if nothing is, one that says so."""
    if found.problems:
        yield _problems(found, now)
    if found.silent:
        yield _silent(found)
    if not (found.problems or found.silent) and found.states:
        words = "Every bucket answered, and every node is ONLINE."
        yield section("problems", "No problems", tag("p", words))


def _problems(found: Findings, now: datetime) -> Markup:
    first, folded = found.problems[:_OPEN], found.problems[_OPEN:_ROWS]
    intro = "Buckets without a node ONLINE come first."
    parts = [tag("p", intro), _table(first, now)]
    if folded:
        summary = tag("summary", f"The next {plural(len(folded), 'bucket')}")
        parts.append(tag("details", summary, _table(folded, now)))
    title = f"{plural(len(found.problems), 'bucket')} with nodes that are not ONLINE"
    return section("problems", title, parts, _rest(found.problems[_ROWS:]))


def _table(shown: list[Problem], now: datetime) -> Markup:
    names = ("Bucket", "ONLINE", "Nodes that are not ONLINE")
    return tag(
        "table",
        tag("caption", "Buckets with nodes that are not ONLINE", class_="hidden"),
        tag("thead", tag("tr", (tag("th", name, **_HEADER) for name in names))),
        tag("tbody", (_row(problem, now) for problem in shown)),
        class_="problems",
    )


def _row(problem: Problem, now: datetime) -> Markup:
    online = problem.total - len(problem.nodes)
    shown, hidden = problem.nodes[:_NODES], len(problem.nodes) - _NODES
    nodes = [tag("div", _node(node, now)) for node in shown]
    if hidden > 0:
        nodes.append(tag("div", f"and {hidden:,} more", class_="muted"))
    return tag(
        "tr",
        tag("th", foreign(problem.bucket_id), scope="row", class_="id"),
        tag("td", f"{online:,} of {problem.total:,}", class_="total" if not online else None),
        tag("td", nodes),
    )


def _node(node: NodeStatus, now: datetime) -> list[Markup]:
    facts = [node.ip, node.region, node.version]
    texts = [foreign(fact, 60) for fact in facts if fact is not None]
    if node.last_updated is not None:
        texts.append(tag("span", f"updated {age(node.last_updated, now)}", class_="muted"))
    separated = [Markup(" "), *(Markup(f"{text}, ") for text in texts[:-1]), *texts[-1:]]
    return [state(look_of(node.state)), *separated]


def _rest(rest: list[Problem]) -> Iterator[Markup]:
    """Yield lists of the problems that have no row, by what is wrong."""
    groups: dict[str, list[str]] = {}
    for problem in rest:
        states = Counter(look_of(node.state).word for node in problem.nodes)
        said = ", ".join(f"{n:,} {shortened(word, 40)}" for word, n in states.most_common(3))
        groups.setdefault(f"{said} of {plural(problem.total, 'node')}", []).append(
            problem.bucket_id
        )
    yield from _lists(groups)


def _silent(found: Findings) -> Markup:
    reasons = dict(list(found.silent.items())[:_REASONS])
    others = [i for ids in list(found.silent.values())[_REASONS:] for i in ids]
    if others:
        reasons["For other reasons"] = others
    title = f"{plural(found.unanswered, 'bucket')} did not answer"
    intro = "Whether their nodes are ONLINE is not known."
    return section("silent", title, tag("p", intro), *_lists(reasons))


def _lists(groups: dict[str, list[str]]) -> Iterator[Markup]:
    """Yield the ids of each group, as many as there is room for."""
    room = _LISTED
    for why, ids in groups.items():
        listed = []
        for bucket_id in ids:
            item = foreign(bucket_id)
            room -= len(item) + 2
            if room < 0:
                break
            listed.append(item)
        text = Markup(", ".join(listed))
        left = len(ids) - len(listed)
        unlisted = f"{'; and' if listed else ''} {left:,} more, not listed here" if left else ""
        yield tag(
            "details",
            tag("summary", foreign(why), tag("span", f" {len(ids):,}", class_="muted")),
            tag("p", text, unlisted, class_="ids"),
            open=len(ids) <= 12,
        )


def contents(found: Findings, *, has_history: bool) -> Markup:
    """Return links to the sections."""
    links = [
        ("problems", "Problems", found.problems or (found.states and not found.silent)),
        ("silent", "Without an answer", found.silent),
        ("regions", "Regions", found.states),
        ("calendar", "Uptime", has_history),
        ("all", "All buckets", found.total),
    ]
    shown = [tag("a", words, href=f"#{name}") for name, words, is_there in links if is_there]
    separated = [part for link in shown for part in (Markup(" "), link)]
    return tag("nav", separated, aria_label="Sections") if shown else Markup()


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
        others = [next(look for look in LOOKS if look.css == "other")]
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
    named = _ROWS  # cells that a pointer names, as many as have a row
    down = [problem for problem in found.problems if problem.is_total]
    partly = [problem for problem in found.problems if not problem.is_total]
    yield _group("No node ONLINE", [(p.look, p.bucket_id) for p in down], named)
    for look in LOOKS:
        some = [(p.look, p.bucket_id) for p in partly if p.look.css == look.css]
        words = "in another state" if look.css == "other" else look.word
        yield _group(f"Some nodes {words}", some, max(0, named - len(down)))
    silent = [(UNKNOWN, bucket_id) for ids in found.silent.values() for bucket_id in ids]
    yield _group("No answer", silent, named)
    yield _group("No nodes", [(NOT_REPORTED, bucket_id) for bucket_id in found.empty], named)
    yield _group("Every node ONLINE", [(ONLINE, "")] * found.well, 0)


def _group(title: str, members: list[tuple[Look, str]], named: int) -> Markup:
    """Return a group of cells; the first few have titles that name them."""
    if not members:
        return Markup()
    label = f"{title}: {plural(len(members), 'bucket')}"
    count = tag("span", f" {len(members):,}", class_="muted")
    picture = tag("div", _cells(members, named), class_="cells", role="img", aria_label=label)
    return tag("div", tag("h3", title, count), picture, class_="group")


def _cells(members: Iterable[tuple[Look, str]], named: int) -> Iterator[Markup]:
    """Yield the cells, those of the same look together, so that each needs few characters."""
    places = enumerate(members)
    for look, run in groupby(places, lambda place: place[1][0]):
        if look is ONLINE:
            yield Markup("<i></i>" * len(list(run)))
            continue
        titles = (shortened(i, 80) if place < named else None for place, (_, i) in run)
        found = [tag("b", look.glyph, title=title) for title in titles]
        yield tag("span", found, class_=f"s-{look.css}")


def _have(number: int) -> str:
    return verb(number, "has", "have")
