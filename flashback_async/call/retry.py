"""When a failed request is sent again: stop, wait and cost of a call are one plan."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import tenacity

from flashback_async.config import RetryPolicy
from flashback_async.errors import APIError
from flashback_async.values import Clock, NoAnswer, Response, Retry

Answer = Response | NoAnswer

_CAPACITY = 500
_TRANSIENT_COST = 14
_THROTTLED_COST = 5
_REWARD = 5


class Budget:
    """Tokens that the retries of a client share: an outage empties it, successes refill it."""

    def __init__(self) -> None:
        self.tokens = _CAPACITY
        self._told = False

    def take(self, cost: int) -> bool:
        """Take tokens for a retry; False, and nothing taken, where too few are left."""
        if cost > self.tokens:
            return False
        self.tokens -= cost
        return True

    def give(self, tokens: int) -> None:
        self.tokens = min(_CAPACITY, self.tokens + tokens)
        if self.tokens == _CAPACITY:
            self._told = False

    def tell_empty(self) -> bool:
        """Tell whether the log has yet to say that the budget is empty; it is full in between."""
        told, self._told = self._told, True
        return not told

    def reward(self) -> None:
        """Take note of a success."""
        if self.tokens < _CAPACITY:
            self.give(_REWARD)


class Plan:
    """Decide, failure by failure, whether one call goes on, after how long, and at what cost.

    ``time_left`` gives the seconds that the call has left, ``patience`` those that it can wait
    while the server asks for a pause.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        budget: Budget,
        clock: Clock,
        time_left: Callable[[], float],
        patience: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._budget = budget
        self._clock = clock
        self._time_left = time_left
        self._patience = patience
        self._attempts = 1
        self._paid = 0  # for all retries of the call
        self._unsent = 0  # of that, for the retry that has not been sent yet
        self._on_its_way = 0  # and for the one that has
        self.found_budget_empty = False

    def wait(self, failure: NoAnswer) -> float:
        """Draw the seconds to sleep before the next attempt, 0 where the shared gate waits."""
        if is_pause(failure, self._policy):
            return 0.0
        policy = self._policy
        throttled = failure.retry is Retry.THROTTLED
        base = policy.throttle_base if throttled else policy.backoff_base
        ceiling = base * 2.0 ** min(self._attempts - 1, 32)
        return self._clock.uniform(0.0, min(ceiling, policy.backoff_max))

    def stops(self, failure: NoAnswer, wait: float) -> bool:
        """Tell whether the call ends with this failure; if not, pay for the retry."""
        if self._policy.max_attempts == 1 or asks_too_much(failure, self._policy):
            return True
        if is_pause(failure, self._policy):
            return _seconds_asked(failure) >= self._patience()
        if self._attempts >= self._policy.max_attempts:
            return True
        if wait >= self._time_left():
            failure.error._remark(f"no time left for a retry after {wait:.2f} s")
            return True
        cost = _THROTTLED_COST if failure.retry is Retry.THROTTLED else _TRANSIENT_COST
        if not self._budget.take(cost):
            self.found_budget_empty = True
            failure.error._remark("retry budget empty")
            return True
        self._attempts += 1
        self._paid += cost
        self._unsent = cost
        return False

    def sent(self) -> None:
        """Take note that the retry which was paid for is on its way."""
        self._on_its_way, self._unsent = self._unsent, 0

    def not_sent(self) -> None:
        """Take note that it has not left after all."""
        self._unsent = self._on_its_way

    def settle(self, answer: Answer | None) -> None:
        """Give back what a success has earned, or what a retry that was never sent had cost."""
        if isinstance(answer, Response):
            self._budget.give(self._paid)
        else:
            self._budget.give(self._unsent)


async def send_again(
    first: NoAnswer,
    attempt: Callable[[], Awaitable[Answer]],
    plan: Plan,
    sleep: Callable[[float], Awaitable[None]],
    tell: Callable[[NoAnswer, float], None],
) -> Answer:
    """Drive the attempts after a first one that failed; gives the last answer.

    ``tell`` hears of each retry, with the failure before it and the seconds to sleep first.
    """
    answers: list[NoAnswer] = [first]

    async def next_attempt() -> Answer:
        # The first attempt was made outside: entered here, it counts as number one.
        return answers.pop() if answers else await attempt()

    # Made anew for each call: one that is shared mixes up the state of concurrent calls.
    retrying = tenacity.AsyncRetrying(
        sleep=sleep,
        retry=tenacity.retry_if_result(_may_go_on),
        wait=lambda state: plan.wait(_failure(state)),
        stop=lambda state: plan.stops(_failure(state), state.upcoming_sleep),
        before_sleep=lambda state: tell(_failure(state), state.upcoming_sleep),
        retry_error_callback=_last_answer,
    )
    try:
        answer: Answer = await retrying(next_attempt)
    except BaseException:
        plan.settle(None)
        raise
    plan.settle(answer)
    return answer


def is_pause(failure: NoAnswer, policy: RetryPolicy) -> bool:
    """Tell whether the server named a time to wait that the policy accepts."""
    return 0 < _seconds_asked(failure) <= policy.max_retry_after


def asks_too_much(failure: NoAnswer, policy: RetryPolicy) -> bool:
    """Tell whether the server named a time to wait that is longer than the policy accepts."""
    return _seconds_asked(failure) > policy.max_retry_after


def _seconds_asked(failure: NoAnswer) -> float:
    error = failure.error
    if failure.retry is Retry.THROTTLED and isinstance(error, APIError):
        return error.retry_after or 0.0
    return 0.0


def _may_go_on(answer: Answer) -> bool:
    return isinstance(answer, NoAnswer) and answer.retry is not Retry.NEVER


def _failure(state: tenacity.RetryCallState) -> NoAnswer:
    answer = _last_answer(state)
    assert isinstance(answer, NoAnswer)  # noqa: S101 - only failures are waited for
    return answer


def _last_answer(state: tenacity.RetryCallState) -> Answer:
    assert state.outcome is not None  # noqa: S101 - tenacity asks after an attempt only
    answer: Answer = state.outcome.result()
    return answer
