"""Watches under random answers, listings, slow consumers, failing writes and kills."""

import string
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from flashback_async import ChangeKind, NodeState, NodeStatus, ServerError
from flashback_async.watch.buckets import ABSENT
from flashback_async.watch.outbox import Outbox, Pending, subject_of
from flashback_async.watch.rows import bucket_from, change_from, change_row, encode
from flashback_async.watch.schedule import STEP, Schedule
from flashback_async.watch.tracker import Tracker, named

BEGAN = datetime(2024, 1, 15, tzinfo=UTC)
BUCKETS = ["b1", "b2", "b3"]
STATES = [*NodeState, "ODD", None]
NODES = st.dictionaries(
    st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"]), st.sampled_from(STATES), max_size=3
)


def text_of(change):
    """Return all of a change as text, because equal errors are not equal to Python."""
    return encode(change_row(change))


class File:
    """What a state file holds, as text, from one batch to the next."""

    def __init__(self):
        self.rows = {}
        self.pending = {}

    def write(self, batch):
        for bucket_id, row in batch.rows:
            if row is None:
                self.rows.pop(bucket_id, None)
            else:
                self.rows[bucket_id] = encode(row)
        for position in batch.done:
            self.pending.pop(position, None)
        for position, change in batch.new:
            assert position not in self.pending
            self.pending[position] = text_of(change)

    @property
    def changes(self):
        """The changes that come first after a restart."""
        return [text for _, text in sorted(self.pending.items())]

    def load(self):
        pending = [
            Pending(place, change_from(self.pending[place])) for place in sorted(self.pending)
        ]
        return [bucket_from(row) for row in self.rows.values()], pending


