"""Deliberate faults: planned failures, the rate limit, outages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashback_async.sandbox.faults import Failure, FailureBook, Throttle, strikes


def test_a_failure_is_used_up():
    book = FailureBook()
    book.plan("a", Failure(503, None, 2))
    assert [bool(book.take(["a"])) for _ in range(4)] == [True, True, False, False]


def test_failures_are_of_their_bucket_whatever_its_case():
    book = FailureBook()
    book.plan("AbC", Failure(500, 7, 1))
    assert book.take(["b", "c"]) is None
    failure = book.take(["b", "aBc"])
    assert (failure.status, failure.retry_after) == (500, 7)


def test_one_request_uses_up_one_failure():
    book = FailureBook()
    book.plan("a", Failure(500, None, 1))
    book.plan("b", Failure(502, None, 1))
    assert book.take(["a", "b"]).status == 500
    assert book.take(["a", "b"]).status == 502
    assert book.take(["a", "b"]) is None


def test_a_new_plan_replaces_the_old_one():
    book = FailureBook()
    book.plan("a", Failure(500, None, 5))
    book.plan("A", Failure(502, None, 1))
    assert book.take(["a"]).status == 502
    assert book.take(["a"]) is None


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
