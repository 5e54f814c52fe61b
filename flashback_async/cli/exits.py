"""Exit codes, and how a run comes to its own."""

from __future__ import annotations

import time
from enum import IntEnum
from typing import Any

from flashback_async import (
    AuthenticationError,
    ConfigurationError,
    DeadlineExceededError,
    FlashbackError,
    InvalidArgumentError,
    Outcome,
)

_SHOWN = 20


class Exit(IntEnum):
    """Name the exit codes; the help of the command says the same."""

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

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._started

    @property
    def passed(self) -> bool:
        # A timer may come due a little early.
        return self.seconds is not None and self.elapsed >= self.seconds - 0.05

    def left(self) -> float | None:
        """Give the seconds that are left, never 0: what is late ends as soon as it begins."""
        return None if self.seconds is None else max(self.seconds - self.elapsed, 0.001)


class Tally:
    """Counts outcomes; of the failures it keeps only the first few."""

    def __init__(self, deadline: Deadline) -> None:
        self.succeeded = 0
        self.failed = 0
        self.first_failures: list[Outcome[Any, Any]] = []
        self.rejection: AuthenticationError | None = None
        self.deadline = deadline
        self._cut_off = False

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
        elif isinstance(outcome.error, DeadlineExceededError) and self.deadline.passed:
            self._cut_off = True

    def code(self) -> Exit:
        """Give the exit code; the first that applies, from the most to the least telling."""
        if self.rejection is not None:
            return Exit.TOKEN_REJECTED
        if self._cut_off:
            return Exit.DEADLINE
        if not self.failed:
            return Exit.OK
        return Exit.SOME_FAILED if self.succeeded else Exit.NOTHING_SUCCEEDED


def exit_of(error: FlashbackError, deadline: Deadline) -> Exit:
    """Give the exit code of a run that an error ended as a whole."""
    if isinstance(error, ConfigurationError | InvalidArgumentError):
        return Exit.USAGE
    if isinstance(error, AuthenticationError):
        return Exit.TOKEN_REJECTED
    if isinstance(error, DeadlineExceededError) and deadline.passed:
        return Exit.DEADLINE
    return Exit.NOTHING_SUCCEEDED
