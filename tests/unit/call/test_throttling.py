"""Whole runs against simulated servers that throttle: all is served, and how near to their limit.

The bounds are those of the table in the documentation, with some room above.
"""

import asyncio
import logging

import attrs
import pytest

from benchmarks.throttling import CASES, Case, Chance, TokenBucket, ideal, rate_of, simulate
from benchmarks.virtual_time import VirtualLoop

# The time by which a run may exceed the ideal one, as a factor, and the share that is refused.
EXPECTED = {
    "bucket, 10/s, burst 2": (1.1, 0.25),
    "bucket, 50/s, burst 1": (1.5, 0.25),
    "bucket, 50/s, burst 10": (1.15, 0.2),
    "bucket, 50/s, burst 50": (1.1, 0.2),
    "bucket, 200/s, burst 1": (1.6, 0.15),
    "bucket, 200/s, burst 40": (1.25, 0.2),
    "bucket, 1,000/s, burst 100": (1.3, 0.1),
    "bucket, 1/s, burst 1": (1.7, 0.65),
    "bucket, 50/s, burst 10, 50 ms": (1.2, 0.25),
    "bucket, 50/s, burst 10, 200 ms": (1.2, 0.25),
    "bucket, 50/s, burst 10, 2 s": (1.5, 0.15),
    "bucket, 50/s, burst 10, Retry-After: 1": (1.6, 0.15),
    "bucket, 50/s, burst 1, Retry-After: 1": (2.5, 0.2),
    "bucket, 10/s, burst 2, Retry-After: 1": (1.6, 0.25),
    "bucket, 50/s, burst 50, Retry-After: 1": (1.2, 0.1),
    "fixed window, 50 in 1 s": (1.5, 0.2),
    "fixed window, 100 in 10 s": (1.15, 0.55),
    "fixed window, 600 in 60 s": (1.1, 0.5),
    # A few keys must not use up their refusals while the server is closed.
    "fixed window, 100 in 10 s, 4 at once": (1.25, 0.3),
    "fixed window, 600 in 60 s, 4 at once": (1.1, 0.15),
    "fixed window, 50 in 1 s, Retry-After: 1": (1.6, 0.1),
    "sliding window, 50 in 1 s": (1.5, 0.2),
    "sliding window, 100 in 10 s": (1.2, 0.55),
    "chance, 2 %": (3.0, 0.03),
    "chance, 4 %": (8.0, 0.05),
    # Every one of its refusals asks all calls to wait for a second.
    "chance, 2 %, Retry-After: 1": (600.0, 0.03),
    "limit falls from 200/s to 50/s after 5 s": (1.3, 0.25),
    "limit rises from 50/s to 2,000/s after 5 s": (1.4, 0.1),
    "two clients, bucket, 50/s, burst 10": (1.15, 0.2),
    "two clients, bucket, 50/s, burst 1": (2.2, 0.3),
    "two clients, fixed window, 50 in 1 s": (1.3, 0.2),
    "max_rate 30, bucket, 50/s, burst 10": (1.0, 0.0),
    "max_rate 100, bucket, 50/s, burst 10": (1.1, 0.1),
}


def name_of(case):
    return case.name


@pytest.mark.parametrize("case", [case for case in CASES if case.keys < 10_000], ids=name_of)
def test_all_is_served_near_to_the_pace_that_the_server_allows(case):
    result = simulate(case)
    assert result.failed == 0
    factor, refused = EXPECTED[case.name]
    assert max(result.took) <= factor * ideal(case)
    assert result.share_refused <= refused


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case.keys >= 10_000], ids=name_of)
def test_all_of_many_keys_is_served_near_to_the_pace_that_the_server_allows(case):
    test_all_is_served_near_to_the_pace_that_the_server_allows(case)


@pytest.mark.parametrize("share", [0.01, 0.02])
def test_chance_is_no_limit(share, caplog):
    case = Case("chance", lambda: Chance(share), 5000, latency=0.05)
    with caplog.at_level(logging.WARNING, "flashback_async"):
        assert simulate(case).failed == 0
    assert "pace" not in caplog.text


@pytest.mark.parametrize("name", ["bucket, 50/s, burst 10", "fixed window, 50 in 1 s"])
def test_two_clients_share_a_limit(name):
    (case,) = (case for case in CASES if case.name == f"two clients, {name}")
    result = simulate(case)
    until = min(result.took)
    rates = [rate_of(result.served[client], 0.2 * until, until) for client in range(2)]
    assert min(rates) >= 0.3 * sum(rates)
    assert sum(rates) >= 0.8 * 50


@pytest.mark.slow
def test_a_client_that_comes_later_gets_its_share():
    case = Case("late", lambda: TokenBucket(50, 10), clients=2, later=10.0, keys=2500)
    result = simulate(case)
    late = result.served[1]
    assert rate_of(late, 10.0, 20.0) >= 5, "from the beginning, it is served"
    rates = [rate_of(served, 40.0, 60.0) for served in result.served]
    assert min(rates) >= 0.4 * sum(rates)


@pytest.mark.slow
def test_a_limit_that_is_lifted_is_used_within_seconds():
    (case,) = (case for case in CASES if case.name.startswith("limit rises"))
    served = simulate(case).served[0]
    assert rate_of(served, 3.0, 5.0) <= 60
    assert rate_of(served, 16.0, 17.0) >= 0.8 * 2000


def test_a_server_that_throttles_for_ever_ends_no_run_before_each_key_was_refused_30_times():
    case = Case("never", lambda: TokenBucket(1e-9, 0.5), keys=8)
    result = simulate(case)
    assert result.failed == 8
    assert result.asked == 8 * 30


def test_with_a_single_slot_a_throttled_run_goes_on_too():
    case = Case("one slot", lambda: TokenBucket(20, 1), keys=100, slots=1)
    result = simulate(case)
    assert result.failed == 0
    assert max(result.took) <= 2.2 * ideal(case)


def test_the_simulation_is_the_same_each_time():
    case = attrs.evolve(CASES[1], keys=100)
    assert simulate(case) == simulate(case)


def test_the_loop_of_the_simulation_fails_what_would_hang():
    async def hang():
        await asyncio.get_running_loop().create_future()

    with (
        pytest.raises(AssertionError, match="will never happen"),
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
    ):
        runner.run(hang())
