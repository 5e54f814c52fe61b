"""A FastAPI backend that answers /buckets/{bucket_id}/status.

    export FLASHBACK_TOKEN=...
    uvicorn --app-dir examples fastapi_app:app

Each worker process runs the lifespan in its own event loop, so each has a client of its own, which
all requests of that worker share: its connections, its limits and its pause when the API throttles.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from flashback_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    DeadlineExceededError,
    DecodeError,
    FlashbackClient,
    FlashbackError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    Timeout,
)

logger = logging.getLogger(__name__)

# Someone is waiting for the page. A call that would have to sit out a longer pause of the API ends
# at once, and the pause is handed on as Retry-After.
TIMEOUT = Timeout(total=5.0)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with FlashbackClient(timeout=TIMEOUT) as client:
        app.state.flashback = client
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/buckets/{bucket_id}/status")
async def bucket_status(bucket_id: str, request: Request) -> dict[str, Any]:
    client: FlashbackClient = request.app.state.flashback
    return attrs.asdict(await client.status.get(bucket_id))


@app.exception_handler(FlashbackError)
async def flashback_failed(request: Request, error: FlashbackError) -> JSONResponse:
    status, text = meaning(error)
    if status >= 500:
        logger.error("answered %d: %s: %s", status, type(error).__name__, error)
    headers = {}
    if isinstance(error, APIError) and error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return JSONResponse({"detail": text}, status, headers)


def meaning(error: FlashbackError) -> tuple[int, str]:
    """Say what an error means to someone who knows this backend, and not the API behind it."""
    match error:
        case InvalidArgumentError() | BadRequestError():
            return 400, "this is not a bucket id"
        case NotFoundError() | PermissionDeniedError():
            # The token is the backend's, so 403 is no word on the visitor's rights; it would only
            # tell them which buckets exist elsewhere.
            return 404, "there is no such bucket"
        case RateLimitError():
            return 429, "too many requests"
        case DeadlineExceededError() | RequestTimeoutError():
            return 504, "the Flashback API did not answer in time"
        case AuthenticationError() | ServerError():
            # A rejected token is the backend's trouble: 401 would ask the visitor for a password.
            return 503, "the Flashback API is not available"
        case APIError() | DecodeError() | ProtocolError():
            return 502, "the Flashback API gave an unusable answer"
        case _:  # no connection, no token, or the backend is shutting down
            return 503, "the Flashback API is not available"
