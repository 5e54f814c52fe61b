"""For any pattern of failures, delays, concurrency and break: every key has its one outcome."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashback_async.bulk.batch import Cutter, cut, gather, unpack
from flashback_async.bulk.fanout import fan_out, fan_out_in
from flashback_async.bulk.report import Success
from flashback_async.errors import DeadlineExceededError, FlashbackError, ServerError
from flashback_async.run import Run
from tests.unit.support import now

# What a call does: how long it takes, how it ends, and how it takes being cancelled.
acts = st.tuples(
    st.sampled_from([0, 0, 1, 1, 2, 5]),
    st.sampled_from(["value", "value", "value", "error", "none"]),
    st.sampled_from(["at once", "at once", "slowly", "never"]),
)
plans = st.lists(acts, max_size=25)
concurrencies = st.integers(1, 8) | st.just(1000)
deadlines = st.none() | st.sampled_from([0.5, 1, 3, 7])


class Bug(Exception):
    pass


class Calls:
    """A function that follows a plan, and checks how it is called."""

    def __init__(self, plan):
        self.plan = plan
        self.called = []
        self.at_once = self.most = 0
        self.run = Run()
        self.halts_at = None

    async def __call__(self, key):
        self.called.append(key)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        seconds, end, cancelled = self.plan[key]
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            if cancelled == "slowly":
                await asyncio.sleep(2)
            if cancelled != "never":
                raise
        finally:
            self.at_once -= 1
        if key == self.halts_at:
            self.run.halt(ServerError("halt"))
            raise ServerError("halt")
        if end == "error":
            raise ServerError(f"{key}")
        if end == "bug":
            raise Bug
        return None if end == "none" else f"v{key}"

    def right(self, outcome):
        """Return whether an outcome is the planned one of its key."""
        end = self.plan[outcome.key][1]
        if end == "error":
            return str(outcome.error) == str(outcome.key)
        return outcome.ok and outcome.value == (None if end == "none" else f"v{outcome.key}")


def source_of(count, kind):
    if kind == "plain":
        return range(count)

    async def slowly():
        for n in range(count):
            await asyncio.sleep(0.5 if n % 3 == 0 else 0)
            yield n

    return slowly()


def assert_nothing_left():
    assert asyncio.all_tasks() == {asyncio.current_task()}


kinds = st.sampled_from(["plain", "async"])


@given(plans, concurrencies, kinds)
async def test_every_key_has_its_one_outcome(plan, concurrency, kind):
    calls = Calls(plan)
    source = source_of(len(plan), kind)
    outcomes = [o async for o in fan_out(calls, source, concurrency=concurrency)]
    assert sorted(o.index for o in outcomes) == list(range(len(plan)))
    assert all(o.index == o.key for o in outcomes)
    assert all(calls.right(o) for o in outcomes)
    assert calls.called == list(range(len(plan)))
    assert calls.most <= concurrency
    assert_nothing_left()


@given(plans, concurrencies, kinds, st.integers(0, 25), st.sampled_from([0, 0.5, 1, 3]), deadlines)
async def test_leaving_at_any_point_leaves_nothing(plan, concurrency, kind, leave, pause, deadline):
    calls = Calls(plan)
    source = source_of(len(plan), kind)
    outcomes = fan_out(calls, source, concurrency=concurrency, deadline=deadline)
    taken = []
    async with contextlib.aclosing(outcomes):
        async for outcome in outcomes:
            taken.append(outcome.index)
            await asyncio.sleep(pause)
            if len(taken) > leave:
                break
    assert len(set(taken)) == len(taken)
    assert calls.at_once == 0
    before = list(calls.called)
    if kind == "async":
        await source.aclose()
    await asyncio.sleep(10)
    assert calls.called == before
    assert_nothing_left()


@given(plans, concurrencies, kinds, st.floats(0, 8))
async def test_cancelling_at_any_time_leaves_nothing(plan, concurrency, kind, moment):
    calls = Calls(plan)
    source = source_of(len(plan), kind)

    async def consume():
        return [o async for o in fan_out(calls, source, concurrency=concurrency)]

    task = asyncio.create_task(consume())
    await asyncio.sleep(moment)
    done = task.done()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() is not done
    assert calls.at_once == 0
    if kind == "async":
        await source.aclose()
    assert_nothing_left()


@given(plans, concurrencies, st.sampled_from([0.5, 1, 3, 7]), st.sampled_from([0, 0.5, 2]))
async def test_a_deadline_loses_no_key(plan, concurrency, deadline, pause):
    calls = Calls(plan)
    outcomes = []
    began = now()
    async for outcome in fan_out(
        calls, range(len(plan)), concurrency=concurrency, deadline=deadline
    ):
        outcomes.append(outcome)
        await asyncio.sleep(pause)
    assert sorted(o.index for o in outcomes) == list(range(len(plan)))
    late = [o for o in outcomes if isinstance(o.error, DeadlineExceededError)]
    assert all(calls.right(o) for o in outcomes if o not in late)
    for outcome in late:
        sent = "cancelled in flight" in str(outcome.error)
        assert (outcome.key in calls.called) is sent
    assert now() - began <= deadline + 2 + pause * len(plan)
    assert calls.most <= concurrency
    assert_nothing_left()


@given(plans.filter(bool), concurrencies, kinds, st.data())
async def test_a_halt_reaches_every_key_left(plan, concurrency, kind, data):
    calls = Calls(plan)
    calls.run = Run()
    calls.halts_at = data.draw(st.integers(0, len(plan) - 1))
    source = source_of(len(plan), kind)
    outcomes = [
        o
        async for o in fan_out_in(calls.run, calls, source, concurrency=concurrency, deadline=None)
    ]
    indices = sorted(o.index for o in outcomes)
    if kind == "plain":
        assert indices == list(range(len(plan)))
    else:
        assert indices == list(range(len(indices)))
        assert len(indices) > calls.halts_at
    for outcome in outcomes:
        if outcome.key in calls.called and outcome.key != calls.halts_at:
            assert calls.right(outcome)
        elif outcome.key not in calls.called:
            assert "never sent" in str(outcome.error)
    assert_nothing_left()


@given(plans.filter(bool), concurrencies, kinds, st.data())
async def test_a_bug_ends_the_run_and_leaves_nothing(plan, concurrency, kind, data):
    bad = data.draw(st.integers(0, len(plan) - 1))
    plan[bad] = (plan[bad][0], "bug", plan[bad][2])
    calls = Calls(plan)
    source = source_of(len(plan), kind)
    with pytest.raises(Bug):
        async for outcome in fan_out(calls, source, concurrency=concurrency):
            assert outcome.key != bad
            assert calls.right(outcome)
    if kind == "async":
        await source.aclose()
    assert_nothing_left()


@given(
    st.lists(st.text("abc!", min_size=1, max_size=4), max_size=30),
    st.integers(1, 12),
    concurrencies,
)
async def test_batches_bring_every_outcome_back_to_its_key(keys, room, concurrency):
    async def ask(batch):
        await asyncio.sleep(len(batch) % 3)
        if any("!" in key for _, key in batch):
            raise ServerError("no")
        return [Success(place, key, key.upper(), 0.0) for place, key in batch]

    def all_asked(distinct):
        outcomes = fan_out(ask, cut(distinct, Cutter(len, room, 1000)), concurrency=concurrency)
        return unpack(outcomes, lambda error, key: FlashbackError(f"{error} {key}"))

    report = await gather(keys, all_asked)
    assert [(o.index, o.key) for o in report] == list(enumerate(keys))
    for outcome in report:
        if outcome.ok:
            assert outcome.value == outcome.key.upper()
        else:
            assert str(outcome.error) == f"no {outcome.key}"
    assert all(o.ok == report[keys.index(o.key)].ok for o in report)
    assert_nothing_left()
