"""The work of `check`: ask all buckets once, and judge them as a monitoring plugin does."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from typing import NamedTuple

import click
from attrs import define, field

from flashback_async import (
    AuthenticationError,
    BucketStatus,
    FlashbackClient,
    FlashbackError,
    NodeState,
    Outcome,
)
from flashback_async.cli import text
from flashback_async.cli.choice import chosen_ids
from flashback_async.cli.exits import Deadline, Exit, exit_of
from flashback_async.cli.options import Options
from flashback_async.cli.records import reason
from flashback_async.cli.runner import run_loop
from flashback_async.cli.settings import make_client, naming_options
from flashback_async.cli.signals import heeding_sigterm
from flashback_async.cli.verdict import Verdict, give

_NAMED = 3  # buckets
_LONGEST_ID = 64  # characters


class Thresholds(NamedTuple):
    """The most buckets with a node that is not ONLINE; with more, it is a WARNING or CRITICAL."""

    warning: int
    critical: int | None


@define
class Findings:
    """What a check found.

    Attributes:
        online: How many buckets have no node but ONLINE ones.
        bad: The states of the nodes that are not ONLINE, of each bucket with such nodes.
        failed: How many buckets could not be asked.
        unasked: The first few of them.
        error: Why one of them could not be; that the token was rejected comes first.
        seconds: How long it took.
    """

    online: int = 0
    bad: dict[str, Counter[str]] = field(factory=dict)
    failed: int = 0
    unasked: list[str] = field(factory=list)
    error: FlashbackError | None = None
    seconds: float = 0.0

    @property
    def total(self) -> int:
        return self.online + len(self.bad) + self.failed

    def add(self, outcome: Outcome[str, BucketStatus]) -> None:
        """Count the outcome of a bucket."""
        if outcome.error is not None:
            self.failed += 1
            if len(self.unasked) < _NAMED:
                self.unasked.append(text.shortened(str(outcome.key), _LONGEST_ID))
            if self.error is None or isinstance(outcome.error, AuthenticationError):
                self.error = outcome.error
            return
        states = (node.state for node in outcome.value.nodes)
        bad = Counter(text.optional(state) for state in states if state != NodeState.ONLINE)
        if bad:
            self.bad[outcome.key] = bad
        else:
            self.online += 1


def check_buckets(
    ids: Sequence[str] | None, options: Options, warning: int, critical: int | None
) -> int:
    """Ask buckets once and write the verdict; None means all buckets."""
    deadline = Deadline(options.deadline)
    try:
        with heeding_sigterm(), naming_options(options):
            client = make_client(options)
            findings = run_loop(_ask(client, ids, options, deadline))
    except KeyboardInterrupt:
        return give(Verdict.UNKNOWN, "interrupted")
    except click.ClickException as error:
        return give(Verdict.UNKNOWN, error.format_message())
    except FlashbackError as error:
        late = exit_of(error, deadline) is Exit.DEADLINE
        return give(Verdict.UNKNOWN, deadline.message(error) if late else str(error))
    except Exception as error:  # a traceback would be taken for a WARNING
        return give(Verdict.UNKNOWN, f"{type(error).__name__}: {error}")
    thresholds = Thresholds(warning, critical)
    verdict = judge(findings, thresholds)
    return give(verdict, _text(findings), _figures(findings, thresholds))


def judge(findings: Findings, thresholds: Thresholds) -> Verdict:
    """Return the worst that is certain; what could not be asked counts for less than that."""
    if thresholds.critical is not None and len(findings.bad) > thresholds.critical:
        return Verdict.CRITICAL
    if len(findings.bad) > thresholds.warning:
        return Verdict.WARNING
    return Verdict.UNKNOWN if findings.failed or not findings.total else Verdict.OK


async def _ask(
    client: FlashbackClient, ids: Sequence[str] | None, options: Options, deadline: Deadline
) -> Findings:
    findings, began = Findings(), time.monotonic()
    async with client:
        chosen = await chosen_ids(client, ids, options, deadline)
        run = client.status.iter_many(chosen, deadline=deadline.left())
        async with aclosing(run) as outcomes:
            async for outcome in outcomes:
                findings.add(outcome)
    findings.seconds = time.monotonic() - began
    return findings


def _text(findings: Findings) -> str:
    if not findings.total:
        return "no bucket to check"
    every, bad = text.plural(findings.total, "bucket"), findings.bad
    said = []
    if bad:
        have = "has" if len(bad) == 1 else "have"
        said.append(f"{len(bad):,} of {every} {have} nodes that are not ONLINE: {_names(bad)}")
    elif findings.online:
        online = text.plural(findings.online, "bucket")
        said.append(f"no node of {online} is other than ONLINE")
    if findings.error is not None:
        why = reason(findings.error)
        more = findings.failed - len(findings.unasked)
        names = ", ".join(findings.unasked) + (f" and {more:,} more" if more else "")
        said.append(f"{findings.failed:,} of {every} could not be asked ({names}): {why}")
    return "; ".join(said)


def _names(bad: dict[str, Counter[str]]) -> str:
    shown = [
        f"{text.shortened(bucket_id, _LONGEST_ID)} ({_states(bad[bucket_id])})"
        for bucket_id in sorted(bad)[:_NAMED]
    ]
    more = len(bad) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def _states(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {text.shortened(s, 20)}" for s, n in counts.most_common(3))


def _figures(findings: Findings, thresholds: Thresholds) -> str:
    """Return performance data: 'label'=value[UOM];[warn];[crit];[min];[max]."""
    critical = "" if thresholds.critical is None else thresholds.critical
    nodes = sum(counts.total() for counts in findings.bad.values())
    total = findings.total
    return " ".join(
        (
            f"'not_online'={len(findings.bad)};{thresholds.warning};{critical};0;{total}",
            f"'nodes_not_online'={nodes};;;0;",
            f"'not_asked'={findings.failed};;;0;{total}",
            f"'time'={findings.seconds:.3f}s;;;0;",
        )
    )
