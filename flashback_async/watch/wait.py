"""The wait for one bucket to be as it should."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Awaitable, Callable

from flashback_async.clock import Clock
from flashback_async.errors import (
    DeadlineExceededError,
    FlashbackError,
    InvalidArgumentError,
    seconds,
)
from flashback_async.models import BucketStatus
from flashback_async.watch import settings

# Polls are so much earlier or later than the interval, so that many waits do not ask in step.
_JITTER = 0.1


class Wait:
    """A wait until a predicate holds for so many answers in a row.

    ``ask`` gets the status within the seconds that are left. ``may_pass`` returns whether an
    error may be gone by the next poll.
    """

    def __init__(
        self,
        predicate: Callable[[BucketStatus], bool],
        ask: Callable[[float], Awaitable[BucketStatus]],
        may_pass: Callable[[FlashbackError], bool],
        clock: Clock,
        *,
        timeout: float,
        interval: float,
        times: int,
    ) -> None:
        if not callable(predicate):
            raise InvalidArgumentError("predicate must be a function of a BucketStatus")
        settings.seconds("timeout", timeout, low=1e-6)
        settings.seconds("interval", interval, low=1e-6)
        settings.count("times", times)
        self._predicate = predicate
        self._ask = ask
        self._may_pass = may_pass
        self._clock = clock
        self._timeout = timeout
        self._interval = interval
        self._times = times
        self._ends = clock.monotonic() + timeout
        self._attempts = 0
        self._answer: BucketStatus | None = None  # the last one
        self._failure: FlashbackError | None = None  # of the last poll

    async def result(self) -> BucketStatus:
        """Return the answer with which the predicate has held often enough.

        Raises:
            DeadlineExceededError: It has not by the end of the time.
            FlashbackError: A poll failed for good.
        """
        held = 0
        while (left := self._ends - self._clock.monotonic()) > 0:
            status = await self._poll(left)
            if status is not None:
                held = held + 1 if self._holds(status) else 0
                if held >= self._times:
                    return status
            rest = self._interval * self._clock.uniform(1 - _JITTER, 1 + _JITTER)
            await self._clock.sleep(min(rest, max(0.0, self._ends - self._clock.monotonic())))
        raise DeadlineExceededError(
            f"the predicate did not hold within {seconds(self._timeout)}: {self._last_seen()}",
            attempts=self._attempts,
            elapsed=self._clock.monotonic() - self._ends + self._timeout,
        )

    async def _poll(self, left: float) -> BucketStatus | None:
        """Return the answer to a poll; None if it failed in a way that may pass."""
        try:
            self._answer, self._failure = await self._ask(left), None
            self._attempts += 1
        except FlashbackError as error:
            self._attempts += error.attempts
            if not self._may_pass(error):
                raise
            self._failure = error
            return None
        return self._answer

    def _holds(self, status: BucketStatus) -> bool:
        holds: object = self._predicate(status)
        if inspect.iscoroutine(holds):
            holds.close()
            raise InvalidArgumentError("predicate must return whether it holds, not a coroutine")
        return bool(holds)

    def _last_seen(self) -> str:
        if self._answer is None:
            text = "no poll had an answer"
        else:
            states = Counter(node.state for node in self._answer.nodes)
            counted = ", ".join(
                f"{count} " + ("without a state" if state is None else f"{str(state)!a}")
                for state, count in states.items()
            )
            text = f"in the last answer, the nodes were {counted or 'none'}"
        if self._failure is not None:
            text += f"; the last poll failed: {type(self._failure).__name__}: {self._failure}"
        return text
