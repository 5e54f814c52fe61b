"""An aiohttp.web backend that answers /buckets/{bucket_id}/status.

    export FLASHBACK_TOKEN=...
    python examples/aiohttp_app.py

The client opens when the application starts and closes when it stops. All requests share its
connections, its limits and the pauses that the API asks for.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler

from flashback_async import FlashbackClient, FlashbackError, Timeout, to_json
from flashback_async.web import http_answer

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
        status, detail, headers = http_answer(error)
        if status >= 500:
            logger.error(  # noqa: TRY400 - the traceback would only show the SDK
                "answered %d: %s: %s", status, type(error).__name__, error
            )
        return web.json_response({"detail": detail}, status=status, headers=headers)


def make_app() -> web.Application:
    app = web.Application(middlewares=[flashback_failed])
    app.cleanup_ctx.append(flashback)
    app.router.add_get("/buckets/{bucket_id}/status", bucket_status)
    return app


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
