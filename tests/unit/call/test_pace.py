"""The pace, step by step: when it begins, how its windows move the rate, when it is forgotten."""

import math

import pytest

from flashback_async.call.pace import Pace

T = 100.0  # any moment


def paced(rate=10.0, max_rate=None, at=T):
    """A pace that began at ``at``, with a window that begins 1/rate later."""
    pace = Pace(max_rate)
    for _ in range(round(rate) if rate > 10 else 0):
        pace.count(at)
    for _ in range(max(10, round(rate / 10))):
        pace.throttled(at, at)
    assert pace.on
    return pace


def window(pace, since, *, served=0, throttled=0, seconds=1.0, waited=True):
    """Play one window from ``since`` to its end; return the moment of its end.

    The requests are spread evenly. The one after the window is served, and belongs to no window.
    """
    total = served + throttled
    if waited:
        pace.take_turn(since, waited=True)
    for n in range(total):
        began = since + (n + 1) * seconds / (total + 1)
        if n < throttled:
            pace.throttled(began, began)
        else:
            pace.answered(began, began)
    after = since + seconds + 0.001
    pace.answered(after, after)
    return after


def settled(rate):
    """Return a pace whose search has ended at this rate, and when its window began.

    The search doubles from 10/s, so it ends at the first answer that is cut: the rate is 0.9 of
    what was served.
    """
    pace = paced()
    pace.rate = rate / 0.9
    count = round(rate / 0.9 / 4)
    at = window(pace, T + 0.1, served=count, throttled=count, seconds=0.25)
    pace.rate = rate
    return pace, at


# While it is off.


def test_it_begins_with_the_third_throttled_answer():
    pace = Pace()
    pace.throttled(T, T)
    pace.throttled(T, T)
    assert not pace.on
    pace.throttled(T, T)
    assert pace.on
    assert pace.rate == 10.0


def test_one_throttled_answer_in_twenty_five_is_chance():
    pace = Pace()
    for n in range(1000):
        began = T + n * 0.003
        if n % 25 == 24:
            pace.throttled(began, began)
        else:
            pace.count(began)
        assert not pace.on
    for _ in range(10):
        pace.throttled(T + 3.0, T + 3.0)
    assert pace.on, "more than one in twenty"


def test_throttled_answers_of_more_than_two_seconds_ago_do_not_count():
    pace = Pace()
    for n in range(100):
        pace.throttled(T + 1.5 * n, T + 1.5 * n)
        assert not pace.on


def test_it_begins_at_the_rate_at_which_the_last_second_was_served():
    pace = Pace()
    for n in range(500):
        pace.count(T + n * 0.005)  # 200 a second
    for _ in range(40):
        pace.throttled(T + 2.5, T + 2.6)
    assert pace.on
    assert pace.rate == pytest.approx(200.0, abs=2.0)


def test_it_begins_no_faster_than_the_rate_limit():
    assert paced(max_rate=4.0).rate == 4.0
    assert paced(200.0, max_rate=50.0).rate == 50.0


def test_with_a_time_it_begins_at_once_and_the_first_turn_is_then():
    pace = Pace()
    pace.throttled(T, T, T + 2.0)
    assert pace.on
    assert pace.turn() == T + 2.0


def test_without_one_the_first_turn_is_after_one_interval():
    pace = paced()
    assert pace.turn() == pytest.approx(T + 0.1)


# Turns.


def test_turns_are_evenly_spaced():
    pace = paced()
    now = T
    for n in range(1, 10):
        assert pace.turn() == pytest.approx(T + 0.1 * n)
        now = pace.turn()
        pace.take_turn(now, waited=True)


def test_a_timer_that_is_a_little_late_is_made_up_for_and_no_more():
    pace = paced()
    pace.take_turn(T + 0.115, waited=True)  # due at 0.1
    assert pace.turn() == pytest.approx(T + 0.2)
    pace.take_turn(T + 5.0, waited=True)
    assert pace.turn() == pytest.approx(T + 4.98 + 0.1)


def test_at_high_rates_a_few_may_leave_together_and_the_rate_is_kept():
    pace = paced()
    pace.rate = 4000.0
    pace.take_turn(T + 1.0, waited=True)
    now, left = T + 1.0, 0
    while now < T + 2.0:
        if pace.turn() <= now:
            pace.take_turn(now, waited=True)
            left += 1
        else:
            now += 0.002
    assert 0.97 * 4000 <= left <= 1.03 * 4000


def test_a_new_rate_moves_the_next_turn_at_once():
    pace = paced()
    pace.take_turn(T + 0.1, waited=True)
    pace.rate = 100.0
    assert pace.turn() == pytest.approx(T + 0.11)


# Windows: the search.


def test_a_clean_window_of_a_search_doubles_the_rate():
    pace = paced()
    at = T + 0.1
    for rate in (20.0, 40.0, 80.0):
        at = window(pace, at, served=3, seconds=0.25)
        assert pace.rate == rate


def test_without_anybody_waiting_it_does_not_climb():
    pace = paced()
    window(pace, T + 0.1, served=3, seconds=0.25, waited=False)
    assert pace.rate == 10.0


def test_answers_to_requests_that_began_before_the_window_say_nothing():
    pace = paced()
    for _ in range(100):
        pace.throttled(T, T + 0.5)
    pace.take_turn(T + 0.1, waited=True)
    pace.answered(T + 0.2, T + 0.6)
    pace.answered(T + 0.36, T + 0.7)
    assert pace.rate == 20.0, "one clean answer, and then the first after the window"


