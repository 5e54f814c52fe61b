"""Admission: slots in the order of the calls, the rate limit, the pace, and the server's pause."""

import asyncio
import math

import pytest

from flashback_async.call.admission import Admission
from flashback_async.clock import SystemClock
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


# The pause as a number.


async def test_a_pause_is_told_once_and_only_ever_made_longer():
    gate = admission()
    assert gate.pause(5.0)
    assert gate.pause_left() == 5.0
    await asyncio.sleep(1)
    assert not gate.pause(2.0)
    assert gate.pause_left() == 4.0
    await asyncio.sleep(3)
    assert not gate.pause(3.0)
    assert gate.pause_left() == 3.0
    await asyncio.sleep(3)
    assert gate.pause(1.0), "a pause that has ended is over; this one begins"
    assert gate.pause_left() == 1.0


async def test_a_pause_is_never_too_short_to_end_a_loop_of_refusals():
    gate = admission()
    assert gate.pause(1e-9)
    assert gate.pause_left() == pytest.approx(0.1)


# Slots.


async def test_at_once_where_nothing_is_in_the_way():
    gate = admission(2)
    assert gate.enter_at_once()
    assert gate.enter_at_once()
    assert not gate.enter_at_once()
    assert gate.active == 2
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
    assert gate.active == 0


async def test_cancelling_who_waits_loses_no_slot():
    gate, log = admission(1), []
    calls = [asyncio.create_task(take(gate, 1, log, name)) for name in range(4)]
    await turns()
    calls[1].cancel()
    calls[2].cancel()
    await asyncio.wait(calls)
    assert [name for name, _ in log] == [0, 3]
    assert gate.active == 0
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
    assert gate.active == 0


async def test_the_last_who_waits_may_be_cancelled_with_the_slot_in_hand():
    gate = admission(1)
    assert gate.enter_at_once()
    call = asyncio.create_task(take(gate))
    await turns()
    gate.leave()
    call.cancel()
    await asyncio.wait([call])
    assert gate.active == 0
    assert gate.enter_at_once()


# The pause.


async def test_nobody_enters_during_a_pause_and_all_may_after_it():
    gate, log = admission(8), []
    gate.pause(5)
    began = now()
    assert not gate.enter_at_once()
    assert gate.pause_left() == 5
    await asyncio.gather(*(take(gate, 0, log, name) for name in range(4)))
    assert {at for _, at in log} == {began + 5}
    assert gate.pause_left() <= 0
    assert gate.enter_at_once()


async def test_who_has_less_time_than_the_pause_is_turned_away_and_holds_no_slot():
    gate = admission(1)
    gate.pause(5)
    began = now()
    assert not await gate.enter(lambda: 4.9)
    assert now() == began
    assert gate.active == 0
    assert await gate.enter(lambda: 5.0)


async def test_a_pause_that_is_made_longer_is_waited_for_to_its_end():
    gate, log = admission(1), []
    gate.pause(5)
    call = asyncio.create_task(take(gate, 0, log, "a"))
    began = now()
    await asyncio.sleep(4)
    gate.pause(5)
    await call
    assert log == [("a", began + 9)]


async def test_a_pause_that_is_made_longer_than_the_patience_ends_the_wait():
    gate = admission(1)
    ends = now() + 6
    gate.pause(5)
    call = asyncio.create_task(take(gate, 0, patience=lambda: ends - now()))
    began = now()
    await asyncio.sleep(4)
    gate.pause(5)
    assert not await call
    assert now() - began == 5


async def test_a_pause_that_begins_during_the_wait_for_a_slot_gives_the_slot_back():
    gate, log = admission(1), []
    holder = asyncio.create_task(take(gate, 2))
    await turns()
    began = now()
    call = asyncio.create_task(take(gate, 0, log, "a"))
    await asyncio.sleep(1)
    gate.pause(9)
    await asyncio.sleep(2)
    assert gate.active == 0, "who waits for the pause holds no slot"
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
    gate.pause(1 + left)
    await asyncio.gather(holder, call)
    assert log[0][1] - began == pytest.approx(2 + left)


async def test_cancelling_who_waits_for_the_pause_leaves_nothing():
    gate = admission(1)
    gate.pause(5)
    call = asyncio.create_task(take(gate))
    await asyncio.sleep(1)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert gate.active == 0


# The rate limit.


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
async def test_a_limit_of_five_or_more_a_second_is_used_in_full(rate):
    gate = admission(1, rate)
    began = now()
    for _ in range(rate * 10):
        assert await gate.enter(patient)
        gate.leave()
    assert now() - began <= 10


async def test_with_a_rate_limit_nobody_enters_at_once():
    gate = admission(5, 100)
    assert not gate.enter_at_once()
    assert await gate.enter(patient)