class Watching(RuleBasedStateMachine):
    """A watch whose consumer checks every change, and whose process is killed now and then."""

    @initialize(fall=st.integers(1, 3), rise=st.integers(1, 3), unknown_after=st.integers(1, 3))
    def begin(self, fall, rise, unknown_after):
        self.numbers = (fall, rise, unknown_after)
        self.now = BEGAN
        self.file = File()
        self.told = {}  # what the consumer knows of each subject
        self.handed_out = []  # what may come again after a kill
        self.writing = None
        self.restart()
        self.tracker.listed(BUCKETS[:2], self.now)

    def restart(self):
        self.tracker = Tracker(*self.numbers)
        self.outbox = Outbox(self.tracker, is_kept=True)
        buckets, pending = self.file.load()
        self.earlier = self.file.changes
        self.outbox.restore(buckets, pending)
        self.file_fails = False
        self.unkept = 0  # writes until the file knows of what was handed out without it

    def passes(self):
        self.now += timedelta(seconds=1)
        return self.now

    # What happens to the buckets.

    @rule(bucket_id=st.sampled_from(BUCKETS), nodes=NODES)
    def answer(self, bucket_id, nodes):
        statuses = [NodeStatus(ip=ip, state=state) for ip, state in nodes.items()]
        self.tracker.answered(bucket_id, statuses, self.passes())

    @rule(bucket_id=st.sampled_from(BUCKETS))
    def no_such_bucket(self, bucket_id):
        self.tracker.missing(bucket_id, self.passes())

    @rule(bucket_id=st.sampled_from(BUCKETS))
    def failure(self, bucket_id):
        self.tracker.failed(bucket_id, ServerError("down", status=503), self.passes())

    @rule(bucket_ids=st.sets(st.sampled_from(BUCKETS)))
    def listing(self, bucket_ids):
        self.tracker.listed(bucket_ids, self.passes())

    # The consumer.

    @rule()
    def ask_for_the_next(self):
        self.outbox.finish()
        change = self.outbox.take()
        if change is None:
            return
        text = text_of(change)
        if self.earlier:
            assert text == self.earlier.pop(0), "what was not done comes first, as it was"
        if self.file_fails:
            self.unkept = 2
        else:
            assert text in self.file.changes, "it is in the file"
        if text not in self.handed_out:
            self.check(change)
            self.handed_out.append(text)

    def check(self, change):
        assert change.merged >= 0
        assert change.at <= self.now
        assert (change.since is None) is (change.kind is ChangeKind.APPEARED)
        assert change.since is None or change.since <= change.at
        if change.ip is None:
            self.check_bucket(change)
            return
        subject = subject_of(change)
        told = self.told.get(subject, ABSENT)
        assert (told is ABSENT) is (change.kind is ChangeKind.APPEARED)
        assert change.before == (None if told is ABSENT else told)
        self.told[subject] = ABSENT if change.kind is ChangeKind.GONE else change.after
        assert self.told[subject] != told

    def check_bucket(self, change):
        assert change.before is change.after is change.node is None
        subject = subject_of(change)
        if change.kind is ChangeKind.GONE:
            here = {s: v for s, v in self.told.items() if s[0] == change.bucket_id}
            assert {v for s, v in here.items() if isinstance(s[1], str)} <= {ABSENT}
            self.told = {s: v for s, v in self.told.items() if s not in here}
            return
        is_known = change.kind is ChangeKind.KNOWN
        assert self.told.get(subject, True) is not is_known
        assert (change.error is None) is is_known
        self.told[subject] = is_known

    # The file.

    @precondition(lambda self: self.writing is None)
    @rule()
    def begin_to_write(self):
        self.writing = self.outbox.batch()

    @precondition(lambda self: self.writing is not None)
    @rule(succeeds=st.booleans())
    def end_to_write(self, succeeds):
        if succeeds:
            self.unkept = max(0, self.unkept - 1)
            self.file.write(self.writing)
            self.outbox.written(self.writing)
            left = {*self.file.changes, *self.current()}
            self.handed_out = [text for text in self.handed_out if text in left]
        else:
            self.outbox.not_written(self.writing)
        self.file_fails = not succeeds
        self.writing = None

    def current(self):
        """Return the change that the consumer has, if there is one, in a list."""
        return [] if self.outbox.current is None else [text_of(self.outbox.current)]

    def is_safe(self):
        return not (self.file_fails or self.unkept) and set(self.current()) <= set(
            self.file.changes
        )

    @precondition(is_safe)
    @rule(reached_the_file=st.booleans())
    def kill(self, reached_the_file):
        if self.writing is not None and reached_the_file:
            self.file.write(self.writing)
        self.writing = None
        current = self.current()
        self.restart()
        assert set(current) <= set(self.earlier), "what was handed out comes again"

    @precondition(lambda self: self.writing is None)
    @rule(is_done=st.booleans())
    def leave(self, is_done):
        if is_done:
            self.outbox.finish()
        left = [*self.current(), *self.earlier]
        self.handed_out = [text for text in self.handed_out if text in left]
        self.file.write(self.outbox.last_batch())
        self.restart()
        assert self.earlier == left, "what was handed out comes again, and nothing else does"

    # Always.

    @invariant()
    def what_waits_is_what_differs(self):
        differing = {
            (bucket.bucket_id, part)
            for bucket in self.tracker.buckets.values()
            for part in bucket.parts()
            if bucket.chain(part).waits
        }
        assert set(self.tracker.waiting) == differing

    @invariant()
    def the_file_has_one_change_of_a_subject(self):
        subjects = [subject_of(change) for _, change in self.file.load()[1]]
        assert len(subjects) == len(set(subjects))

    def teardown(self):
        """In the end, the consumer knows what the watch knows."""
        if not hasattr(self, "tracker"):
            return
        if self.writing is not None:
            self.end_to_write(True)
        for _ in range(30):
            self.begin_to_write()
            self.end_to_write(True)
            self.ask_for_the_next()
        assert not self.outbox.waiting
        for bucket in self.tracker.buckets.values():
            for name, node in bucket.nodes.items():
                assert self.told[bucket.bucket_id, name] == node.now
        known = {(b.bucket_id, name) for b in self.tracker.buckets.values() for name in b.nodes}
        left = {s for s, v in self.told.items() if isinstance(s[1], str) and v is not ABSENT}
        assert left == known


TestWatching = Watching.TestCase


# The state of one node, by a reference that counts answers in the plainest way.


def confirmed(states, fall, rise):
    now, against = ABSENT, 0
    for state in states:
        if now is ABSENT or now is None:
            now = state
        elif state is None:
            continue
        elif (state == "ONLINE") == (now == "ONLINE"):
            now, against = state, 0
        else:
            against += 1
            if against == (fall if now == "ONLINE" else rise):
                now, against = state, 0
    return now


