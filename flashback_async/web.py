"""Answers of a web backend to its visitors when a call has failed, for any framework."""

from __future__ import annotations

import math
from typing import NamedTuple

from flashback_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    DeadlineExceededError,
    DecodeError,
    FlashbackError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
)

__all__ = ["HTTPAnswer", "http_answer"]


class HTTPAnswer(NamedTuple):
    """An answer to a visitor, in the order of the arguments of Starlette's ``HTTPException``.

    Attributes:
        status: The HTTP status.
        detail: What went wrong, in words for a visitor: no id, and no text of the API.
        headers: ``Retry-After`` in whole seconds, if the API asked for a pause; otherwise None.
    """

    status: int
    detail: str
    headers: dict[str, str] | None


def http_answer(error: FlashbackError) -> HTTPAnswer:
    """Return the answer to a visitor whose request failed with an error.

    The visitor knows your backend, and not the API behind it. So the answer tells nothing of the
    token, of buckets elsewhere, or of the network. Log the error itself from status 500 on.

    Raises:
        TypeError: ``error`` is not a ``FlashbackError``, and so a mistake of the backend.
    """
    if not isinstance(error, FlashbackError):
        # No InvalidArgumentError: that would become a 400, which blames the visitor.
        raise TypeError(f"error must be a FlashbackError, not {type(error).__name__}")
    status, detail = _meaning(error)
    wait = error.retry_after if isinstance(error, RateLimitError | ServerError) else None
    if wait is None or not math.isfinite(wait):
        return HTTPAnswer(status, detail, None)
    return HTTPAnswer(status, detail, {"Retry-After": str(max(1, math.ceil(wait)))})


def _meaning(error: FlashbackError) -> tuple[int, str]:
    match error:
        case InvalidArgumentError() | BadRequestError():
            return 400, "the request is not valid"
        case NotFoundError() | PermissionDeniedError():
            # The token is the backend's, so a 403 would say nothing about the visitor's rights. It
            # would only reveal which buckets exist elsewhere.
            return 404, "there is no such bucket"
        case RateLimitError():
            return 429, "too many requests"
        case DeadlineExceededError() | RequestTimeoutError():
            return 504, "the Flashback API did not answer in time"
        case AuthenticationError() | ServerError():
            # A rejected token is the backend's problem. A 401 would ask the visitor for a password.
            return 503, "the Flashback API is not available"
        case APIError() | DecodeError() | ProtocolError():
            return 502, "the Flashback API returned an unusable answer"
        case _:  # no connection, no token, or the backend is shutting down
            return 503, "the Flashback API is not available"