async def test_cancelling_who_waits_for_the_rate_limit_gives_the_slot_back():
    gate = admission(2, 0.1)
    assert await gate.enter(patient)
    call = asyncio.create_task(take(gate))
    await turns()
    assert gate.active == 2
    call.cancel()
    await asyncio.wait([call])
    assert gate.active == 1


async def test_a_pause_that_begins_during_the_wait_for_the_rate_limit_is_kept():
    gate, log = admission(2, 0.5), []
    began = now()
    await gate.enter(patient)
    gate.leave()
    call = asyncio.create_task(take(gate, 0, log, "a"))
    await asyncio.sleep(1)
    gate.pause(6)
    await call
    assert log[0][1] - began >= 7
    assert gate.active == 0


@pytest.mark.parametrize("rate", [0.5, 1, 3, 4.9])
def test_a_slow_limit_leaves_room_for_a_request_that_is_late(rate):
    gate = Admission(10, rate, SystemClock())
    spacing = gate._limiter.time_period / gate._limiter.max_rate
    # At exactly 1 / rate, one late request falls in with the next.
    assert spacing == pytest.approx(1.05 / rate)


# The pace.


def throttle(gate, times=3):
    """Answer requests that begin now with refusals; return whether they begin a pace."""
    begins = [gate.throttled(now(), named_time=False) for _ in range(times)]
    return any(begins)


async def test_a_pace_begins_once_and_then_nobody_enters_at_once():
    gate = admission(64)
    assert not throttle(gate, 2)
    assert gate.enter_at_once()
    assert throttle(gate, 1)
    assert not throttle(gate)
    assert gate.pace.on
    assert not gate.enter_at_once()


async def test_those_who_wait_leave_one_by_one_in_the_order_of_asking():
    gate, log = admission(64), []
    throttle(gate)
    began = now()
    await asyncio.gather(*(take(gate, 0, log, name) for name in range(20)))
    assert [name for name, _ in log] == list(range(20))
    assert [at - began for _, at in log] == pytest.approx([0.1 * (n + 1) for n in range(20)])
    assert gate.active == 0


async def test_who_sleeps_for_a_slow_turn_learns_within_a_quarter_of_a_second_that_it_is_sooner():
    gate, log = admission(64), []
    throttle(gate)
    gate.pace.rate = 0.5
    began = now()
    call = asyncio.create_task(take(gate, 0, log, "a"))
    await asyncio.sleep(0.6)
    gate.pace.rate = 100.0
    await call
    assert 0.6 <= log[0][1] - began <= 0.86


async def test_a_pace_that_ends_holds_nobody_up():
    gate = admission(64)
    throttle(gate)
    gate.pace.rate = 0.5
    began = now()
    calls = [asyncio.create_task(take(gate, 0)) for _ in range(10)]
    await asyncio.sleep(0.1)
    gate.pace.on = False
    await asyncio.gather(*calls)
    assert now() - began <= 0.25 * 1.01


async def test_a_pause_empties_the_queue_for_turns_and_each_decides_how_long_it_waits():
    gate = admission(64)
    throttle(gate)
    gate.pace.rate = 0.5
    began = now()
    hasty = [asyncio.create_task(take(gate, 0, patience=lambda: 5.0)) for _ in range(9)]
    await asyncio.sleep(0.1)
    gate.pause(30)
    assert await asyncio.gather(*hasty) == [False] * 9
    assert now() - began <= 0.25 * 1.01, "long before their turns"
    assert gate.active == 0


async def test_cancelling_who_waits_for_a_turn_gives_the_slot_back_and_lets_the_next_one_go():
    gate, log = admission(64), []
    throttle(gate)
    began = now()
    calls = [asyncio.create_task(take(gate, 0, log, name)) for name in range(4)]
    await asyncio.sleep(0.05)
    calls[0].cancel()
    calls[2].cancel()
    await asyncio.wait(calls)
    assert [name for name, _ in log] == [1, 3]
    assert [at - began for _, at in log] == pytest.approx([0.1, 0.2])
    assert gate.active == 0


@pytest.mark.parametrize(("max_rate", "rate"), [(4.0, 4.0), (100.0, 10.0)])
async def test_a_rate_limit_caps_the_pace(max_rate, rate):
    gate = admission(64, max_rate)
    throttle(gate)
    assert gate.pace.rate == rate


async def test_with_an_answer_after_a_quiet_minute_the_pace_ends_and_that_is_told_once():
    gate = admission(64)
    throttle(gate)
    ends = []
    for _ in range(70):
        await asyncio.sleep(1)
        ends.append(gate.answered(now()))
    assert ends.count(True) == 1
    assert not gate.pace.on
    assert gate.enter_at_once()
