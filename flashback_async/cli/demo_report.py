"""The report of the demo: nodes by state, the slowest, outages, and the reasons of failures."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from attrs import define, field
from rich.console import Console
from rich.text import Text

from flashback_async import (
    APIError,
    BucketStats,
    BucketStatus,
    FlashbackError,
    NodeState,
    NodeStatus,
    Outcome,
)
from flashback_async.cli import grid, tables, text
from flashback_async.cli.grid import Column
from flashback_async.cli.records import reason

_BAR_WIDTH = 32
_SLOWEST = 5


@define
class Findings:
    """The results of the demo.

    Attributes:
        stats: Of all buckets that the search found.
        outcomes: Of the status of every bucket.
        seconds: The time that the status run took.
        requests: How many requests it sent.
    """

    stats: Sequence[BucketStats] = ()
    outcomes: list[Outcome[str, BucketStatus]] = field(factory=list)
    seconds: float = 0.0
    requests: int = 0

    @property
    def found(self) -> list[BucketStatus]:
        return [outcome.unwrap() for outcome in self.outcomes if outcome.ok]

    @property
    def nodes(self) -> list[NodeStatus]:
        return [node for status in self.found for node in status.nodes]


def introduce(base_url: str, buckets: int, latency: float, error_rate: float) -> None:
    """Print what is about to be polled."""
    _say(
        f"A sandbox of {text.plural(buckets, 'bucket')} answers at {base_url},",
        f"each time after {latency * 1000:.0f} ms, and fails {error_rate:.0%} of the time.",
    )


def report_search(seconds: float, found: int, added: int) -> None:
    """Print what the search for buckets found."""
    _say(
        f"bucket_stats.list() found {text.plural(found, 'bucket')} in {text.seconds(seconds)}.",
        f"Polling the status of all, and of {added} that an old inventory still names.",
    )


def show_findings(findings: Findings) -> None:
    """Print the report."""
    console = grid.make_console()
    sections = (
        ("Nodes by state", _by_state(findings.nodes, console)),
        ("Slowest nodes", _slowest(findings.nodes, console)),
        ("Buckets without a node ONLINE", _all_down(findings.found)),
        ("Failed, and why", _failures(findings.outcomes)),
        ("Traffic of all buckets", _traffic(findings.stats)),
        ("Speed", _speed(findings)),
    )
    for title, lines in sections:
        console.print(Text(f"\n{title}", style="bold"))
        for line in lines:
            console.print(Text("  ").append_text(line))


def _by_state(nodes: Sequence[NodeStatus], console: Console) -> Iterator[Text]:
    counts = Counter(node.state or text.NOTHING for node in nodes)
    block = "#" if console.options.ascii_only else "█"
    for name, number in counts.most_common():
        share = number / len(nodes)
        yield Text.assemble(
            _state(name, 12),
            f"  {number:>7,}  {share:>6.1%}  ",
            (block * max(1, round(share * _BAR_WIDTH)), tables.state(name).style),
        )


def _state(name: str, width: int) -> Text:
    shown = tables.state(name)
    shown.pad_right(width - shown.cell_len)
    return shown


def _slowest(nodes: Sequence[NodeStatus], console: Console) -> Iterator[Text]:
    """Yield the slowest nodes, each once: a node may serve several buckets."""
    seen = {node.ip: node for node in nodes if node.latency_ms is not None}
    buckets = Counter(node.ip for node in nodes)
    columns = (
        Column("Latency", right=True),
        Column("Region"),
        Column("Node"),
        Column("State"),
        Column("Buckets", right=True),
    )
    slowest = sorted(seen.values(), key=lambda node: node.latency_ms or 0.0, reverse=True)
    rows = [
        [
            Text(text.milliseconds(node.latency_ms)),
            Text(text.optional(node.region)),
            Text(text.optional(node.ip)),
            tables.state(node.state),
            Text(f"{buckets[node.ip]:,}"),
        ]
        for node in slowest[:_SLOWEST]
    ]
    return grid.lines(console, columns, rows)


def _all_down(found: Sequence[BucketStatus]) -> Iterator[Text]:
    for status in found:
        if status.nodes and all(node.state != NodeState.ONLINE for node in status.nodes):
            states = [tables.state(node.state) for node in status.nodes]
            yield Text.assemble(text.printable(status.bucket_id), "  ", Text(", ").join(states))


def _failures(outcomes: Sequence[Outcome[str, BucketStatus]]) -> Iterator[Text]:
    """Yield the reasons, each followed by its buckets."""
    failed: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            failed.setdefault(_why(outcome.error), []).append(outcome.key)
    for why, bucket_ids in sorted(failed.items()):
        yield Text(why, style="red")
        for bucket_id in bucket_ids:
            yield Text(f"  {text.printable(bucket_id)}")


def _why(error: FlashbackError) -> str:
    """Return the API's own message, if it sent one, without the request id that sets it apart."""
    if not (isinstance(error, APIError) and error.message):
        return reason(error)
    times = f", after {error.attempts} requests" if error.attempts > 1 else ""
    words = text.printable(error.message)
    return f"{error.status} {words} ({type(error).__name__}{times})"


def _traffic(stats: Sequence[BucketStats]) -> Iterator[Text]:
    up = sum(bucket.total_upload_bytes or 0 for bucket in stats)
    down = sum(bucket.total_download_bytes or 0 for bucket in stats)
    objects = sum(bucket.total_count or 0 for bucket in stats)
    yield Text(f"{text.size(up)} up, {text.size(down)} down, {text.count(objects)} objects")


def _speed(findings: Findings) -> Iterator[Text]:
    asked = len(findings.outcomes)
    again = findings.requests - asked
    rate = asked / findings.seconds
    yield Text.assemble(
        f"{text.plural(asked, 'bucket')} in {text.seconds(findings.seconds)}, ",
        (f"{rate:,.0f} a second", "bold cyan"),
    )
    yield Text(f"{findings.requests:,} requests; {again:,} of them were retries")


def show_what_is_next() -> None:
    """Print two other ways to look at a sandbox."""
    _say(
        "",
        "Next: a live page with 'make dashboard', or 'flashback demo --dashboard';",
        "a report with 'make report', or 'flashback demo --report'.",
    )


def _say(*lines: str) -> None:
    """Print at once, because the next step takes a moment."""
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()
