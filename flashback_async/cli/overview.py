"""What the table of a watch shows: nodes by state, problems, and the last changes."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from flashback_async import BucketView, Change, ChangeKind, FlashbackError, NodeState
from flashback_async.cli import text
from flashback_async.cli.records import reason

_AT_ONCE = 250  # buckets that are looked at without a change, each time
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

    To look at every bucket each time would cost too much. So `update` looks at those with changes,
    and at a part of the others, because a change that is taken back is never told.

    Attributes:
        states: How many nodes there are of each state.
        changes: The last changes, the newest first.
    """

    def __init__(self, view: Mapping[str, BucketView]) -> None:
        self.states: Counter[str | None] = Counter()
        self.changes: deque[Change] = deque(maxlen=_KEPT)
        self._view = view
        self._round: Iterator[str] = iter(())
        self._touched: set[str] = set()
        self._nodes: dict[str, Counter[str | None]] = {}
        self._problems: dict[str, list[Problem]] = {}
        self._unknown: dict[str, Problem] = {}
        self._gone: dict[str, Problem] = {}
        self._silent: dict[str, Problem] = {}  # those that never answered
        self._answered: set[str] = set()
        self._found_at: dict[str, datetime] = {}
        self._look_at(view)

    @property
    def unknown(self) -> int:
        """How many buckets are UNKNOWN."""
        return len(self._unknown.keys() | self._silent.keys())

    @property
    def gone(self) -> int:
        """How many buckets are watched although they are gone."""
        return len(self._gone)

    def problems(self) -> Iterator[Problem]:
        """Yield every problem, in no order."""
        for told in (self._silent | self._unknown, self._gone):
            yield from told.values()
        for problems in self._problems.values():
            yield from problems

    def note(self, change: Change) -> None:
        """Record a change."""
        bucket_id = change.bucket_id
        self._touched.add(bucket_id)
        if change.ip is None:
            self._note_bucket(change)
        elif change.kind is ChangeKind.APPEARED:
            self._gone.pop(bucket_id, None)
            # The nodes that the first answer of a bucket finds are no news.
            if self._found_at.setdefault(bucket_id, change.at) == change.at:
                return
        self.changes.appendleft(change)

    def update(self) -> None:
        """Look at the buckets with changes, and at the next few of the others."""
        few = set(islice(self._round, _AT_ONCE))
        if not few:
            self._round = iter(list(self._view))
            self._touched.update(
                bucket_id for bucket_id in self._nodes if bucket_id not in self._view
            )
        touched, self._touched = self._touched, set()
        self._look_at(few | touched)

    def _note_bucket(self, change: Change) -> None:
        bucket_id = change.bucket_id
        if change.kind is ChangeKind.UNKNOWN:
            self._unknown[bucket_id] = _unknown(bucket_id, change.at, change.error)
        elif change.kind is ChangeKind.KNOWN:
            self._unknown.pop(bucket_id, None)
        else:
            self._gone[bucket_id] = Problem(bucket_id, None, "GONE", change.at, "", True)

    def _look_at(self, bucket_ids: Iterable[str]) -> None:
        for bucket_id in bucket_ids:
            self.states.subtract(self._nodes.pop(bucket_id, ()))
            self._problems.pop(bucket_id, None)
            view = self._view.get(bucket_id)
            if view is None:
                self._forget(bucket_id)
            else:
                self._look(view)
        self.states += Counter()  # drops the states that no node has any more

    def _look(self, view: BucketView) -> None:
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
        if view.answered:
            self._answered.add(bucket_id)
            self._silent.pop(bucket_id, None)
        elif view.asked_at is not None and bucket_id not in self._answered:
            # A bucket that an earlier watch told to be UNKNOWN is not told again.
            found = _unknown(bucket_id, view.asked_at, view.error)
            self._silent.setdefault(bucket_id, found)

    def _forget(self, bucket_id: str) -> None:
        for known in (self._unknown, self._gone, self._silent, self._found_at):
            known.pop(bucket_id, None)
        self._answered.discard(bucket_id)


def _unknown(bucket_id: str, at: datetime, error: FlashbackError | None) -> Problem:
    why = "" if error is None else reason(error)
    return Problem(bucket_id, None, "UNKNOWN", at, why, False)
