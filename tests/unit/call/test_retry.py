"""Stop, wait and cost of the attempts of a call."""

import asyncio
import math

import pytest

from flashback_async.call.retry import Budget, Retries
from flashback_async.config import RetryPolicy
from flashback_async.errors import (
    ConnectionLostError,
    NotFoundError,
    RateLimitError,
    ServerError,
)
from flashback_async.values import NoAnswer, Retry
from tests.unit.support import LoopClock, answer, now

OK = answer({})


def transient(error=None):
    return NoAnswer(error or ConnectionLostError("lost"), Retry.TRANSIENT)


def throttled(after=0.0, error=RateLimitError):
    return NoAnswer(error("slow down", retry_after=after or None), Retry.THROTTLED, after)


def final():
    return NoAnswer(NotFoundError("no", status=404))


class Run:
    """One call after its first failure, with answers in turn."""

    def __init__(self, policy=None, budget=None, share=1.0, time_left=math.inf, patience=math.inf):
        self.clock = LoopClock(share)
        self.budget = budget or Budget()
        self.waits = []
        self.attempts = 0
        self.retries = Retries(
            policy or RetryPolicy(),
            self.budget,
            self.clock,
            time_left if callable(time_left) else lambda: time_left,
            patience if callable(patience) else lambda: patience,
        )

    async def __call__(self, reply, *answers):
        answers = list(answers)
        try:
            while isinstance(reply, NoAnswer):
                wait = self.retries.next_wait(reply, self.attempts + 1)
                if wait is None:
                    return reply
                self.waits.append((reply, wait))
                await self.clock.sleep(wait)
                self.attempts += 1
                reply = answers.pop(0)
                if isinstance(reply, BaseException):
                    raise reply
        finally:
            self.retries.settle(
                self.attempts + 1, succeeded=not isinstance(reply, NoAnswer | BaseException)
            )
        return reply


# The budget.


def test_a_budget_begins_full_and_pays_until_it_is_empty():
    budget = Budget()
    assert budget.tokens == 500
    for _ in range(35):
        assert budget.withdraw(14)
    assert budget.tokens == 10
    assert not budget.withdraw(14)
    assert budget.tokens == 10, "nothing is taken where too little is left"
    assert budget.withdraw(5)
    assert budget.withdraw(5)
    assert not budget.withdraw(1)


def test_a_success_gives_five_back_and_never_more_than_fits():
    budget = Budget()
    budget.reward()
    assert budget.tokens == 500
    budget.withdraw(14)
    budget.reward()
    assert budget.tokens == 491
    budget.reward()
    budget.reward()
    assert budget.tokens == 500
    budget.deposit(1000)
    assert budget.tokens == 500


def test_that_the_budget_is_empty_is_told_once_until_it_is_full_again():
    budget = Budget()
    budget.withdraw(20)
    assert budget.should_log_empty()
    assert not budget.should_log_empty()
    budget.deposit(19)
    assert not budget.should_log_empty()
    budget.deposit(1)
    assert budget.should_log_empty()


# What a failure asks for.


@pytest.mark.parametrize(
    ("failure", "wait"),
    [
        (throttled(2.0), 0.0),
        (throttled(60.0), 0.0),
        (throttled(60.1), None),
        (throttled(), 1.0),
        (throttled(2.0, ServerError), 0.0),
        (transient(ServerError("no", retry_after=2000.0)), 0.05),
        (transient(), 0.05),
        (final(), None),
    ],
)
async def test_a_pause_is_what_the_server_asked_for_within_what_the_policy_accepts(failure, wait):
    assert Run().retries.next_wait(failure, 1) == wait


async def test_a_policy_may_accept_no_pause_at_all():
    assert Run(RetryPolicy(max_retry_after=0)).retries.next_wait(throttled(0.1), 1) is None


# The way of a call.


async def test_a_success_after_a_failure_is_given_and_all_it_cost_comes_back():
    run = Run()
    assert await run(transient(), transient(), OK) is OK
    assert run.attempts == 2
    assert run.budget.tokens == 500


async def test_attempts_are_limited_with_the_first_among_them():
    run = Run()
    last = transient()
    assert await run(transient(), transient(), last, OK) is last
    assert run.attempts == 2
    assert run.budget.tokens == 500 - 2 * 14


@pytest.mark.parametrize("most", [2, 5])
async def test_the_policy_says_how_many(most):
    run = Run(RetryPolicy(max_attempts=most))
    await run(transient(), *[transient()] * 10)
    assert run.attempts == most - 1


@pytest.mark.parametrize("first", [transient(), throttled(), throttled(1.0)])
async def test_a_policy_of_one_attempt_sends_nothing_again(first):
    run = Run(RetryPolicy.none())
    assert await run(first, OK) is first
    assert run.attempts == 0
    assert run.budget.tokens == 500
    assert run.clock.slept == []


async def test_a_final_failure_ends_the_call():
    run = Run()
    last = final()
    assert await run(transient(), last, OK) is last
    assert run.attempts == 1
    assert run.budget.tokens == 500 - 14, "a retry that was sent is paid for"


async def test_backoff_is_drawn_from_zero_to_a_ceiling_that_doubles_up_to_the_most():
    run = Run(RetryPolicy(max_attempts=9))
    await run(transient(), *[transient()] * 9)
    assert run.clock.drawn == [
        (0.0, ceiling) for ceiling in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 8.0)
    ]
    # The last draw found no attempt left.
    assert run.clock.slept == [ceiling for _, ceiling in run.clock.drawn[:-1]]


