"""What a watch remembers of each bucket and node."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from attrs import define, field

from flashback_async.errors import FlashbackError
from flashback_async.models import NodeState, NodeStatus

V = TypeVar("V")


class Presence(Enum):
    """The place of a state in the chain of a node that has none."""

    ABSENT = "absent"


ABSENT: Final = Presence.ABSENT
# The state of a node; None if it is there and the API has never reported a state.
Seen: TypeAlias = NodeState | str | Literal[Presence.ABSENT] | None


class Whole(Enum):
    """What can change about a bucket as a whole."""

    THERE = "there"
    KNOWN = "known"


# A bucket, and which part of it: a node's name, or the bucket as a whole.
Subject: TypeAlias = tuple[str, str | Whole]


@define(slots=True, weakref_slot=False)
class Chain(Generic[V]):
    """A value that changes: as it is now, and as it was last told; each with its time.

    ``changes`` counts the changes since it was told.
    """

    now: V
    since: datetime
    told: V
    told_since: datetime
    changes: int = 0

    @property
    def waits(self) -> bool:
        """Whether there is a change to tell."""
        return self.now != self.told

    def move(self, value: V, at: datetime) -> None:
        """Set the value; one that comes back to what was told leaves nothing to tell."""
        self.now, self.since = value, at
        self.changes += 1
        if not self.waits:
            self.tell()

    def tell(self) -> None:
        """Record that the value is told as it is now."""
        self.told, self.told_since, self.changes = self.now, self.since, 0

    def was_told(self, value: V, at: datetime, changes: int) -> None:
        """Record what an earlier watch told, when that had begun, and how many changes it was."""
        if (self.told, self.told_since) != (value, at):
            self.told, self.told_since = value, at
            self.changes -= changes
        self.changes = max(1, self.changes) if self.waits else 0


@define(slots=True, weakref_slot=False)
class Node(Chain[Seen]):
    """A node: the chain of its states, and the answers in a row that speak against the last one.

    ``against`` counts answers of the other health, ``missing`` answers without the node.
    """

    status: NodeStatus = field(kw_only=True)
    against: int = 0
    missing: int = 0


@define(slots=True, weakref_slot=False)
class Bucket:
    """A bucket: its nodes in the order of the last answer, and how its polls went.

    ``missing`` counts answers in a row that there is no such bucket, ``unlisted`` listings in a
    row without it, ``failures`` polls in a row without an answer.
    """

    bucket_id: str
    there: Chain[bool]
    known: Chain[bool]
    nodes: dict[str, Node] = field(factory=dict)
    missing: int = 0
    unlisted: int = 0
    failures: int = 0
    error: FlashbackError | None = None
    asked_at: datetime | None = None

    def chain(self, part: str | Whole) -> Chain[Seen] | Chain[bool]:
        """Return the chain of one part."""
        if isinstance(part, str):
            return self.nodes[part]
        return self.there if part is Whole.THERE else self.known

    def parts(self) -> list[str | Whole]:
        """Return everything that has a chain, in the order in which it is told."""
        return [*self.nodes, Whole.KNOWN, Whole.THERE]

    def tell_gone(self, at: datetime) -> None:
        """Record that the bucket is told to be gone, which ends UNKNOWN too."""
        if not self.there.now:
            self.known.now, self.known.since = True, at
        self.there.tell()  # if it is there again, its nodes tell of that
        self.known.was_told(True, at, self.known.changes)

    @property
    def is_told(self) -> bool:
        """Whether nothing about the bucket waits to be told."""
        return not any(self.chain(part).waits for part in self.parts())


def new_bucket(bucket_id: str, at: datetime) -> Bucket:
    """Return a bucket that is there and known, as far as anyone has been told."""
    return Bucket(bucket_id, Chain(True, at, True, at), Chain(True, at, True, at))
