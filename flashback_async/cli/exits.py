"""Exit codes, and the rules that choose the one of a run."""

from __future__ import annotations

import copy
import time
from enum import IntEnum
from typing import Any

from flashback_async import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    DeadlineExceededError,
    FlashbackError,
    InvalidArgumentError,
    Outcome,
    RateLimitError,
)
from flashback_async.cli import text

_SHOWN = 20


class Exit(IntEnum):
    """The exit codes of the command, as its help lists them."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    TOKEN_REJECTED = 3
    NOTHING_SUCCEEDED = 4
    DEADLINE = 5
    INTERRUPTED = 130


class Deadline:
    """The seconds that a whole run may take, the search for buckets included."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._started = time.monotonic()

    def __str__(self) -> str:
        return "no deadline" if self.seconds is None else text.seconds(self.seconds)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._started

    @property
    def passed(self) -> bool:
        # A timer may fire a little early.
        return self.seconds is not None and self.elapsed >= self.seconds - 0.05

    def left(self) -> float | None:
        """Return the seconds that are left, never 0: a call that is late ends as it begins."""
        return None if self.seconds is None else max(self.seconds - self.elapsed, 0.001)

    def is_outlasted_by(self, error: APIError) -> bool:
        """Return whether the API asks for a longer pause than the run has left."""
        left = self.left()
        return left is not None and error.retry_after is not None and error.retry_after > left

    def message(self, error: FlashbackError) -> str:
        """Return how the deadline ended a run, whose error is given."""
        if isinstance(error, APIError) and error.retry_after is not None:
            pause = text.seconds(error.retry_after)
            return (
                f"the API asked for a pause of {pause}, longer than the deadline of {self} allows"
            )
        return f"the deadline of {self} passed"


class Tally:
    """Counts of outcomes, and the failures that decide the exit code.

    Attributes:
        first_failures: The first few, for a list of them.
        rejection: The error of the first key whose token was rejected.
        cut_off: The error of the first key that the deadline left no time for.
        pace: Requests a second, at the end, if the API throttled the run; else None.
    """

    def __init__(self, deadline: Deadline) -> None:
        self.succeeded = 0
        self.failed = 0
        self.first_failures: list[Outcome[Any, Any]] = []
        self.rejection: AuthenticationError | None = None
        self.cut_off: FlashbackError | None = None
        self.pace: float | None = None
        self.deadline = deadline

    @property
    def total(self) -> int:
        return self.succeeded + self.failed

    def count(self, outcome: Outcome[Any, Any]) -> None:
        if outcome.error is None:
            self.succeeded += 1
            return
        self.failed += 1
        if len(self.first_failures) < _SHOWN:
            self.first_failures.append(outcome)
        if isinstance(outcome.error, AuthenticationError):
            self.rejection = self.rejection or outcome.error
        elif self._is_cut_off(outcome.error):
            self.cut_off = self.cut_off or outcome.error

    def end_early(self) -> None:
        """Record that the run ended before it had taken every key."""
        if self.rejection is None and self.cut_off is None:
            self.cut_off = DeadlineExceededError()

    def error_of_unsent(self, bucket_id: str) -> FlashbackError:
        """Return an error for a bucket that a run which ended early never asked for."""
        reason = self.rejection or self.cut_off
        if not isinstance(reason, APIError):
            message = f"the deadline of {self.deadline} passed before the request was sent"
            return DeadlineExceededError(message, bucket_id=bucket_id)
        error = copy.copy(reason)
        error.bucket_id, error.attempts, error.elapsed = bucket_id, 0, 0.0
        return error

    def code(self) -> Exit:
        """Return the exit code: the first that applies, the most telling one first."""
        if self.rejection is not None:
            return Exit.TOKEN_REJECTED
        if self.cut_off is not None:
            return Exit.DEADLINE
        if not self.failed:
            return Exit.OK
        return Exit.SOME_FAILED if self.succeeded else Exit.NOTHING_SUCCEEDED

    def _is_cut_off(self, error: FlashbackError) -> bool:
        if isinstance(error, DeadlineExceededError):
            return self.deadline.passed
        return isinstance(error, RateLimitError) and self.deadline.is_outlasted_by(error)


def exit_of(error: FlashbackError, deadline: Deadline) -> Exit:
    """Return the exit code of a run that an error ended as a whole."""
    if isinstance(error, ConfigurationError | InvalidArgumentError):
        return Exit.USAGE
    if isinstance(error, AuthenticationError):
        return Exit.TOKEN_REJECTED
    if isinstance(error, DeadlineExceededError) and deadline.passed:
        return Exit.DEADLINE
    if isinstance(error, APIError) and deadline.is_outlasted_by(error):
        return Exit.DEADLINE
    return Exit.NOTHING_SUCCEEDED
