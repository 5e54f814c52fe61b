"""What the outcomes of a run say: problems, buckets without an answer, and counts by region."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from attrs import define, field

from flashback_async import (
    APIError,
    BucketStatus,
    Failure,
    FlashbackError,
    InvalidArgumentError,
    NodeState,
    NodeStatus,
    Outcome,
    Success,
)
from flashback_async.pages.look import LOOKS, Look, look_of, worst


class Problem(NamedTuple):
    """A bucket with nodes that are not ONLINE.

    Attributes:
        bucket_id: The bucket.
        nodes: Those of its nodes that are not ONLINE.
        total: How many nodes it has.
        look: That of the worst of them.
    """

    bucket_id: str
    nodes: tuple[NodeStatus, ...]
    total: int
    look: Look

    @property
    def is_total(self) -> bool:
        """Whether no node of the bucket is ONLINE."""
        return len(self.nodes) == self.total


@define
class Findings:
    """The buckets of a run.

    Attributes:
        problems: Those with nodes that are not ONLINE: first those without a node ONLINE, and then
            by their worst state.
        silent: The ids of those that did not answer, by the reason; the most frequent one first.
        empty: The ids of those without nodes.
        well: How many have nodes, all of them ONLINE.
        states: How many nodes there are of each state.
        regions: The same for each region.
    """

    problems: list[Problem] = field(factory=list)
    silent: dict[str, list[str]] = field(factory=dict)
    empty: list[str] = field(factory=list)
    well: int = 0
    states: Counter[str | None] = field(factory=Counter)
    regions: dict[str | None, Counter[str | None]] = field(factory=dict)

    @property
    def unanswered(self) -> int:
        """How many buckets did not answer."""
        return sum(map(len, self.silent.values()))

    @property
    def total(self) -> int:
        """How many buckets there are."""
        return len(self.problems) + self.unanswered + len(self.empty) + self.well

    @property
    def down(self) -> int:
        """How many buckets have nodes, but none that is ONLINE."""
        return sum(problem.is_total for problem in self.problems)


def find(outcomes: Iterable[Outcome[str, BucketStatus] | BucketStatus]) -> Findings:
    """Return what outcomes say; of a bucket that comes twice, the last one counts.

    Raises:
        InvalidArgumentError: One of them is neither an outcome nor a status.
    """
    found = Findings()
    latest: dict[str, BucketStatus | FlashbackError] = {}
    for outcome in outcomes:
        bucket_id, answer = _answer(outcome)
        latest[bucket_id] = answer
    for bucket_id, answer in latest.items():
        if isinstance(answer, BucketStatus):
            _add(found, bucket_id, answer)
        else:
            found.silent.setdefault(reason(answer), []).append(bucket_id)
    found.problems.sort(key=_severity)
    by_frequency = sorted(found.silent.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    found.silent = {why: sorted(ids) for why, ids in by_frequency}
    found.empty.sort()
    return found


def reason(error: FlashbackError) -> str:
    """Return why a call failed, without what differs from bucket to bucket."""
    kind = type(error).__name__
    if isinstance(error, APIError) and error.message:
        return f"{error.status} {error.message} ({kind})"
    return f"{kind}: {error.args[0]}" if error.args else kind


def _answer(outcome: object) -> tuple[str, BucketStatus | FlashbackError]:
    if isinstance(outcome, Success) and isinstance(outcome.value, BucketStatus):
        return str(outcome.key), outcome.value
    if isinstance(outcome, Failure):
        return str(outcome.key), outcome.error
    if isinstance(outcome, BucketStatus):
        return outcome.bucket_id, outcome
    kind = type(outcome).__name__
    message = f"outcomes must be outcomes of status, or BucketStatus values, not {kind}"
    raise InvalidArgumentError(message)


def _add(found: Findings, bucket_id: str, status: BucketStatus) -> None:
    for node in status.nodes:
        found.states[node.state] += 1
        found.regions.setdefault(node.region, Counter())[node.state] += 1
    bad = tuple(node for node in status.nodes if node.state != NodeState.ONLINE)
    look = worst(look_of(node.state) for node in bad)
    if look is not None:
        found.problems.append(Problem(bucket_id, bad, len(status.nodes), look))
    elif status.nodes:
        found.well += 1
    else:
        found.empty.append(bucket_id)


def _severity(problem: Problem) -> tuple[bool, int, int, str]:
    rank = _RANKS[problem.look.css]
    return not problem.is_total, rank, -len(problem.nodes), problem.bucket_id


_RANKS = {look.css: rank for rank, look in enumerate(LOOKS)}
