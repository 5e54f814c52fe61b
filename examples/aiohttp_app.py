"""An aiohttp.web backend that answers /buckets/{bucket_id}/status.

    export FLASHBACK_TOKEN=...
    python examples/aiohttp_app.py

The client opens when the application starts and closes when it stops. All requests share its
connections, its limits and the pauses that the API asks for.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler

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
    to_json,
)

logger = logging.getLogger(__name__)

FLASHBACK = web.AppKey("flashback", FlashbackClient)

# A visitor is waiting for the page. A call that would have to wait for a longer pause of the API
# fails at once, and the visitor gets the pause as Retry-After.
TIMEOUT = Timeout(total=5.0)


async def flashback(app: web.Application) -> AsyncIterator[None]:
    """Keep a client open while the application runs."""
    async with FlashbackClient(timeout=TIMEOUT) as client:
        app[FLASHBACK] = client
        yield


async def bucket_status(request: web.Request) -> web.Response:
    status = await request.app[FLASHBACK].status.get(request.match_info["bucket_id"])
    return web.Response(text=to_json(status), content_type="application/json")


@web.middleware
async def flashback_failed(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except FlashbackError as error:
        status, text = meaning(error)
        if status >= 500:
            logger.error(  # noqa: TRY400 - the traceback would only show the SDK
                "answered %d: %s: %s", status, type(error).__name__, error
            )
        headers = {}
        if isinstance(error, APIError) and error.retry_after is not None:
            headers["Retry-After"] = str(math.ceil(error.retry_after))
        return web.json_response({"detail": text}, status=status, headers=headers)


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


def make_app() -> web.Application:
    app = web.Application(middlewares=[flashback_failed])
    app.cleanup_ctx.append(flashback)
    app.router.add_get("/buckets/{bucket_id}/status", bucket_status)
    return app


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
