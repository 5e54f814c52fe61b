"""The sections of a report about what is wrong: nodes that are not ONLINE, and missing answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import takewhile

from flashback_async import NodeStatus
from flashback_async.pages.look import look_of
from flashback_async.pages.report.findings import Findings, Problem
from flashback_async.pages.report.markup import (
    Markup,
    Room,
    foreign,
    section,
    shortened,
    size,
    state,
    tag,
)
from flashback_async.pages.report.phrases import age, plural

_OPEN = 40  # problems that are shown at once
_ROWS = 160  # problems with a row of their own, at most; the others are listed by id
_NODES = 6  # nodes that such a row names
_LISTED = 195_000  # bytes that rows leave to lists of ids: 5,000 of them, if they are UUIDs
_REASONS = 30
_HEADER = {"scope": "col"}


def problems(found: Findings, now: datetime, room: int) -> Iterator[Markup]:
    """Yield the sections of what is wrong; if nothing is, one that says so.

    Args:
        found: The findings.
        now: When the buckets were asked.
        room: How many bytes rows and lists of ids may take. What has no room is counted.
    """
    if found.problems:
        most = Room(room - min(_LISTED, room // 2))
        made = (_row(problem, now) for problem in found.problems[:_ROWS])
        rows = list(takewhile(most.take, made))
        room -= sum(map(size, rows))
        needed = sum(map(size, _reasons(found, Room(room))))
        lists = list(_rest(found.problems[len(rows) :], Room(room - min(needed, room // 2))))
        room -= sum(map(size, lists))
        yield _problems(len(found.problems), rows, lists)
    if found.silent:
        title = f"{plural(found.unanswered, 'bucket')} did not answer"
        intro = "Whether their nodes are ONLINE is not known."
        yield section("silent", title, tag("p", intro), _reasons(found, Room(room)))
    if not (found.problems or found.silent) and found.states:
        words = "Every bucket answered, and every node is ONLINE."
        yield section("problems", "No problems", tag("p", words))


def _problems(number: int, rows: list[Markup], lists: list[Markup]) -> Markup:
    first, folded = rows[:_OPEN], rows[_OPEN:]
    intro = (
        "Buckets without a node ONLINE come first, then those with a node OFFLINE. Times are "
        "relative to this report."
    )
    parts = [tag("p", intro), _table(first)]
    if folded:
        summary = tag("summary", f"The next {plural(len(folded), 'bucket')}")
        parts.append(tag("details", summary, _table(folded)))
    title = f"{plural(number, 'bucket')} with nodes that are not ONLINE"
    return section("problems", title, parts, lists)


def _table(rows: list[Markup]) -> Markup:
    names = ("Bucket", "ONLINE", "Nodes that are not ONLINE")
    return tag(
        "table",
        tag("caption", "Buckets with nodes that are not ONLINE", class_="hidden"),
        tag("thead", tag("tr", (tag("th", name, **_HEADER) for name in names))),
        tag("tbody", rows),
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
    version = None if node.version is None else f"version {node.version}"
    facts = [node.ip, node.region, version]
    texts = [foreign(fact, 60) for fact in facts if fact is not None]
    if node.last_updated is not None:
        texts.append(tag("span", f"updated {age(node.last_updated, now)}", class_="muted"))
    separated = [Markup(" "), *(Markup(f"{text}, ") for text in texts[:-1]), *texts[-1:]]
    return [state(look_of(node.state)), *separated]


def _rest(rest: list[Problem], room: Room) -> Iterator[Markup]:
    """Yield lists of the problems that have no row, by what is wrong."""
    groups: dict[str, list[str]] = {}
    for problem in rest:
        states = Counter(look_of(node.state).word for node in problem.nodes)
        said = ", ".join(f"{n:,} {shortened(word, 40)}" for word, n in states.most_common(3))
        groups.setdefault(f"{said} of {plural(problem.total, 'node')}", []).append(
            problem.bucket_id
        )
    yield from _lists(groups, room)


def _reasons(found: Findings, room: Room) -> Iterator[Markup]:
    """Yield lists of the buckets that did not answer, by the reason."""
    reasons = dict(list(found.silent.items())[:_REASONS])
    others = [i for ids in list(found.silent.values())[_REASONS:] for i in ids]
    if others:
        reasons["For other reasons"] = others
    yield from _lists(reasons, room)


def _lists(groups: dict[str, list[str]], room: Room) -> Iterator[Markup]:
    """Yield the ids of each group, as many as there is room for."""
    unlisted = 0  # of groups for which there is no room at all
    for why, ids in groups.items():
        if room.take(_list(why, [], len(ids))):
            listed = takewhile(lambda item: room.take(item, len(", ")), map(foreign, ids))
            yield _list(why, list(listed), len(ids))
        else:
            unlisted += len(ids)
    if unlisted:
        yield tag("p", f"And {unlisted:,} more, not listed here.", class_="after")


def _list(why: str, listed: list[Markup], number: int) -> Markup:
    left = number - len(listed)
    unlisted = f"{'; and' if listed else ''} {left:,} more, not listed here" if left else ""
    return tag(
        "details",
        tag("summary", foreign(why), tag("span", f" {number:,}", class_="muted")),
        tag("p", Markup(", ".join(listed)), unlisted, class_="ids"),
        open=number <= 12,
    )
