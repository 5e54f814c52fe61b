"""The budget and the plan of a call against simple models of them."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flashback_async.call.retry import Budget, Retries
from flashback_async.config import RetryPolicy
from flashback_async.errors import ConnectionLostError, NotFoundError, RateLimitError
from flashback_async.values import NoAnswer, Retry
from tests.unit.support import LoopClock, answer

COST = {Retry.TRANSIENT: 14, Retry.THROTTLED: 5}


class BudgetMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.budget = Budget()
        self.tokens = 500
        self.told = False

    @rule(cost=st.integers(0, 60))
    def take(self, cost):
        can = self.tokens >= cost
        assert self.budget.withdraw(cost) is can
        self.tokens -= cost if can else 0

    @rule(tokens=st.integers(0, 60))
    def give(self, tokens):
        self.budget.deposit(tokens)
        self.tokens = min(500, self.tokens + tokens)
        self.told = self.told and self.tokens < 500

    @rule()
    def reward(self):
        full = self.tokens == 500
        self.budget.reward()
        self.tokens = min(500, self.tokens + 5)
        self.told = self.told and (full or self.tokens < 500)

    @rule()
    def tell(self):
        assert self.budget.should_log_empty() is not self.told
        self.told = True

    @invariant()
    def agrees(self):
        assert not hasattr(self, "budget") or self.budget.tokens == self.tokens


TestBudget = BudgetMachine.TestCase


def failure(kind, after):
    if kind is Retry.THROTTLED:
        return NoAnswer(RateLimitError("slow", status=429, retry_after=after), kind, after or 0.0)
    if kind is Retry.TRANSIENT:
        return NoAnswer(ConnectionLostError("lost"), kind)
    return NoAnswer(NotFoundError("no", status=404), kind)


failures = st.tuples(
    st.sampled_from(
        [Retry.TRANSIENT, Retry.TRANSIENT, Retry.THROTTLED, Retry.THROTTLED, Retry.NEVER]
    ),
    st.sampled_from([None, None, 0.5, 2.0, 59.0, 61.0]),
)
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 6),
    backoff_base=st.sampled_from([0.0, 0.05, 4.0]),
    throttle_base=st.sampled_from([0.0, 1.0, 100.0]),
    backoff_max=st.sampled_from([0.0, 1.0, 8.0]),
    max_retry_after=st.sampled_from([0.0, 2.0, 60.0]),
)


def expected(policy, script, tokens, total, share):
    """Walk through a call by the table of faults; return its answers, its end and its cost."""
    time, attempts, paid, used = 0.0, 1, 0, 0
    for kind, after in script:
        asked = (after or 0.0) if kind is Retry.THROTTLED else 0.0
        if kind is Retry.NEVER or policy.max_attempts == 1 or asked > policy.max_retry_after:
            return used, tokens - paid, time
        if asked:
            if asked >= total - time:
                return used, tokens - paid, time
        else:
            if attempts >= policy.max_attempts:
                return used, tokens - paid, time
            base = policy.throttle_base if kind is Retry.THROTTLED else policy.backoff_base
            wait = share * min(base * 2 ** (attempts - 1), policy.backoff_max)
            if wait >= total - time or COST[kind] > tokens - paid:
                return used, tokens - paid, time
            attempts += 1
            paid += COST[kind]
            time += wait
        used += 1
    return used, tokens, time


@given(
    policies,
    st.lists(failures, min_size=1, max_size=12),
    st.integers(0, 500),
    st.sampled_from([0.04, 1.0, 5.0, 30.0, 1000.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
)
async def test_a_call_goes_the_way_that_the_rules_say(policy, script, tokens, total, share):
    budget, clock = Budget(), LoopClock(share)
    budget.withdraw(500 - tokens)
    began = clock.monotonic()

    def time_left():
        return began + total - clock.monotonic()

    retries = Retries(policy, budget, clock, time_left, time_left)
    answers = [failure(*step) for step in script]
    success = answer({})
    coming = iter([*answers[1:], success])
    end, waits = answers[0], []
    while isinstance(end, NoAnswer):
        wait = retries.next_wait(end, len(waits) + 1)
        if wait is None:
            break
        waits.append(wait)
        await clock.sleep(wait)
        end = next(coming)
    retries.settle(len(waits) + 1, succeeded=end is success)
    used, left, time = expected(policy, script, tokens, total, share)
    assert end is ([*answers, success][used])
    assert len(waits) == used
    assert budget.tokens == left
    assert abs(clock.monotonic() - began - time) < 1e-4
    assert all(0 <= wait <= policy.backoff_max for wait in waits)


@given(policies, st.lists(failures, min_size=1, max_size=8), st.floats(0, 20))
async def test_a_call_cancelled_at_any_time_pays_for_what_was_sent(policy, script, moment):
    budget, clock = Budget(), LoopClock()
    retries = Retries(policy, budget, clock, lambda: 1e9, lambda: 1e9)
    answers = [failure(*step) for step in script]
    coming = iter([*answers[1:], answer({})])
    paid = []

    async def go():
        reply, sent = answers[0], 1
        try:
            while isinstance(reply, NoAnswer):
                wait = retries.next_wait(reply, sent)
                if wait is None:
                    break
                paid.append(0 if reply.pause else COST[reply.retry])
                await clock.sleep(wait)
                sent += 1
                await asyncio.sleep(0.3)
                reply = next(coming)
        finally:
            retries.settle(sent, succeeded=not isinstance(reply, NoAnswer))

    task = asyncio.create_task(go())
    await asyncio.sleep(moment)
    task.cancel()
    await asyncio.wait([task])
    assert 500 - sum(paid) <= budget.tokens <= 500
    if task.cancelled():
        assert budget.tokens in {500 - sum(paid), 500 - sum(paid[:-1])}
