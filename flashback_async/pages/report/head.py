"""The top of a report: the headline, the counts, and links to the sections."""

from __future__ import annotations

from flashback_async import NodeState
from flashback_async.pages.look import NOT_REPORTED, ONLINE, UNKNOWN, Look
from flashback_async.pages.report.findings import Findings
from flashback_async.pages.report.markup import Child, Markup, tag
from flashback_async.pages.report.phrases import plural, verb


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


def _have(number: int) -> str:
    return verb(number, "has", "have")
