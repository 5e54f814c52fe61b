"""The sections of a report about what is wrong: nodes that are not ONLINE, and missing answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from flashback_async import NodeStatus
from flashback_async.pages.look import look_of
from flashback_async.pages.report.findings import Findings, Problem
from flashback_async.pages.report.markup import Markup, foreign, section, shortened, state, tag
from flashback_async.pages.report.phrases import age, plural

_OPEN = 40  # problems that are shown at once
_ROWS = 160  # problems with a row of their own; the others are listed by id
_NODES = 6  # nodes that such a row names
_LISTED = 195_000  # characters of lists of ids, so that no account makes a huge file
_REASONS = 30
_HEADER = {"scope": "col"}


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
    intro = (
        "Buckets without a node ONLINE come first, then those with a node OFFLINE. Times are "
        "relative to this report."
    )
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
    version = None if node.version is None else f"version {node.version}"
    facts = [node.ip, node.region, version]
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
