"""Admission: slots in the order of the calls, the rate limit, and the server's pause."""

import asyncio
import math

import pytest

from flashback_async.call.admission import Admission, Flow
from flashback_async.values import SystemClock
from tests.unit.support import LoopClock, now, turns


def patient():
    return math.inf


def admission(most=2, max_rate=None):
    return Admission(most, max_rate, LoopClock())


async def take(gate, seconds=1.0, log=None, name=None, patience=patient):
    """Enter, hold a slot for some time, and leave."""
    if not await gate.enter(patience):
        return False
    try:
        if log is not None:
            log.append((name, now()))
        await asyncio.sleep(seconds)
    finally:
        gate.leave()
    return True


# The state machine.


def test_a_flow_begins_with_every_slot():
    flow = Flow(3)
    for _ in range(3):
        assert flow.has_slot()
        flow.take()
    assert not flow.has_slot()
    assert flow.active == 3


def test_a_throttling_halves_the_slots_once_for_all_that_were_under_way():
    flow = Flow(64)
    sent_in = flow.round
    for _ in range(40):
        flow.throttled(sent_in)
    assert flow.slots == 32
    flow.throttled(flow.round)
    assert flow.slots == 16


def test_a_late_answer_to_an_earlier_round_does_not_halve_again():
    flow = Flow(64)
    first = flow.round
    flow.throttled(first)
    second = flow.round
    flow.throttled(second)
    flow.throttled(first)
    flow.throttled(second)
    assert flow.slots == 16


def test_one_slot_is_always_left():
    flow = Flow(5)
    for _ in range(20):
        flow.throttled(flow.round)
        assert flow.slots >= 1
    assert flow.slots == 1
    assert flow.has_slot()


def test_slots_grow_by_about_one_for_each_full_round_of_clean_answers():
    flow = Flow(64)
    flow.throttled(flow.round)
    for expected in range(32, 64):
        assert flow.slots == expected
        for _ in range(expected + 1):
            flow.answered()
    assert flow.slots == 64


def test_from_one_slot_a_single_clean_answer_gives_the_second():
    flow = Flow(2)
    flow.throttled(flow.round)
    assert flow.slots == 1
    flow.answered()
    assert flow.slots == 2


def test_slots_never_grow_beyond_what_was_allowed():
    flow = Flow(3)
    for _ in range(100):
        flow.answered()
    assert flow.slots == 3
    flow.throttled(flow.round)
    for _ in range(100):
        flow.answered()
    assert flow.slots == 3


def test_a_pause_is_told_once_and_only_ever_made_longer():
    flow = Flow(1)
    assert flow.pause(100.0, 5.0)
    assert flow.opens_at == 105.0
    assert not flow.pause(101.0, 2.0)
    assert flow.opens_at == 105.0
    assert not flow.pause(104.0, 3.0)
    assert flow.opens_at == 107.0
    assert flow.pause(107.0, 1.0), "a pause that has ended is over; this one begins"
    assert flow.opens_at == 108.0


def test_a_pause_is_never_too_short_to_end_a_loop_of_refusals():
    flow = Flow(1)
    assert flow.pause(100.0, 1e-9)
    assert flow.opens_at == 100.1


# Slots.


async def test_at_once_where_nothing_is_in_the_way():
    gate = admission(2)
    assert gate.enter_at_once()
    assert gate.enter_at_once()
    assert not gate.enter_at_once()
    assert gate.flow.active == 2
    gate.leave()
    assert gate.enter_at_once()


async def test_nobody_overtakes_those_who_wait():
    gate = admission(1)
    assert gate.enter_at_once()
    waiting = asyncio.create_task(take(gate))
    await turns()
    gate.leave()
    assert not gate.enter_at_once(), "the slot was handed over, not freed"
    assert await waiting
    assert gate.enter_at_once()


async def test_slots_are_handed_over_in_the_order_of_asking():
    gate, log = admission(2), []
    began = now()
    await asyncio.gather(*(take(gate, 1, log, name) for name in range(7)))
    assert [name for name, _ in log] == list(range(7))
    assert [at - began for _, at in log] == [0, 0, 1, 1, 2, 2, 3]
    assert gate.flow.active == 0


