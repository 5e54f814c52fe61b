"""The way of a change from the tracker to the consumer, and what a state file keeps of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from attrs import define

from flashback_async.watch.buckets import ABSENT, Bucket, Subject, Whole
from flashback_async.watch.changes import Change, ChangeKind
from flashback_async.watch.rows import Row, row_of
from flashback_async.watch.tracker import Tracker


class Pending(NamedTuple):
    """A change in the state file: handed out or about to be, and not done."""

    position: int
    change: Change


@define
class Batch:
    """What is to be written into the state file at once; None for a row deletes it."""

    rows: list[tuple[str, Row | None]]
    new: list[Pending]
    done: list[int]

    def __bool__(self) -> bool:
        return bool(self.rows or self.new or self.done)


class Outbox:
    """The changes on their way to the consumer, who has one of them at a time.

    With a state file, a change is handed out once the file has it, and stays there until it is
    done. Until then it may still be replaced, or taken back. What an earlier watch left in its
    file comes first, as it was.
    """

    def __init__(self, tracker: Tracker, *, is_kept: bool) -> None:
        self.current: Change | None = None
        self._position: int | None = None  # of the current change, if the file has it
        self._tracker = tracker
        self._is_kept = is_kept
        self._file_fails = False
        self._earlier: deque[Pending] = deque()
        self._prepared: dict[Subject, Pending] = {}
        self._done: list[int] = []
        self._next_position = 1

    @property
    def waiting(self) -> int:
        """How many changes wait to be handed out."""
        return len(self._earlier) + len(self._tracker.waiting)

    def restore(self, buckets: Iterable[tuple[Bucket, bool]], pending: Iterable[Pending]) -> None:
        """Go on from the rows and the changes of a state file."""
        rows = {bucket.bucket_id: (bucket, leaving) for bucket, leaving in buckets}
        for position, change in pending:
            self._earlier.append(Pending(position, change))
            self._next_position = position + 1
            if change.bucket_id in rows:
                _tell(rows[change.bucket_id][0], change)
        for bucket, leaving in rows.values():
            self._tracker.restore(bucket, leaving=leaving)

    # The consumer.

    def take(self) -> Change | None:
        """Hand out the next change; None if there is none, or the file does not have it yet."""
        if self._earlier:
            self._position, self.current = self._earlier.popleft()
            return self.current
        tracker = self._tracker
        subject = next(iter(tracker.waiting), None)
        if subject is None:
            return None
        pending = None if subject in tracker.moved else self._prepared.pop(subject, None)
        if pending is not None:
            self._position, self.current = pending
        elif self._is_kept and not self._file_fails:
            return None
        else:
            self._position, self.current = None, tracker.change(subject)
        tracker.tell(subject)
        return self.current

    def finish(self) -> None:
        """Record that the consumer is done with the current change."""
        if self._position is not None:
            self._done.append(self._position)
        self._position = self.current = None

    # The state file.

    def batch(self) -> Batch:
        """Return what the file does not have yet; `written` or `not_written` must follow."""
        tracker = self._tracker
        batch = Batch(self._rows(), [], self._done)
        self._done = []
        for subject in tracker.moved:
            if (pending := self._prepared.pop(subject, None)) is not None:
                batch.done.append(pending.position)
        tracker.moved.clear()
        if self.current is not None and self._position is None:
            self._position = self._prepare(batch, self.current)
        # One change of each subject is in the file at a time, so that the file cannot grow.
        handed_out = {subject_of(change) for _, change in self._earlier}
        if self.current is not None:
            handed_out.add(subject_of(self.current))
        for subject in tracker.waiting:
            if subject in handed_out:
                break  # nothing behind it can be handed out before it
            if subject not in self._prepared:
                self._prepare(batch, tracker.change(subject))
        return batch

    def last_batch(self) -> Batch:
        """Return what the file does not have at the end; what was never handed out stays open.

        The next watch goes on from the rows: it may merge such changes, or take them back.
        """
        self._tracker.moved.update(self._prepared)
        batch = Batch(self._rows(), [], self._done)
        batch.done += [pending.position for pending in self._prepared.values()]
        if self.current is not None and self._position is None:
            self._prepare(batch, self.current)
        return batch

    def written(self, batch: Batch) -> None:
        """Record that the file has a batch, so that its changes may be handed out."""
        self._file_fails = False
        for pending in batch.new:
            if pending.position != self._position and pending.position not in self._done:
                self._prepared[subject_of(pending.change)] = pending

    def not_written(self, batch: Batch) -> None:
        """Record that a batch could not be written: delivery goes on without the file."""
        self._file_fails = True
        self._tracker.dirty.update(bucket_id for bucket_id, _ in batch.rows)
        self._done += batch.done
        if self._position in [pending.position for pending in batch.new]:
            self._position = None

    def _rows(self) -> list[tuple[str, Row | None]]:
        tracker = self._tracker
        rows: list[tuple[str, Row | None]] = []
        for bucket_id in tracker.dirty:
            bucket = tracker.buckets.get(bucket_id)
            is_leaving = bucket_id in tracker.leaving
            rows.append((bucket_id, None if bucket is None else row_of(bucket, is_leaving)))
        tracker.dirty.clear()
        return rows

    def _prepare(self, batch: Batch, change: Change) -> int:
        position = self._next_position
        self._next_position += 1
        batch.new.append(Pending(position, change))
        return position


def subject_of(change: Change) -> Subject:
    """Return what a change is about."""
    if change.ip is not None:
        return change.bucket_id, change.ip
    return change.bucket_id, Whole.THERE if change.kind is ChangeKind.GONE else Whole.KNOWN


def _tell(bucket: Bucket, change: Change) -> None:
    """Record in a bucket that a change of it was told."""
    _, part = subject_of(change)
    if isinstance(part, str):
        node = bucket.nodes.get(part)
        if node is not None:  # else it is gone, and that was told
            told = ABSENT if change.kind is ChangeKind.GONE else change.after
            node.was_told(told, change.at, change.merged + 1)
    elif part is Whole.THERE:
        bucket.tell_gone(change.at)
    else:
        is_known = change.kind is ChangeKind.KNOWN
        bucket.known.was_told(is_known, change.at, change.merged + 1)
