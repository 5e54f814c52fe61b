"""The buckets of a watch that have to be looked at again, and which of them are unknown or gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Literal, NamedTuple

from flashback_async import BucketView, Change, ChangeKind, FlashbackError

_AT_ONCE = 250  # buckets that are looked at without a change, each time


class Trouble(NamedTuple):
    """What is wrong with a bucket as a whole.

    Attributes:
        state: UNKNOWN if it cannot be asked, GONE if it is watched although it is gone.
        since: Since when, in UTC.
        error: Why it is UNKNOWN; None if it is GONE.
    """

    state: Literal["UNKNOWN", "GONE"]
    since: datetime
    error: FlashbackError | None


class Estate:
    """The buckets of a watch, and what its changes say about each as a whole.

    To look at every bucket each time would cost too much. So `look` takes those with changes, and
    a part of the others, because a change that is taken back is never told.

    Args:
        view: The buckets of the watch.
        gone_after: The seconds that a bucket may be gone before that is a trouble. A watch of all
            buckets leaves out one that was deleted as soon as the account does not list it.
    """

    def __init__(self, view: Mapping[str, BucketView], gone_after: float = 0.0) -> None:
        self._view = view
        self._gone_after = timedelta(seconds=gone_after)
        self._round: Iterator[str] = iter(())
        self._touched: set[str] = set(view)
        self._known: set[str] = set()
        self._unknown: dict[str, Trouble] = {}
        self._gone: dict[str, Trouble] = {}
        self._silent: dict[str, Trouble] = {}  # those that never answered
        self._answered: set[str] = set()
        self._found_at: dict[str, datetime] = {}

    @property
    def unknown(self) -> int:
        """How many buckets are UNKNOWN."""
        return len(self._unknown.keys() | self._silent.keys())

    @property
    def gone(self) -> int:
        """How many buckets are watched although they are gone."""
        return sum(map(self._is_due, self._gone.values()))

    def troubles(self) -> Mapping[str, Trouble]:
        """Return what is wrong with each bucket as a whole, if something is."""
        bucket_ids = self._silent | self._unknown | self._gone
        return {name: found for name in bucket_ids if (found := self.trouble(name))}

    def trouble(self, bucket_id: str) -> Trouble | None:
        """Return what is wrong with a bucket as a whole; None if nothing is."""
        gone = self._gone.get(bucket_id)
        if gone is not None:
            return gone if self._is_due(gone) else None
        return self._unknown.get(bucket_id) or self._silent.get(bucket_id)

    def note(self, change: Change) -> bool:
        """Record a change; return whether it is news.

        The nodes that the first answer of a bucket finds are no news.
        """
        bucket_id = change.bucket_id
        self._touched.add(bucket_id)
        if change.ip is None:
            self._note_bucket(change)
        elif change.kind is ChangeKind.APPEARED:
            if self._gone.pop(bucket_id, None) is not None:
                self._unknown.pop(bucket_id, None)  # which GONE has ended
            return self._found_at.setdefault(bucket_id, change.at) != change.at
        return True

    def look(self) -> Iterator[tuple[str, BucketView | None]]:
        """Yield the buckets with changes, and the next few of the others; None if it has left.

        The iterator may be left for a while, as long as nothing is recorded meanwhile.
        """
        few = set(islice(self._round, _AT_ONCE))
        if not few or len(self._view) != len(self._known):
            self._round = iter(list(self._view))
            self._touched.update(self._known ^ set(self._view))
        touched, self._touched = self._touched, set()
        for bucket_id in few | touched:
            view = self._view.get(bucket_id)
            if view is None:
                self._forget(bucket_id)
            else:
                self._see(view)
            yield bucket_id, view

    def _is_due(self, gone: Trouble) -> bool:
        return datetime.now(UTC) - gone.since >= self._gone_after

    def _note_bucket(self, change: Change) -> None:
        bucket_id, at = change.bucket_id, change.at
        if change.kind is ChangeKind.UNKNOWN:
            self._unknown[bucket_id] = Trouble("UNKNOWN", at, change.error)
        elif change.kind is ChangeKind.KNOWN:
            self._unknown.pop(bucket_id, None)
        else:
            self._gone[bucket_id] = Trouble("GONE", at, None)

    def _see(self, view: BucketView) -> None:
        bucket_id = view.bucket_id
        self._known.add(bucket_id)
        if view.answered:
            self._answered.add(bucket_id)
            self._silent.pop(bucket_id, None)
        elif view.asked_at is not None and bucket_id not in self._answered:
            # A bucket that an earlier watch told to be UNKNOWN is not told again.
            silent = Trouble("UNKNOWN", view.asked_at, view.error)
            self._silent.setdefault(bucket_id, silent)

    def _forget(self, bucket_id: str) -> None:
        for known in (self._unknown, self._gone, self._silent, self._found_at):
            known.pop(bucket_id, None)
        self._answered.discard(bucket_id)
        self._known.discard(bucket_id)
