"""The state that the calls of a bulk run share with its workers."""

from __future__ import annotations

import copy
import math

from flashback_async.errors import FlashbackError

# How far a call or key of a halted run had got, as errors name it.
NEVER_SENT = "never sent"
CANCELLED = "cancelled in flight"


class Run:
    """A bulk run: why it ends before its input does, and when its deadline passes.

    ``ends`` is a moment on the client's clock, fixed when the run begins; infinite if the run has
    no deadline. ``error`` is the error of all remaining keys, which stay unsent. Once ``expired``,
    the deadline has passed, and the calls in flight were cancelled.
    """

    __slots__ = ("ends", "error", "expired")
    # Waiting for admission counts toward the run's deadline, not toward the call's total time.
    waits_apart = True

    def __init__(self, ends: float = math.inf) -> None:
        self.ends = ends
        self.error: FlashbackError | None = None
        self.expired = False

    def waits_until(self, call_ends: float) -> float:
        """Return the moment until which a call may wait to be admitted."""
        return self.ends

    def halt(self, error: FlashbackError) -> bool:
        """Halt the run with an error; return whether it is the first, which the run keeps."""
        if self.error is not None:
            return False
        self.error = error
        return True

    def share(self, how: str) -> FlashbackError:
        """Return the error of one call or key; ``how`` describes how far that had got."""
        assert self.error is not None  # noqa: S101 - nothing else stops a run
        error = copy.copy(self.error)
        error._remark(how)
        return error


class _SingleCall(Run):
    """The run of a single call: nothing halts it, and waiting counts toward its total time."""

    __slots__ = ()
    waits_apart = False

    def waits_until(self, call_ends: float) -> float:
        return call_ends

    def halt(self, error: FlashbackError) -> bool:
        """Return False: there are no other calls to halt."""
        return False


SINGLE_CALL = _SingleCall()
