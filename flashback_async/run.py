"""What the calls of a bulk run and its workers share."""

from __future__ import annotations

import copy
import math

from flashback_async.errors import FlashbackError


class Run:
    """A bulk run: why it ends before its input does, and when its deadline passes.

    ``ends`` is a moment on the client's clock, fixed when the run begins; infinite if the run has
    no deadline. ``error`` is what all remaining keys get, unsent. Once ``expired``, the deadline
    has passed, and the calls in flight were cancelled.
    """

    __slots__ = ("ends", "error", "expired")
    # A key waits for its turn at the cost of the run's deadline, not of its own total time.
    waits_apart = True

    def __init__(self, ends: float = math.inf) -> None:
        self.ends = ends
        self.error: FlashbackError | None = None
        self.expired = False

    def waits_until(self, call_ends: float) -> float:
        """Return the moment until which a call may wait to be admitted."""
        return self.ends

    def halt(self, error: FlashbackError) -> bool:
        """Send no further key; return whether this is the first reason for it, which stays."""
        if self.error is not None:
            return False
        self.error = error
        return True

    def share(self, how: str) -> FlashbackError:
        """Return an error for one call or key that is stopped; ``how`` says at which point."""
        assert self.error is not None  # noqa: S101 - nothing else stops a run
        error = copy.copy(self.error)
        error._remark(how)
        return error


class _SingleCall(Run):
    """The run of a call that is part of none: nothing halts it, and its waiting counts."""

    __slots__ = ()
    waits_apart = False

    def waits_until(self, call_ends: float) -> float:
        return call_ends

    def halt(self, error: FlashbackError) -> bool:
        """Leave other calls alone."""
        return False


SINGLE_CALL = _SingleCall()