async def test_a_newcomer_waits_behind_those_who_wait_also_where_a_slot_is_free():
    gate, log = admission(2), []
    gate.flow.throttled(0)
    first = [asyncio.create_task(take(gate, 1, log, name)) for name in "abc"]
    await turns()
    gate.flow.answered()  # a second slot appears, with b and c waiting
    assert gate.flow.has_slot()
    last = asyncio.create_task(take(gate, 1, log, "d"))
    await asyncio.gather(*first, last)
    assert [name for name, _ in log] == list("abcd")


async def test_a_slot_given_back_serves_as_many_as_there_is_room_for():
    gate, log = admission(4), []
    gate.flow.throttled(0)
    gate.flow.throttled(1)
    assert gate.flow.slots == 1
    calls = [asyncio.create_task(take(gate, 10, log, name)) for name in range(4)]
    await turns()
    assert len(log) == 1
    for _ in range(9):
        gate.flow.answered()
    assert gate.flow.slots == 4
    await asyncio.sleep(10)
    await turns()
    assert len(log) == 4
    await asyncio.gather(*calls)


async def test_while_there_are_fewer_slots_than_calls_under_way_nobody_is_let_in():
    gate, log = admission(4), []
    holders = [asyncio.create_task(take(gate, seconds)) for seconds in (1, 2, 3, 4)]
    await turns()
    waiting = asyncio.create_task(take(gate, 1, log, "late"))
    await turns()
    gate.flow.throttled(0)
    began = now()
    await asyncio.gather(*holders, waiting)
    assert log == [("late", began + 3)], "when one of two slots is free, not before"


async def test_cancelling_who_waits_loses_no_slot():
    gate, log = admission(1), []
    calls = [asyncio.create_task(take(gate, 1, log, name)) for name in range(4)]
    await turns()
    calls[1].cancel()
    calls[2].cancel()
    await asyncio.wait(calls)
    assert [name for name, _ in log] == [0, 3]
    assert gate.flow.active == 0
    assert gate.enter_at_once()


async def test_cancelling_who_was_just_handed_a_slot_hands_it_on():
    gate, log = admission(1), []
    assert gate.enter_at_once()
    calls = [asyncio.create_task(take(gate, 1, log, name)) for name in "ab"]
    await turns()
    gate.leave()
    calls[0].cancel()  # in the same turn: it has the slot and does not know yet
    await asyncio.wait(calls)
    assert calls[0].cancelled()
    assert [name for name, _ in log] == ["b"]
    assert gate.flow.active == 0


async def test_the_last_who_waits_may_be_cancelled_with_the_slot_in_hand():
    gate = admission(1)
    assert gate.enter_at_once()
    call = asyncio.create_task(take(gate))
    await turns()
    gate.leave()
    call.cancel()
    await asyncio.wait([call])
    assert gate.flow.active == 0
    assert gate.enter_at_once()


# The pause.


async def test_nobody_enters_during_a_pause_and_all_may_after_it():
    gate, log = admission(8), []
    gate.flow.pause(now(), 5)
    began = now()
    assert not gate.enter_at_once()
    assert gate.pause_left() == 5
    await asyncio.gather(*(take(gate, 0, log, name) for name in range(4)))
    assert {at for _, at in log} == {began + 5}
    assert gate.pause_left() <= 0
    assert gate.enter_at_once()


async def test_who_has_less_time_than_the_pause_is_turned_away_and_holds_no_slot():
    gate = admission(1)
    gate.flow.pause(now(), 5)
    began = now()
    assert not await gate.enter(lambda: 4.9)
    assert now() == began
    assert gate.flow.active == 0
    assert await gate.enter(lambda: 5.0)


async def test_a_pause_that_is_made_longer_is_waited_for_to_its_end():
    gate, log = admission(1), []
    gate.flow.pause(now(), 5)
    call = asyncio.create_task(take(gate, 0, log, "a"))
    began = now()
    await asyncio.sleep(4)
    gate.flow.pause(now(), 5)
    await call
    assert log == [("a", began + 9)]


