"""The decision whether a failed request is retried, when, and at what cost."""

from __future__ import annotations

from collections.abc import Callable

import tenacity
from attrs import frozen

from flashback_async.clock import Clock
from flashback_async.config import RetryPolicy
from flashback_async.values import NoAnswer, Retry

_CAPACITY = 500
_TRANSIENT_COST = 14
_THROTTLED_COST = 5
_REWARD = 5
# Under a learned pace, chance refuses no key of a run so many times in a row.
_MOST_REFUSALS = 30
_LONGEST_REST = 4.0  # seconds between two of them; so all of them outlast a quota of a minute


class Budget:
    """The tokens that all retries of a client share: an outage empties it, successes refill it."""

    def __init__(self) -> None:
        self.tokens = _CAPACITY
        self._logged_empty = False

    def withdraw(self, cost: int) -> bool:
        """Take tokens for a retry; return whether there were enough."""
        if cost > self.tokens:
            return False
        self.tokens -= cost
        return True

    def deposit(self, tokens: int) -> None:
        self.tokens = min(_CAPACITY, self.tokens + tokens)
        if self.tokens == _CAPACITY:
            self._logged_empty = False

    def reward(self) -> None:
        """Deposit the tokens that a success earns."""
        if self.tokens < _CAPACITY:
            self.deposit(_REWARD)

    def should_log_empty(self) -> bool:
        """Return whether to log that the budget is empty: once, until it was full again."""
        logged, self._logged_empty = self._logged_empty, True
        return not logged


class Retries:
    """The retries of one call, as tenacity's strategies decide them.

    ``time_left`` returns the seconds that the call has left. ``patience`` returns the seconds that
    it can wait while the server asks for a pause.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        budget: Budget,
        clock: Clock,
        time_left: Callable[[], float],
        patience: Callable[[], float],
    ) -> None:
        self.stopped_by_budget = False
        self._policy = policy
        self._budget = budget
        self._clock = clock
        self._time_left = time_left
        self._patience = patience
        self._paid = 0  # tokens, for all retries of the call
        self._last_cost = 0
        self._sent_before = 0  # attempts sent when the last retry was paid for
        self._refusals = 0  # throttled answers to a key of a run
        self._retrying = tenacity.Retrying(
            retry=_IS_RETRYABLE,
            wait=_FullJitter(policy, clock),
            stop=tenacity.stop_after_attempt(policy.max_attempts)
            | _StopWhenTimeIsShort(time_left)
            | _StopWhenBudgetIsEmpty(budget),
            retry_error_callback=self._explain_stop,
        )
        self._retrying.begin()
        # Each call has its own state, because a shared one would mix up concurrent calls.
        self._state = tenacity.RetryCallState(self._retrying, None, (), {})

    def next_wait(self, failure: NoAnswer, sent: int) -> float | None:
        """Return the seconds before the next attempt, and pay for it; None ends the call.

        Obeying a pause costs neither attempts nor tokens: it returns 0, because admission waits
        for the end of the pause. ``sent`` is the number of attempts sent so far.
        """
        if not self._may_go_on(failure):
            return None
        if failure.pause:
            return 0.0
        self._state.set_result(failure)
        action = self._retrying.iter(self._state)
        if not isinstance(action, tenacity.DoSleep):
            return None
        self._state.prepare_for_next_attempt()
        self._last_cost = _cost(failure)
        self._budget.withdraw(self._last_cost)
        self._paid += self._last_cost
        self._sent_before = sent
        return float(action)

    def next_wait_in_run(self, failure: NoAnswer, *, paced: bool) -> float | None:
        """Return the seconds before a throttled key of a run is sent again; None ends its call.

        It costs neither attempts nor tokens. A key rests longer after each refusal, so that a few
        keys do not use up theirs while the server is closed. Without a pace, chance spreads the
        keys that were refused together.
        """
        if not self._may_go_on(failure):
            return None
        self._refusals += 1
        if self._refusals == _MOST_REFUSALS:
            failure.error._remark(f"throttled {_MOST_REFUSALS} times")
            return None
        rest = 0.0 if self._refusals == 1 else min(_LONGEST_REST, 0.025 * 2.0**self._refusals)
        if paced:
            return rest
        policy = self._policy
        return max(rest, self._clock.uniform(0.0, min(policy.throttle_base, policy.backoff_max)))

    def _may_go_on(self, failure: NoAnswer) -> bool:
        """Return whether the policy permits another attempt, and a pause leaves time for it."""
        if self._policy.max_attempts == 1 or failure.pause > self._policy.max_retry_after:
            return False
        return not failure.pause or failure.pause < self._patience()

    def settle(self, sent: int, *, succeeded: bool) -> None:
        """End the retries: deposit the cost of all after a success, else of one not sent."""
        if succeeded:
            self._budget.deposit(self._paid)
        elif sent == self._sent_before:
            self._budget.deposit(self._last_cost)
        # tenacity refers back to itself and to us. That would keep the call's error, and with it
        # the frames of the caller, alive until the next collection.
        self._retrying.iter_state.reset()
        del self._retrying, self._state

    def _explain_stop(self, state: tenacity.RetryCallState) -> None:
        """Add to the error why no further attempt follows, unless all have been made."""
        if state.attempt_number >= self._policy.max_attempts:
            return
        error = _failure(state).error
        if state.upcoming_sleep >= self._time_left():
            error._remark(f"no time left for a retry after {state.upcoming_sleep:.2f} s")
        else:
            self.stopped_by_budget = True
            error._remark("retry budget empty")


@frozen
class _FullJitter(tenacity.wait.wait_base):
    """A random wait below a ceiling that doubles with each attempt."""

    policy: RetryPolicy
    clock: Clock

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        throttled = _failure(retry_state).retry is Retry.THROTTLED
        base = self.policy.throttle_base if throttled else self.policy.backoff_base
        ceiling = base * 2.0 ** min(retry_state.attempt_number - 1, 32)
        return self.clock.uniform(0.0, min(ceiling, self.policy.backoff_max))


@frozen
class _StopWhenTimeIsShort(tenacity.stop.stop_base):
    """The end of a call that would sleep past its own deadline."""

    time_left: Callable[[], float]

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        return retry_state.upcoming_sleep >= self.time_left()


@frozen
class _StopWhenBudgetIsEmpty(tenacity.stop.stop_base):
    """The end of a call whose retry the client's budget cannot pay for."""

    budget: Budget

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        return _cost(_failure(retry_state)) > self.budget.tokens


def _is_retryable(reply: NoAnswer) -> bool:
    return reply.retry is not Retry.NEVER


_IS_RETRYABLE = tenacity.retry_if_result(_is_retryable)


def _cost(failure: NoAnswer) -> int:
    return _THROTTLED_COST if failure.retry is Retry.THROTTLED else _TRANSIENT_COST


def _failure(state: tenacity.RetryCallState) -> NoAnswer:
    assert state.outcome is not None  # noqa: S101 - set before tenacity is asked
    failure: NoAnswer = state.outcome.result()
    return failure
