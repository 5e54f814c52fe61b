"""A FastAPI backend that answers /buckets/{bucket_id}/status.

    export FLASHBACK_TOKEN=...
    uvicorn --app-dir examples fastapi_app:app

Each worker process runs the lifespan in its own event loop, so each worker has its own client. All
requests of a worker share the client's connections, limits and the pauses that the API asks for.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
    to_dict,
)

logger = logging.getLogger(__name__)

# A visitor is waiting for the page. A call that would have to wait for a longer pause of the API
# fails at once, and the visitor gets the pause as Retry-After.
TIMEOUT = Timeout(total=5.0)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with FlashbackClient(timeout=TIMEOUT) as client:
        app.state.flashback = client
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/buckets/{bucket_id}/status")
async def bucket_status(bucket_id: str, request: Request) -> JSONResponse:
    client: FlashbackClient = request.app.state.flashback
    return JSONResponse(to_dict(await client.status.get(bucket_id)))


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
    """Return status and text for a visitor, who knows this backend but not the API behind it."""
    match error:
        case InvalidArgumentError() | BadRequestError():
            return 400, "this is not a bucket id"
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