def test_the_first_cut_of_a_search_is_by_what_its_window_served():
    pace = paced(200.0)
    window(pace, T + 0.005, served=25, throttled=25, seconds=0.25)
    assert pace.rate == pytest.approx(0.9 * 100)


def test_a_cut_is_never_by_more_than_to_a_quarter():
    pace = paced(200.0)
    window(pace, T + 0.005, served=1, throttled=49, seconds=0.25)
    assert pace.rate == 50.0


def test_two_answers_one_of_them_throttled_end_no_window():
    pace = paced()
    pace.throttled(T + 0.2, T + 0.2)
    for n in range(1, 3):
        pace.answered(T + 0.4 * n, T + 0.4 * n)
        assert pace.rate == 10.0
    pace.answered(T + 2.0, T + 2.0)
    assert pace.rate == 10.0, "one throttled answer of three is chance"


# Windows: near the limit.


def test_after_a_cut_it_climbs_by_one_then_two_then_four():
    pace, at = settled(40.0)
    for rate in (41.0, 43.0, 47.0, 55.0):
        at = window(pace, at, served=40)
        assert pace.rate == rate


def test_it_climbs_no_higher_than_the_rate_limit():
    pace = paced(45.0, max_rate=50.0)
    window(pace, T + 1 / 45, served=11, seconds=0.25)
    assert pace.rate == 50.0


def test_one_throttled_answer_or_five_percent_of_them_are_chance():
    pace, at = settled(40.0)
    at = window(pace, at, served=9, throttled=1)
    assert pace.rate == 41.0
    at = window(pace, at, served=38, throttled=2)
    assert pace.rate == 43.0
    window(pace, at, served=37, throttled=3)
    assert pace.rate < 43.0


def test_a_cut_near_the_limit_is_no_lower_than_what_was_served_before():
    pace, at = settled(50.0)
    at = window(pace, at, served=50)
    assert pace.rate == 51.0
    # A bucket that holds one token serves only half of what comes a little too fast.
    window(pace, at, served=25, throttled=25)
    assert pace.rate == pytest.approx(0.9 * 50, abs=0.1)


def test_a_second_cut_in_a_row_is_by_what_was_served():
    pace, at = settled(50.0)
    at = window(pace, at, served=25, throttled=25)
    assert pace.rate == pytest.approx(0.9 * 25, abs=0.1)
    window(pace, at, served=5, throttled=18)
    assert pace.rate == pytest.approx(22.5 / 4, abs=0.1)


# Nothing is served.


def test_while_nothing_is_served_the_rate_halves_down_to_one_in_two_seconds():
    pace, at = settled(8.0)
    for rate in (4.0, 2.0, 1.0, 0.5, 0.5):
        pace.take_turn(at, waited=True)
        for n in range(3):
            pace.throttled(at + 0.1 * n, at + 0.1 * n)
        at += 1.1
        pace.throttled(at, at)
        assert pace.rate == rate


def test_the_first_success_brings_back_half_of_the_rate_and_the_search_goes_up_to_all_of_it():
    pace, at = settled(64.0)
    for _ in range(4):
        for n in range(3):
            pace.throttled(at + 0.1 * n, at + 0.1 * n)
        at += 1.1
        pace.throttled(at, at)
    assert pace.rate == 4.0
    pace.answered(at - 0.5, at)
    assert pace.rate == 4.0, "of a request that began before"
    pace.answered(at + 0.2, at + 0.2)
    assert pace.rate == 32.0
    at = window(pace, at + 0.2, served=8, seconds=0.25)
    assert pace.rate == 64.0
    at = window(pace, at, served=16, seconds=0.25)
    assert pace.rate == 65.0, "from there on by steps"
    window(pace, at, served=65)
    assert pace.rate == 67.0


# A time while it is on.


def test_a_time_cuts_at_once_and_moves_the_next_turn_to_the_end_of_the_pause():
    pace, at = settled(50.0)
    pace.throttled(at + 0.3, at + 0.3, at + 1.3)
    assert pace.rate == pytest.approx(0.9 * 0.7 * 50)
    assert pace.turn() == pytest.approx(at + 1.3)


def test_after_a_clean_window_it_cuts_by_what_that_served():
    pace, at = settled(50.0)
    at = window(pace, at, served=50)
    pace.throttled(at + 0.3, at + 0.3, at + 1.3)
    assert pace.rate == pytest.approx(0.9 * 50, abs=0.1)


def test_refusals_of_the_same_round_cut_once():
    pace, at = settled(50.0)
    for n in range(20):
        pace.throttled(at + 0.01 * n, at + 0.3, at + 1.3)
    assert pace.rate == pytest.approx(0.9 * 0.7 * 50)


# When it is forgotten.


def quiet_seconds(pace, at, *, waited):
    """Return after how many clean windows it is off; at most 200."""
    for n in range(200):
        if not pace.on:
            return n
        at = window(pace, at, served=5, waited=waited)
    return math.inf


def test_it_is_forgotten_after_a_minute_in_which_it_was_not_needed():
    pace, at = settled(50.0)
    assert quiet_seconds(pace, at, waited=False) == pytest.approx(61, abs=1)
    assert pace.rate == math.inf


def test_it_is_kept_while_it_is_needed():
    pace, at = settled(50.0)
    assert quiet_seconds(pace, at, waited=True) == math.inf


def test_once_forgotten_it_begins_anew_as_the_first_time():
    pace, at = settled(50.0)
    quiet_seconds(pace, at, waited=False)
    pace.throttled(T + 1000, T + 1000)
    assert not pace.on
    pace.throttled(T + 1000, T + 1000)
    pace.throttled(T + 1000, T + 1000)
    assert pace.on
    assert pace.rate == 10.0