@given(st.lists(st.sampled_from(STATES), min_size=1), st.integers(1, 4), st.integers(1, 4))
def test_a_state_is_confirmed_after_so_many_answers_in_a_row(states, fall, rise):
    tracker = Tracker(fall, rise, 1)
    tracker.add("b", BEGAN)
    for state in states:
        tracker.answered("b", [NodeStatus(ip="10.0.0.1", state=state)], BEGAN)
    (node,) = tracker.view("b").nodes
    assert node.state == confirmed(states, fall, rise)


@given(st.lists(st.builds(NodeStatus, ip=st.sampled_from(["", "a", "a#2", "#1", "#3", None]))))
def test_every_node_of_an_answer_has_a_name_of_its_own(nodes):
    assert list(named(nodes).values()) == nodes


# The schedule.

IDS = st.sets(st.text(string.ascii_lowercase, min_size=1, max_size=3), min_size=1, max_size=40)
INTERVALS = st.floats(0.5, 20)


@given(IDS, INTERVALS, st.integers(1, 50))
def test_each_bucket_is_due_once_an_interval_and_none_drifts(ids, interval, rounds):
    schedule = Schedule(interval)
    schedule.set_buckets(ids, 1000.0)
    asked = {bucket_id: [] for bucket_id in ids}
    now = 1000.0
    while now < 1000.0 + rounds * interval:
        for bucket_id in schedule.take(now, 1000):
            asked[bucket_id].append(now)
        now += schedule.next_step(now)
    assert schedule.shifted == 0
    for times in asked.values():
        assert rounds - 1 <= len(times) <= rounds + 1
        for n, time in enumerate(times):
            due = times[0] + n * interval
            assert abs(time - due) <= STEP + 1e-6 * n + 1e-6


@given(
    IDS,
    INTERVALS,
    st.lists(st.tuples(st.floats(0.01, 3), st.integers(0, 60), IDS | st.none()), max_size=40),
)
def test_whatever_happens_no_step_is_a_burst_and_no_bucket_is_asked_twice(ids, interval, steps):
    schedule = Schedule(interval)
    schedule.set_buckets(ids, 0.0)
    now, last = 0.0, {}
    for passed, room, others in steps:
        now += passed
        if others is not None:
            schedule.set_buckets(others, now)
            ids = others
        taken = schedule.take(now, room)
        assert len(taken) <= min(room, max(1, 2 * STEP * len(ids) / interval + 1e-9))
        assert set(taken) <= ids
        for bucket_id in taken:
            assert now - last.get(bucket_id, -1e9) >= interval / 2 - 1e-9
            last[bucket_id] = now
        schedule.shift(now)
        assert schedule.lag(now) <= 0.5
        assert schedule.next_step(now) > 0


@pytest.mark.parametrize("count", [10, 1000])
def test_one_more_bucket_moves_the_others_little(count):
    ids = [f"bucket-{n}" for n in range(count)]

    def phases(buckets):
        schedule = Schedule(1000.0)
        schedule.set_buckets(buckets, 0.0)
        found, now = {}, 0.0
        while len(found) < len(buckets):
            found |= dict.fromkeys(schedule.take(now, 10_000), now)
            now += schedule.next_step(now)
        return found

    before, after = phases(ids), phases([*ids, "one more"])
    assert max(abs(after[i] - before[i]) for i in ids) <= 1000 / count + 0.2


@given(st.floats(0.01, 3.0))
def test_after_a_stall_no_tenth_of_a_second_sees_more_than_twice_its_share(stall):
    schedule = Schedule(2.0)
    schedule.set_buckets([f"bucket-{n}" for n in range(200)], 0.0)
    now, taken = 0.0, []
    while now < 6.0:
        taken += [now] * len(schedule.take(now, 64))
        schedule.shift(now)
        now += schedule.next_step(now)
        if 1.0 < now < 1.0 + STEP:
            now += stall
    for n, at in enumerate(taken):
        assert sum(at <= other < at + STEP - 1e-9 for other in taken[n : n + 50]) <= 20
