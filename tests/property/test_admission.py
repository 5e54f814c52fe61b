"""The queues of admission, for slots and for turns, against simple models of them."""

import asyncio
import math

from hypothesis import given
from hypothesis import strategies as st

from flashback_async.call.admission import Admission
from tests.unit.support import LoopClock, now

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
        assert gate.active >= len(inside)
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
            gate.pause(value)
        elif what == "throttle":
            gate.throttled(now(), named_time=False)
        elif what == "clean":
            gate.answered(now())
    if tasks:
        await asyncio.wait(tasks)
    assert gate.active == 0
    cancelled = {n for n, task in enumerate(tasks) if task.cancelled()}
    for number, task in enumerate(tasks):
        if number not in cancelled:
            assert task.exception() is None
            assert (number in entered) is not (number in refused)
    # Slots are as many as there were before.
    await asyncio.sleep(max(0.0, gate.pause_left()))
    if rate is None and not gate.pace.on:
        for _ in range(most):
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
async def test_no_second_sees_more_than_1_2_times_the_rate_and_none_sees_much_less(rate, count):
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
