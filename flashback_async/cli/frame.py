"""One picture of the table of a watch: lines of text that fit on the screen."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from flashback_async import Change, NodeState, WatchStats
from flashback_async.cli import changes, grid, tables, text
from flashback_async.cli.grid import Column
from flashback_async.cli.overview import Overview, Problem

_MOST_CHANGES = 8
_ABOVE = 3  # lines above the rows of a table
_LONGEST = 32  # characters of a change
_STATES = (NodeState.ONLINE, NodeState.OFFLINE, NodeState.DISCONNECTED)


class Moment(NamedTuple):
    """What a picture shows beside the overview."""

    now: datetime
    stats: WatchStats
    pace: float | None
    messages: Sequence[str]


def frame(overview: Overview, moment: Moment, console: Console) -> list[Text]:
    """Return the lines of a picture, not more and none longer than the screen takes."""
    width, height = console.size
    lines = _wrapped(_heading(overview, moment), width, console)[: (height + 1) // 2]
    messages = [Text(message, style="yellow") for message in moment.messages][: height // 6]
    body = height - len(lines) - len(messages)
    news = _news(overview.changes, console, body // 3)
    lines += _troubles(overview, moment, console, body - len(news))
    lines += [*news, *messages]
    for line in lines:
        line.truncate(width, overflow="crop")
    return lines[:height]


def _heading(overview: Overview, moment: Moment) -> list[Text]:
    stats = moment.stats
    items = [Text(text.plural(stats.buckets, "bucket"), style="bold")]
    others = sorted(overview.states.keys() - set(_STATES), key=str)
    items += [
        Text(f"{overview.states[state]:,} ").append_text(tables.state(state))
        for state in (*_STATES, *others)
        if overview.states[state]
    ]
    for number, word in ((overview.unknown, "UNKNOWN"), (overview.gone, "GONE")):
        if number:
            items.append(Text(f"{text.plural(number, 'bucket')} {word}", style="magenta"))
    if stats.asked < stats.buckets:
        items.append(Text(f"{stats.asked:,} asked so far", style="dim"))
    if stats.lag:
        items.append(Text(f"{text.seconds(stats.lag)} behind", style="yellow"))
    if moment.pace is not None:
        items.append(Text(f"throttled to {text.rate(moment.pace)}", style="yellow"))
    items.append(Text(f"{moment.now.astimezone():%H:%M:%S}", style="dim"))
    return items


def _wrapped(items: Sequence[Text], width: int, console: Console) -> list[Text]:
    """Return items side by side, in as many lines as they need."""
    gap = ", " if console.options.ascii_only else " · "
    lines = [items[0].copy()]
    for item in items[1:]:
        if lines[-1].cell_len + len(gap) + item.cell_len <= width:
            lines[-1] = Text.assemble(lines[-1], gap, item)
        else:
            lines.append(item.copy())
    return lines


def _troubles(overview: Overview, moment: Moment, console: Console, room: int) -> list[Text]:
    """Return the worst problems, and how many more there are."""
    problems = list(overview.problems())
    if not problems:
        return [Text(), _all_well(moment.stats)][-room:] if room > 0 else []
    above = _ABOVE if room > 2 * _ABOVE else 0
    room -= above
    shown = max(0, room if len(problems) <= room else room - 1)
    rows = [_problem(p, moment.now) for p in heapq.nsmallest(shown, problems, key=lambda p: p.rank)]
    lines = _table(("State", "For", "Node", "Bucket", ""), rows, console)[_ABOVE - above :]
    if len(problems) > shown:
        more = len(problems) - shown
        lines.append(Text(f"and {more:,} more" if shown else text.plural(more, "problem"), "bold"))
    return lines


def _all_well(stats: WatchStats) -> Text:
    """Return that there are no problems, or how little is known yet."""
    if not stats.buckets:
        return Text("No buckets yet.", style="yellow")
    if stats.asked < stats.buckets:
        return Text("No problems so far.", style="yellow")
    return Text("No problems.", style="green")


def _table(titles: Sequence[str], rows: list[list[Text]], console: Console) -> list[Text]:
    """Return rows under a blank line, their titles and a line."""
    return [Text(), *grid.lines(console, [Column(title) for title in titles], rows)]


def _problem(problem: Problem, now: datetime) -> list[Text]:
    return [
        tables.state(problem.state),
        Text(text.span(now - problem.since)),
        Text(text.optional(problem.ip)),
        Text(text.printable(problem.bucket_id)),
        Text(problem.detail, style="dim"),
    ]


def _news(news: Sequence[Change], console: Console, room: int) -> list[Text]:
    """Return the last changes, the newest first."""
    shown = list(news)[: max(0, min(_MOST_CHANGES, room - _ABOVE))]
    rows = [_change(change) for change in shown]
    return _table(("Time", "Change", "Node", "Bucket"), rows, console) if rows else []


def _change(change: Change) -> list[Text]:
    style = "red" if change.is_problem else "green" if change.is_recovery else ""
    return [
        Text(f"{change.at.astimezone():%H:%M:%S}"),
        Text(text.shortened(changes.what(change), _LONGEST), style=style),
        Text(text.optional(change.ip)),
        Text(text.printable(change.bucket_id)),
    ]
