"""What the calls of a bulk run and its workers share."""

from __future__ import annotations

import copy

from flashback_async.errors import FlashbackError


class Run:
    """What stops a run before its input ends: the error that all remaining keys get, unsent."""

    __slots__ = ("error",)

    def __init__(self) -> None:
        self.error: FlashbackError | None = None

    def share(self, how: str) -> FlashbackError:
        """Give a call or a key that is stopped an error of its own, which says how."""
        assert self.error is not None  # noqa: S101 - nothing else stops a run
        error = copy.copy(self.error)
        error._remark(how)
        return error
