"""The state that the calls of a bulk run share with its workers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

from flashback_async.errors import DeadlineExceededError, FlashbackError, seconds


class Run:
    """A bulk run: why it ends before its input does, and when its deadline passes.

    ``ends`` is a moment on the client's clock, fixed when the run begins; infinite if the run has
    no deadline. ``error`` is the error of all remaining keys, which stay unsent. ``expired`` is
    the error of the calls that were cancelled in flight because the deadline had passed.
    ``waiting`` holds functions that end the waits of calls which are not sent yet.
    """

    __slots__ = ("ends", "error", "expired", "waiting")
    # Waiting for admission counts toward the run's deadline, not toward the call's total time.
    waits_apart = True

    def __init__(self, ends: float = math.inf) -> None:
        self.ends = ends
        self.error: FlashbackError | None = None
        self.expired: DeadlineExceededError | None = None
        self.waiting: set[Callable[[], None]] = set()

    def waits_until(self, call_ends: float) -> float:
        """Return the moment until which a call may wait to be admitted."""
        return self.ends

    def halt(self, error: FlashbackError) -> bool:
        """Halt the run with an error; return whether it is the first, which the run keeps."""
        if self.error is not None:
            return False
        self.error = error
        for end_wait in self.waiting:
            end_wait()
        return True

    def expire(self, deadline: float) -> None:
        """Halt the run because its deadline, in seconds, has passed."""
        text = f"the deadline of the run, {seconds(deadline)}, passed"
        self.expired = DeadlineExceededError(text)
        self.halt(self.expired)

    def unsent(self, how: str = "never sent") -> FlashbackError:
        """Return the error of a key that a halted run does not send."""
        assert self.error is not None  # noqa: S101 - the run is halted
        return _own(self.error, how)

    def cancelled(self) -> FlashbackError:
        """Return the error of a call that was in flight as the run expired."""
        assert self.expired is not None  # noqa: S101 - the run has expired
        return _own(self.expired, "cancelled in flight")


def _own(error: FlashbackError, how: str) -> FlashbackError:
    """Return a copy of a shared error for one key."""
    copied = copy.copy(error)
    copied._remark(how)
    return copied


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