async def test_backoff_after_a_throttling_without_a_time_begins_higher_and_costs_less():
    run = Run()
    last = throttled()
    assert await run(throttled(), throttled(), last) is last
    assert run.clock.slept == [1.0, 2.0]
    assert run.budget.tokens == 500 - 2 * 5


async def test_chance_may_take_all_of_the_wait_away():
    run = Run(share=0.0)
    assert await run(transient(), OK) is OK
    assert run.clock.slept == [0.0]


async def test_a_huge_number_of_attempts_overflows_nothing():
    run = Run(RetryPolicy(max_attempts=2000, backoff_base=0.0, throttle_base=0.0))
    await run(transient(), *[throttled(1.0), transient()] * 30, OK)
    run = Run(RetryPolicy(max_attempts=2000, backoff_base=1.0, backoff_max=1.0))
    run.budget.tokens = 10**6
    await run(*[transient()] * 1500, OK)
    assert set(run.clock.slept) == {1.0}


async def test_a_pause_costs_neither_attempts_nor_tokens_nor_sleep_of_its_own():
    run = Run()
    assert await run(throttled(2.0), *[throttled(3.0)] * 20, OK) is OK
    assert run.attempts == 21
    assert set(run.clock.slept) == {0.0}, "the gate of all calls does the waiting"
    assert run.clock.drawn == []
    assert run.budget.tokens == 500


async def test_a_pause_longer_than_the_policy_accepts_ends_the_call():
    run = Run()
    first = throttled(61.0)
    assert await run(first, OK) is first
    assert run.attempts == 0


@pytest.mark.parametrize(("patience", "waits"), [(1.9, False), (2.0, False), (2.1, True)])
async def test_a_pause_longer_than_the_patience_ends_the_call(patience, waits):
    run = Run(patience=patience)
    first = throttled(2.0)
    assert await run(first, OK) is (OK if waits else first)


@pytest.mark.parametrize(("left", "waits"), [(0.04, False), (0.05, False), (0.06, True)])
async def test_a_wait_that_time_does_not_allow_ends_the_call_with_its_own_error(left, waits):
    run = Run(time_left=left)
    first = transient()
    assert await run(first, OK) is (OK if waits else first)
    assert ("no time left for a retry after 0.05 s" in str(first.error)) is not waits
    assert run.budget.tokens == 500
    assert run.clock.slept == ([0.05] if waits else [])


async def test_an_empty_budget_ends_the_call_with_its_own_error():
    budget = Budget()
    budget.withdraw(500 - 13)
    run = Run(budget=budget)
    first = transient()
    assert await run(first, OK) is first
    assert "retry budget empty" in str(first.error)
    assert run.retries.stopped_by_budget
    assert budget.tokens == 13
    cheaper = Run(budget=budget)
    assert await cheaper(throttled(), OK) is OK
    assert not cheaper.retries.stopped_by_budget


async def test_each_retry_waits_for_the_failure_before_it():
    run = Run()
    first, second = transient(), throttled()
    await run(first, second, OK)
    assert run.waits == [(first, 0.05), (second, 2.0)]


async def test_a_mix_of_failures_pays_for_each_by_its_kind():
    run = Run(RetryPolicy(max_attempts=4))
    await run(transient(), throttled(), throttled(1.0), transient(), final())
    assert run.budget.tokens == 500 - 14 - 5 - 14


async def test_a_success_gives_back_all_that_its_retries_had_cost():
    run = Run(RetryPolicy(max_attempts=4))
    run.budget.withdraw(100)
    await run(transient(), throttled(), transient(), OK)
    assert run.budget.tokens == 400


async def test_a_retry_that_is_cancelled_before_it_was_sent_costs_nothing():
    run = Run(RetryPolicy(backoff_base=5.0, backoff_max=5.0))
    task = asyncio.create_task(run(transient(), OK))
    await asyncio.sleep(1)
    assert run.budget.tokens == 500 - 14
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert run.attempts == 0
    assert run.budget.tokens == 500


async def test_a_retry_that_is_cancelled_after_it_was_sent_is_paid_for():
    run = Run()
    with pytest.raises(asyncio.CancelledError):
        await run(transient(), asyncio.CancelledError())
    assert run.budget.tokens == 500 - 14


async def test_only_the_retry_that_was_not_sent_is_given_back():
    run = Run(RetryPolicy(backoff_base=5.0, backoff_max=5.0))
    task = asyncio.create_task(run(transient(), transient(), OK))
    await asyncio.sleep(7)
    assert run.attempts == 1
    task.cancel()
    await asyncio.wait([task])
    assert run.budget.tokens == 500 - 14


async def test_an_exception_of_the_attempt_is_raised_as_it_is():
    run = Run()
    bug = ZeroDivisionError("bug")
    with pytest.raises(ZeroDivisionError) as caught:
        await run(transient(), bug)
    assert caught.value is bug


async def test_many_calls_at_once_do_not_mix_their_plans():
    budget = Budget()

    async def one(number):
        run = Run(RetryPolicy(max_attempts=number + 1), budget, share=number / 20)
        answered = await run(transient(), *[transient()] * (number - 1), OK)
        return answered is OK, run.attempts

    began = now()
    results = await asyncio.gather(*(one(number) for number in range(1, 8)))
    assert results == [(True, number) for number in range(1, 8)]
    assert budget.tokens == 500
    assert now() > began
