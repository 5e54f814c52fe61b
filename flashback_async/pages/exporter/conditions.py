"""How the buckets of a watch are as a whole: answering, unknown or gone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum

from flashback_async import BucketView, Change, ChangeKind


class Condition(Enum):
    """What is known of a bucket."""

    UNASKED = "unasked"  # its first poll has not ended
    ANSWERING = "answering"  # it answers, or too few polls have failed to say otherwise
    UNKNOWN = "unknown"  # it cannot be asked, so the states of its nodes are old
    GONE = "gone"  # there is no such bucket, or not any more


class Conditions:
    """The conditions of buckets, as the changes of a watch tell them.

    A single failed poll is no change. A bucket that has never answered is UNKNOWN at once,
    because nothing is known that could be kept.

    Args:
        view: That of the watch.
        answered: The buckets that have answered with their nodes, since they were last gone. For
            a watch, "there is no such bucket" is an answer too.
    """

    def __init__(self, view: Mapping[str, BucketView], answered: Collection[str]) -> None:
        self._view = view
        self._answered = answered
        self._unknown: set[str] = set()
        self._gone: set[str] = set()

    def note(self, change: Change) -> None:
        """Record a change."""
        bucket_id = change.bucket_id
        if change.kind is ChangeKind.APPEARED:
            self._gone.discard(bucket_id)
        elif change.kind is ChangeKind.UNKNOWN:
            self._unknown.add(bucket_id)
        elif change.kind is ChangeKind.KNOWN:
            self._unknown.discard(bucket_id)
        elif change.kind is ChangeKind.GONE and change.ip is None:
            self._unknown.discard(bucket_id)
            self._gone.discard(bucket_id)
            if bucket_id in self._view:  # because it was named, so that it is asked on
                self._gone.add(bucket_id)

    def of(self, bucket: BucketView) -> Condition:
        """Return the condition of a bucket."""
        bucket_id = bucket.bucket_id
        if bucket.asked_at is None:
            return Condition.UNASKED
        if bucket_id in self._answered:
            # An answer counts at once, also if the change that tells of it still waits.
            is_unknown = bucket_id in self._unknown and not bucket.answered
            return Condition.UNKNOWN if is_unknown else Condition.ANSWERING
        is_missing = bucket.answered or bucket_id in self._gone
        return Condition.GONE if is_missing else Condition.UNKNOWN
