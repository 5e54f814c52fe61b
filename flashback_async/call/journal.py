"""What the calls of a client have done together, and the observer that is told of it."""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import traceback
from collections.abc import Callable
from typing import TypeVar

from flashback_async.api.redaction import redact
from flashback_async.api.urls import server_of
from flashback_async.errors import FlashbackError
from flashback_async.observer import Observer
from flashback_async.values import Secret

logger = logging.getLogger("flashback_async")

F = TypeVar("F")


class Journal:
    """What the calls of a client have done together, and the observer that is told of it."""

    def __init__(self, observer: Observer | None, base_url: str) -> None:
        self.observer = observer
        self.server = server_of(base_url)
        self.requests = 0
        self.retries = 0
        self.last_success: float | None = None  # on the client's clock
        self._last_error: FlashbackError | None = None

    @property
    def last_error(self) -> FlashbackError | None:
        """A copy of the last error that ended a call."""
        kept = self._last_error
        return None if kept is None else _bare(kept)

    @last_error.setter
    def last_error(self, error: FlashbackError) -> None:
        self._last_error = _bare(error)

    def tell(self, method: Callable[[F], object], fact: F, secret: Secret | None) -> None:
        """Call a method of the observer, which is left out from now on if that raises.

        ``secret`` is the token that the log shall not show.
        """
        try:
            result = method(fact)
            if inspect.iscoroutine(result):
                result.close()
                raise TypeError("a method is async, and nobody awaits it")
        except (Exception, asyncio.CancelledError) as error:  # the client cancels no observer
            self.observer = None
            # As text, and without what it was raised in the midst of: those frames may hold the
            # token, and a record may be kept for long.
            trace = "".join(traceback.format_exception(error, chain=False)).rstrip()
            text = "the observer raised, and is left out from now on: %s"
            logger.error(text, redact(trace, secret) if secret else trace)  # noqa: TRY400 - see above


def _bare(error: FlashbackError) -> FlashbackError:
    """Return a copy that keeps no frame alive, because it has no traceback, cause or context."""
    copied = copy.copy(error)
    copied.__cause__ = None
    return copied
