"""The faults of the whole API: the rate limit, and outages by chance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashback_async.sandbox.limits import Throttle, strikes


@pytest.mark.parametrize(("rate", "burst"), [(0.5, 1), (1, 1), (2.9, 2), (10, 10)])
def test_one_seconds_worth_may_come_at_once(rate, burst):
    throttle = Throttle(rate)
    assert [throttle.wait(100.0) for _ in range(burst)] == [0] * burst
    assert throttle.wait(100.0) >= 1


def test_the_wait_is_whole_seconds_until_the_next_request_is_allowed():
    throttle = Throttle(0.25)
    assert throttle.wait(0.0) == 0
    assert throttle.wait(0.0) == 4
    assert throttle.wait(1.5) == 3
    assert throttle.wait(4.0) == 0


def test_a_long_rest_saves_up_no_more_than_one_second():
    throttle = Throttle(5)
    assert throttle.wait(0.0) == 0
    assert [throttle.wait(1_000.0) for _ in range(6)] == [0, 0, 0, 0, 0, 1]


@given(rate=st.floats(0.01, 100), start=st.floats(0, 1e6))
def test_who_waits_as_told_is_let_in(rate, start):
    throttle = Throttle(rate)
    while not (wait := throttle.wait(start)):
        pass
    assert throttle.wait(start + wait) == 0


def test_outages_are_the_same_for_the_same_seed():
    pattern = [strikes(7, n, 0.3) for n in range(1_000)]
    assert pattern == [strikes(7, n, 0.3) for n in range(1_000)]
    assert pattern != [strikes(8, n, 0.3) for n in range(1_000)]
    assert 250 < sum(pattern) < 350


def test_no_rate_no_outage_and_full_rate_nothing_else():
    assert not any(strikes(0, n, 0.0) for n in range(200))
    assert all(strikes(0, n, 1.0) for n in range(200))
