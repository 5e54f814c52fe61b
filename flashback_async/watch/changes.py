"""What a watch reports: changes, and what it knows now."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from attrs import frozen

from flashback_async.errors import FlashbackError
from flashback_async.models import NodeState, NodeStatus

State: TypeAlias = NodeState | str


class ChangeKind(StrEnum):
    """What a change is about."""

    STATE = "STATE"  # a node has another state
    APPEARED = "APPEARED"  # a node is there, for the first time or again
    GONE = "GONE"  # a node is there no more; or, after its last node, a bucket
    UNKNOWN = "UNKNOWN"  # a bucket cannot be asked, so the states of its nodes are old
    KNOWN = "KNOWN"  # the bucket answers again


@frozen(slots=True, weakref_slot=False)
class Change:
    """One change of a node or of a bucket, as ``client.status.watch`` reports it.

    The changes of a node are a chain: ``before`` is the ``after`` of the previous one. Together,
    ``bucket_id`` and ``ip`` identify what changed.

    Attributes:
        kind: What the change is about.
        bucket_id: The bucket.
        ip: The node; None if the change is about the bucket. A node without an address, or with
            the address of an earlier node, goes by its place: ``"#2"``, ``"10.0.0.1#2"``.
        before: The state before; None for APPEARED, and for a change of the bucket.
        after: The state now; None for GONE, and for a change of the bucket.
        node: The node as last seen; None for a change of the bucket.
        at: When the change was seen, in UTC.
        since: Since when the state before had held, in UTC; None for APPEARED.
        merged: How many earlier changes are folded into this one, because they waited while the
            consumer was busy; 0 for none.
        error: Why the bucket is UNKNOWN; None for every other kind.
    """

    kind: ChangeKind
    bucket_id: str
    ip: str | None
    before: NodeState | str | None
    after: NodeState | str | None
    node: NodeStatus | None
    at: datetime
    since: datetime | None
    merged: int = 0
    error: FlashbackError | None = None

    @property
    def is_problem(self) -> bool:
        """Whether the node is not ONLINE now, or the bucket is UNKNOWN."""
        if self.kind is ChangeKind.UNKNOWN:
            return True
        return self.after is not None and self.after != NodeState.ONLINE

    @property
    def is_recovery(self) -> bool:
        """Whether the node is ONLINE and was not before, or the bucket is KNOWN again."""
        if self.kind is ChangeKind.KNOWN:
            return True
        was_bad = self.before is not None and self.before != NodeState.ONLINE
        return was_bad and self.after == NodeState.ONLINE


@frozen(slots=True, weakref_slot=False)
class NodeView:
    """One node as a watch knows it.

    Attributes:
        node: The node as last seen.
        ip: The node's name in changes, as in ``Change.ip``.
        state: Its confirmed state; None if the API has not reported any.
        since: Since when that state has held, in UTC.
    """

    node: NodeStatus
    ip: str
    state: NodeState | str | None
    since: datetime


@frozen(slots=True, weakref_slot=False)
class BucketView:
    """One bucket as a watch knows it.

    Attributes:
        bucket_id: The bucket.
        nodes: Its nodes in the order of the last answer, which those missing from it follow.
        answered: Whether its last poll had an answer; False before the first one.
        error: Why its last poll failed; None if it did not.
        asked_at: When its last poll ended, in UTC; None before the first one.
    """

    bucket_id: str
    nodes: tuple[NodeView, ...]
    answered: bool
    error: FlashbackError | None
    asked_at: datetime | None


@frozen(slots=True, weakref_slot=False)
class WatchStats:
    """How a watch is doing.

    Attributes:
        buckets: Buckets that it watches now.
        asked: Polls that have ended, those that an outage spared included.
        failed: How many of them had no answer.
        waiting: Changes that wait for the consumer.
        lag: Seconds by which polling is behind its schedule now.
        shifted: Seconds by which the schedule was moved in all, because polling was too slow.
    """

    buckets: int
    asked: int
    failed: int
    waiting: int
    lag: float
    shifted: float