async def test_a_pause_that_is_made_longer_than_the_patience_ends_the_wait():
    gate = admission(1)
    ends = now() + 6
    gate.flow.pause(now(), 5)
    call = asyncio.create_task(take(gate, 0, patience=lambda: ends - now()))
    began = now()
    await asyncio.sleep(4)
    gate.flow.pause(now(), 5)
    assert not await call
    assert now() - began == 5


async def test_a_pause_that_begins_during_the_wait_for_a_slot_gives_the_slot_back():
    gate, log = admission(1), []
    holder = asyncio.create_task(take(gate, 2))
    await turns()
    began = now()
    call = asyncio.create_task(take(gate, 0, log, "a"))
    await asyncio.sleep(1)
    gate.flow.pause(now(), 9)
    await asyncio.sleep(2)
    assert gate.flow.active == 0, "who waits for the pause holds no slot"
    await asyncio.gather(holder, call)
    assert log == [("a", began + 10)]


@pytest.mark.parametrize("left", [0.2, 0.9, 3])
async def test_however_little_is_left_of_a_pause_as_a_slot_is_free_it_is_waited_for(left):
    gate, log = admission(1), []
    holder = asyncio.create_task(take(gate, 2))
    await turns()
    began = now()
    call = asyncio.create_task(take(gate, 0, log, "a"))
    await asyncio.sleep(1)
    gate.flow.pause(now(), 1 + left)
    await asyncio.gather(holder, call)
    assert log[0][1] - began == pytest.approx(2 + left)


async def test_cancelling_who_waits_for_the_pause_leaves_nothing():
    gate = admission(1)
    gate.flow.pause(now(), 5)
    call = asyncio.create_task(take(gate))
    await asyncio.sleep(1)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert gate.flow.active == 0


# The pace.


@pytest.mark.parametrize("rate", [0.5, 1, 3, 10, 100])
async def test_no_second_sees_more_than_1_2_times_the_rate(rate):
    gate, log = admission(10_000, rate), []
    count = int(max(rate * 3, 4))
    began = now()
    await asyncio.gather(*(take(gate, 0, log, name) for name in range(count)))
    times = sorted(at for _, at in log)
    assert len(times) == count
    for start in times:
        assert sum(start <= at < start + 1 for at in times) <= math.ceil(rate * 1.2)
    took = times[-1] - began
    assert took >= (count - max(1, rate / 10)) / rate * 0.99
    assert took <= count / rate * 1.05 + 1


@pytest.mark.parametrize("rate", [5, 10, 100])
async def test_a_pace_of_five_or_more_a_second_is_used_in_full(rate):
    gate = admission(1, rate)
    began = now()
    for _ in range(rate * 10):
        assert await gate.enter(patient)
        gate.leave()
    assert now() - began <= 10


async def test_with_a_pace_nobody_enters_at_once():
    gate = admission(5, 100)
    assert not gate.enter_at_once()
    assert await gate.enter(patient)


async def test_cancelling_who_waits_for_the_pace_gives_the_slot_back():
    gate = admission(2, 0.1)
    assert await gate.enter(patient)
    call = asyncio.create_task(take(gate))
    await turns()
    assert gate.flow.active == 2
    call.cancel()
    await asyncio.wait([call])
    assert gate.flow.active == 1


async def test_a_pause_that_begins_during_the_wait_for_the_pace_is_kept():
    gate, log = admission(2, 0.5), []
    began = now()
    await gate.enter(patient)
    gate.leave()
    call = asyncio.create_task(take(gate, 0, log, "a"))
    await asyncio.sleep(1)
    gate.flow.pause(now(), 6)
    await call
    assert log[0][1] - began >= 7
    assert gate.flow.active == 0


@pytest.mark.parametrize("rate", [0.5, 1, 3, 4.9])
def test_a_slow_pace_leaves_room_for_a_request_that_is_late(rate):
    gate = Admission(10, rate, SystemClock())
    spacing = gate._pace.time_period / gate._pace.max_rate
    # At exactly 1 / rate, one late request falls in with the next.
    assert spacing == pytest.approx(1.05 / rate)
