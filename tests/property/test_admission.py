"""The flow of admissions, and the queue for slots, against simple models of them."""

import asyncio
import math

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flashback_async.call.admission import Admission, Flow
from tests.unit.support import LoopClock, now


class FlowMachine(RuleBasedStateMachine):
    """A model of slots, rounds and the pause, as plain as possible."""

    @initialize(most=st.integers(1, 200))
    def begin(self, most):
        self.flow = Flow(most)
        self.most = self.window = most
        self.round = 0
        self.sent = []  # the round of each request in flight
        self.opens_at = 0.0
        self.now = 0.0

    @precondition(lambda self: self.flow.has_slot())
    @rule()
    def send(self):
        self.flow.take()
        self.sent.append(self.flow.round)

    @precondition(lambda self: self.sent)
    @rule(
        pick=st.randoms(use_true_random=False), kind=st.sampled_from(["clean", "throttled", "lost"])
    )
    def answer(self, pick, kind):
        sent_in = self.sent.pop(pick.randrange(len(self.sent)))
        self.flow.active -= 1
        if kind == "clean":
            self.flow.answered()
            self.window = min(self.most, self.window + 1 / self.window)
        elif kind == "throttled":
            self.flow.throttled(sent_in)
            if sent_in == self.round:
                self.round += 1
                self.window = max(1, self.window / 2)

    @rule(seconds=st.floats(0.001, 100))
    def pause(self, seconds):
        begins = self.flow.pause(self.now, seconds)
        assert begins == (self.opens_at <= self.now)
        self.opens_at = max(self.opens_at, self.now + max(seconds, 0.1))

    @rule(seconds=st.floats(0, 200))
    def wait(self, seconds):
        self.now += seconds

    @invariant()
    def agrees(self):
        if not hasattr(self, "flow"):
            return
        flow = self.flow
        assert flow.slots == math.floor(self.window) or abs(self.window - round(self.window)) < 1e-9
        assert 1 <= flow.slots <= self.most
        assert flow.active == len(self.sent)
        assert flow.has_slot() == (flow.active < flow.slots)
        assert flow.round == self.round
        assert flow.opens_at == self.opens_at


TestFlow = FlowMachine.TestCase

steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("enter"), st.sampled_from([0, 0.5, 1, 3]), st.sampled_from([2, 9, math.inf])
        ),
        st.tuples(st.just("cancel"), st.integers(0, 30), st.none()),
        st.tuples(st.just("wait"), st.sampled_from([0, 0.25, 1, 2]), st.none()),
        st.tuples(st.just("pause"), st.sampled_from([0.5, 2, 5]), st.none()),
        st.tuples(st.just("throttle"), st.none(), st.none()),
        st.tuples(st.just("clean"), st.none(), st.none()),
    ),
    max_size=40,
)


@given(steps, st.integers(1, 5), st.sampled_from([None, None, 2.0, 50.0]))
async def test_whatever_happens_no_slot_is_lost_and_none_is_given_twice(script, most, rate):
    gate = Admission(most, rate, LoopClock())
    inside = set()
    entered, refused, tasks = [], [], []

    async def use(number, seconds, patience):
        ends = now() + patience
        if not await gate.enter(lambda: ends - now()):
            refused.append(number)
            return
        assert gate.pause_left() <= 0, "let in during a pause"
        inside.add(number)
        assert gate.flow.active >= len(inside)
        assert len(inside) <= most
        entered.append(number)
        try:
            await asyncio.sleep(seconds)
        finally:
            inside.discard(number)
            gate.leave()

    for what, value, patience in script:
        if what == "enter":
            tasks.append(asyncio.create_task(use(len(tasks), value, patience)))
        elif what == "cancel" and tasks:
            tasks[value % len(tasks)].cancel()
        elif what == "wait":
            await asyncio.sleep(value)
        elif what == "pause":
            gate.flow.pause(now(), value)
        elif what == "throttle":
            gate.flow.throttled(gate.flow.round)
        elif what == "clean":
            gate.flow.answered()
    if tasks:
        await asyncio.wait(tasks)
    assert gate.flow.active == 0
    cancelled = {n for n, task in enumerate(tasks) if task.cancelled()}
    for number, task in enumerate(tasks):
        if number not in cancelled:
            assert task.exception() is None
            assert (number in entered) is not (number in refused)
    # Slots are as many as there were before.
    await asyncio.sleep(max(0.0, gate.pause_left()))
    if rate is None:
        for _ in range(gate.flow.slots):
            assert gate.enter_at_once()
        assert not gate.enter_at_once()


@given(st.integers(1, 6), st.lists(st.sampled_from([0.5, 1, 2, 3]), min_size=1, max_size=30))
async def test_slots_go_to_those_who_wait_in_the_order_of_asking(most, stays):
    gate = Admission(most, None, LoopClock())
    order = []

    async def use(number, seconds):
        assert await gate.enter(lambda: math.inf)
        order.append(number)
        await asyncio.sleep(seconds)
        gate.leave()

    await asyncio.gather(*(use(number, seconds) for number, seconds in enumerate(stays)))
    assert order == list(range(len(stays)))


@given(st.floats(0.5, 60), st.integers(1, 30))
async def test_no_second_sees_more_than_1_2_times_the_pace_and_none_sees_much_less(rate, count):
    gate = Admission(1000, rate, LoopClock())
    times = []
    for _ in range(count):
        await gate.enter(lambda: math.inf)
        times.append(now())
        gate.leave()
    for start in times:
        assert sum(start <= at < start + 1 for at in times) <= math.ceil(1.2 * rate)
    least = (count - max(1.0, rate / 10)) / rate
    assert least - 0.01 <= times[-1] - times[0] <= count / rate * 1.06 + 0.01
