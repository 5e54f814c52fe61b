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

    def __init__(self, ends: float = math.inf) -> None:
        self.ends = ends
        self.error: FlashbackError | None = None
        self.expired = False

    def halt(self, error: FlashbackError) -> None:
        """Send no further key; the first reason stays."""
        if self.error is None:
            self.error = error

    def share(self, how: str) -> FlashbackError:
        """Return an error for one call or key that is stopped; ``how`` says at which point."""
        assert self.error is not None  # noqa: S101 - nothing else stops a run
        error = copy.copy(self.error)
        error._remark(how)
        return error
