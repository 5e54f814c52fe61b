"""What the table of a watch shows: nodes by state, problems, and the last changes."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from flashback_async import BucketView, Change, NodeState
from flashback_async.cli import text
from flashback_async.cli.records import reason
from flashback_async.pages.estate import Estate

_KEPT = 50  # changes


class Problem(NamedTuple):
    """A node that is not ONLINE, or, without a node, a bucket that is UNKNOWN or gone."""

    bucket_id: str
    ip: str | None
    state: str | None
    since: datetime
    detail: str
    is_total: bool  # no node of the bucket is ONLINE

    @property
    def rank(self) -> tuple[bool, float]:
        """The place in the list: what is down as a whole first, and then the latest."""
        return not self.is_total, -self.since.timestamp()


class Overview:
    """The buckets of a watch in numbers.

    Attributes:
        states: How many nodes there are of each state.
        changes: The last changes, the newest first.
    """

    def __init__(self, view: Mapping[str, BucketView]) -> None:
        self.states: Counter[str | None] = Counter()
        self.changes: deque[Change] = deque(maxlen=_KEPT)
        self._estate = Estate(view)
        self._nodes: dict[str, Counter[str | None]] = {}
        self._problems: dict[str, list[Problem]] = {}
        self.update()

    @property
    def unknown(self) -> int:
        """How many buckets are UNKNOWN."""
        return self._estate.unknown

    @property
    def gone(self) -> int:
        """How many buckets are watched although they are gone."""
        return self._estate.gone

    def problems(self) -> Iterator[Problem]:
        """Yield every problem, in no order."""
        for bucket_id, (state, since, error) in self._estate.troubles().items():
            why = "" if error is None else reason(error)
            yield Problem(bucket_id, None, state, since, why, state == "GONE")
        for problems in self._problems.values():
            yield from problems

    def note(self, change: Change) -> None:
        """Record a change."""
        if self._estate.note(change):
            self.changes.appendleft(change)

    def update(self) -> None:
        """Look at the buckets with changes, and at the next few of the others."""
        for bucket_id, view in self._estate.look():
            self.states.subtract(self._nodes.pop(bucket_id, ()))
            self._problems.pop(bucket_id, None)
            if view is not None:
                self._count(view)
        self.states += Counter()  # drops the states that no node has any more

    def _count(self, view: BucketView) -> None:
        bucket_id = view.bucket_id
        states = self._nodes[bucket_id] = Counter([node.state for node in view.nodes])
        self.states.update(states)
        is_total = NodeState.ONLINE not in states
        if is_total or len(states) > 1:
            self._problems[bucket_id] = [
                Problem(bucket_id, n.ip, n.state, n.since, text.optional(n.node.region), is_total)
                for n in view.nodes
                if n.state != NodeState.ONLINE
            ]
