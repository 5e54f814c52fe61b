"""What polls and listings mean: confirmed states, and the changes that wait to be told."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime

from flashback_async.errors import FlashbackError
from flashback_async.frozen import fast_maker
from flashback_async.models import NodeState, NodeStatus
from flashback_async.watch.buckets import (
    ABSENT,
    Bucket,
    Node,
    Seen,
    Subject,
    Whole,
    new_bucket,
)
from flashback_async.watch.changes import BucketView, Change, ChangeKind, NodeView

# Successful listings in a row without a bucket, after which it is gone.
_MOST_UNLISTED = 2

_make_status = fast_maker(NodeStatus)


class Tracker:
    """The buckets of a watch: answers go in, changes come out, at most one for each node.

    ``fall`` and ``rise`` are how many answers in a row it takes for a node to be not ONLINE, and
    ONLINE again. ``unknown_after`` is how many failed polls in a row make a bucket UNKNOWN.
    """

    def __init__(self, fall: int, rise: int, unknown_after: int) -> None:
        self.buckets: dict[str, Bucket] = {}
        # Buckets that are not watched any more, and forgotten once their last change is told.
        self.leaving: set[str] = set()
        # What has a change to tell, in the order in which it is told.
        self.waiting: dict[Subject, None] = {}
        # What has changed since the state file was last written.
        self.moved: set[Subject] = set()
        self.dirty: set[str] = set()
        self._fall = fall
        self._rise = rise
        self._unknown_after = unknown_after

    def members(self) -> set[str]:
        """Return the ids of the buckets that are watched."""
        return self.buckets.keys() - self.leaving

    @property
    def count(self) -> int:
        """How many buckets are watched."""
        return len(self.buckets) - len(self.leaving)

    def is_member(self, bucket_id: str) -> bool:
        """Return whether a bucket is watched."""
        return bucket_id in self.buckets and bucket_id not in self.leaving

    def view(self, bucket_id: str) -> BucketView:
        """Return a bucket as it is known now.

        Raises:
            KeyError: It is not watched.
        """
        if not self.is_member(bucket_id):
            raise KeyError(bucket_id)
        bucket = self.buckets[bucket_id]
        nodes = tuple(
            NodeView(node.status, name, node.now, node.since)
            for name, node in bucket.nodes.items()
            if node.now is not ABSENT
        )
        answered = bucket.asked_at is not None and bucket.error is None
        return BucketView(bucket_id, nodes, answered, bucket.error, bucket.asked_at)

    # Membership.

    def add(self, bucket_id: str, at: datetime) -> None:
        """Watch a bucket, which may be known from before."""
        if self.is_member(bucket_id):
            return
        if bucket_id not in self.buckets:
            self.buckets[bucket_id] = new_bucket(bucket_id, at)
        self.leaving.discard(bucket_id)
        self.dirty.add(bucket_id)

    def listed(self, bucket_ids: Iterable[str], at: datetime) -> None:
        """Record a successful listing of the buckets that there are."""
        before, there = self.members(), set(bucket_ids)
        for bucket_id in there:
            self.add(bucket_id, at)
            self._set_unlisted(self.buckets[bucket_id], 0)
        for bucket_id in before - there:
            bucket = self.buckets[bucket_id]
            self._set_unlisted(bucket, bucket.unlisted + 1)
            if bucket.unlisted >= _MOST_UNLISTED:
                self.remove(bucket_id, at)

    def remove(self, bucket_id: str, at: datetime) -> None:
        """Watch a bucket no more, because it is gone."""
        bucket = self.buckets[bucket_id]
        self._go(bucket, at)
        self.leaving.add(bucket_id)
        self._forget_if_told(bucket)

    # Polls; those of a bucket that was removed meanwhile say nothing.

    def answered(self, bucket_id: str, nodes: Sequence[NodeStatus], at: datetime) -> None:
        """Record an answer with the nodes of a bucket."""
        bucket = self._end_answer(bucket_id, at)
        if bucket is None:
            return
        if bucket.missing or not bucket.there.now:
            bucket.missing = 0
            self._return(bucket, at)
        seen = named(nodes)
        for name, status in seen.items():
            self._see(bucket, name, status, at)
        if len(bucket.nodes) > len(seen) or list(bucket.nodes) != list(seen):
            self._miss(bucket, seen, at)

    def missing(self, bucket_id: str, at: datetime) -> None:
        """Record an answer that there is no such bucket."""
        bucket = self._end_answer(bucket_id, at)
        if bucket is None or not bucket.there.now:
            return
        bucket.missing += 1
        self.dirty.add(bucket_id)
        if bucket.missing >= self._fall:
            self._go(bucket, at)

    def failed(self, bucket_id: str, error: FlashbackError, at: datetime) -> None:
        """Record a poll without an answer, which says nothing about the nodes."""
        if not self.is_member(bucket_id):
            return
        bucket = self.buckets[bucket_id]
        bucket.error, bucket.asked_at = error, at
        if bucket.failures < self._unknown_after:
            bucket.failures += 1
            self.dirty.add(bucket_id)
        enough = bucket.failures >= self._unknown_after
        if enough and bucket.known.now and bucket.there.now:  # nobody waits for what is gone
            bucket.known.move(False, at)
            self._moved(bucket, Whole.KNOWN)

    # Changes.

    def change(self, subject: Subject) -> Change:
        """Return the change of what waits, as it would be told now."""
        bucket_id, part = subject
        bucket = self.buckets[bucket_id]
        if isinstance(part, str):
            return _node_change(bucket_id, part, bucket.nodes[part])
        chain = bucket.there if part is Whole.THERE else bucket.known
        kind, error = ChangeKind.GONE, None
        if part is Whole.KNOWN:
            kind = ChangeKind.KNOWN if chain.now else ChangeKind.UNKNOWN
            error = None if chain.now else bucket.error
        return Change(
            kind,
            bucket_id,
            ip=None,
            before=None,
            after=None,
            node=None,
            at=chain.since,
            since=chain.told_since,
            merged=chain.changes - 1,
            error=error,
        )

    def tell(self, subject: Subject) -> None:
        """Record that the change of what waits is told."""
        bucket_id, part = subject
        bucket = self.buckets[bucket_id]
        if part is Whole.THERE:
            bucket.tell_gone(bucket.there.since)
            self._moved(bucket, Whole.KNOWN)
        else:
            bucket.chain(part).tell()
        self._moved(bucket, part)
        self._forget_if_told(bucket)

    def restore(self, bucket: Bucket, *, leaving: bool) -> None:
        """Go on with a bucket of an earlier watch."""
        self.buckets[bucket.bucket_id] = bucket
        if leaving:
            self.leaving.add(bucket.bucket_id)
        for part in bucket.parts():
            self._moved(bucket, part)
        self._forget_if_told(bucket)

    # One bucket.

    def _end_answer(self, bucket_id: str, at: datetime) -> Bucket | None:
        """Record that a poll of a bucket had an answer; return the bucket if it is watched."""
        if not self.is_member(bucket_id):
            return None
        bucket = self.buckets[bucket_id]
        bucket.error, bucket.asked_at = None, at
        if bucket.failures:
            bucket.failures = 0
            self.dirty.add(bucket_id)
        if not bucket.known.now:
            bucket.known.move(True, at)
            self._moved(bucket, Whole.KNOWN)
        return bucket

    def _set_unlisted(self, bucket: Bucket, count: int) -> None:
        if bucket.unlisted != count:
            bucket.unlisted = count
            self.dirty.add(bucket.bucket_id)

    def _return(self, bucket: Bucket, at: datetime) -> None:
        """Record that the bucket is there again, of which its nodes tell by appearing."""
        bucket.missing = 0
        if not bucket.there.now:
            bucket.there.move(True, at)
            bucket.there.tell()
        self._moved(bucket, Whole.THERE)

    def _go(self, bucket: Bucket, at: datetime) -> None:
        """Record that the bucket is gone, which is told after its nodes."""
        for name, node in list(bucket.nodes.items()):
            if node.now is not ABSENT:
                node.move(ABSENT, at)
                self._moved(bucket, name)
        if bucket.there.now:
            bucket.there.move(False, at)
            self._moved(bucket, Whole.THERE)

    def _see(self, bucket: Bucket, name: str, status: NodeStatus, at: datetime) -> None:
        """Record what an answer says of a node."""
        node = bucket.nodes.get(name)
        if node is None:
            node = bucket.nodes[name] = Node(ABSENT, at, ABSENT, at, status=status)
        node.status = _compact(status, name)
        if node.missing:
            node.missing = 0
            self.dirty.add(bucket.bucket_id)
        state = status.state
        if node.now is ABSENT:
            self._confirm(bucket, name, node, state, at)
        elif state is None:
            return  # the node stays as it was
        elif node.now is None or _is_good(state) == _is_good(node.now):
            self._confirm(bucket, name, node, state, at)
        else:
            node.against += 1
            self.dirty.add(bucket.bucket_id)
            if node.against >= (self._fall if _is_good(node.now) else self._rise):
                self._confirm(bucket, name, node, state, at)

    def _confirm(self, bucket: Bucket, name: str, node: Node, state: Seen, at: datetime) -> None:
        """Set the state of a node, which nothing speaks against any more."""
        if node.against:
            node.against = 0
            self.dirty.add(bucket.bucket_id)
        if node.now != state:
            node.move(state, at)
            self._moved(bucket, name)

    def _miss(self, bucket: Bucket, seen: dict[str, NodeStatus], at: datetime) -> None:
        """Record which nodes an answer left out, and put the others into its order."""
        for name, node in list(bucket.nodes.items()):
            if name in seen or node.now is ABSENT:
                continue
            node.missing += 1
            self.dirty.add(bucket.bucket_id)
            if node.missing >= self._fall:
                node.move(ABSENT, at)
                self._moved(bucket, name)
        left_out = [name for name in bucket.nodes if name not in seen]
        bucket.nodes = {name: bucket.nodes[name] for name in (*seen, *left_out)}

    def _moved(self, bucket: Bucket, part: str | Whole) -> None:
        """Record that a chain has moved, or was told: whether it waits now, and that it is new."""
        subject = (bucket.bucket_id, part)
        self.dirty.add(bucket.bucket_id)
        self.moved.add(subject)
        if bucket.chain(part).waits:
            self.waiting.setdefault(subject)
            return
        self.waiting.pop(subject, None)
        if isinstance(part, str) and bucket.nodes[part].now is ABSENT:
            del bucket.nodes[part]

    def _forget_if_told(self, bucket: Bucket) -> None:
        """Forget a bucket that is not watched any more, once its last change is told."""
        bucket_id = bucket.bucket_id
        if bucket_id in self.leaving and bucket.is_told:
            self.leaving.discard(bucket_id)
            del self.buckets[bucket_id]
            self.dirty.add(bucket_id)


def named(nodes: Sequence[NodeStatus]) -> dict[str, NodeStatus]:
    """Return each node by its name: its address, or its place if that is missing or taken."""
    found: dict[str, NodeStatus] = {}
    for place, node in enumerate(nodes, 1):
        name = node.ip or f"#{place}"
        while name in found:
            name = f"{name}#{place}"
        found[name] = node
    return found


def _compact(status: NodeStatus, name: str) -> NodeStatus:
    """Return the status with texts that other nodes, and the name of this one, share.

    Of thousands of buckets, texts that are decoded anew each time take a quarter of the memory.
    """
    return _make_status(
        name if status.ip == name else status.ip,
        status.region and sys.intern(status.region),
        status.version and sys.intern(status.version),
        status.state,
        status.latency_ms,
        status.last_updated,
    )


def _is_good(state: Seen) -> bool:
    return state == NodeState.ONLINE


def _node_change(bucket_id: str, name: str, node: Node) -> Change:
    if node.told is ABSENT:
        kind, before = ChangeKind.APPEARED, None
    else:
        kind, before = ChangeKind.STATE, node.told
    after = node.now
    if after is ABSENT:
        kind, after = ChangeKind.GONE, None
    return Change(
        kind,
        bucket_id,
        ip=name,
        before=before,
        after=after,
        node=node.status,
        at=node.since,
        since=None if kind is ChangeKind.APPEARED else node.told_since,
        merged=node.changes - 1,
    )
