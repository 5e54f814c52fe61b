"""An aiohttp.web backend that shows the state of buckets, also while the API is slow or down.

    export FLASHBACK_TOKEN=...
    export READY_BUCKET=...          # any bucket of yours: /readyz asks for it
    python examples/aiohttp_app.py

    GET /buckets/{bucket_id}                    the status of a bucket, and its age in seconds
    GET /overview?bucket_id=...&bucket_id=...   many buckets; those that failed say why
    GET /healthz                                200 as long as the process lives
    GET /readyz                                 200 as long as there is something to show

The client opens when the application starts. When it stops, aiohttp first lets its requests end.
Then the client closes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from flashback_async import (
    Cache,
    CachePolicy,
    FlashbackClient,
    FlashbackError,
    NotFoundError,
    PermissionDeniedError,
    Timeout,
    to_dict,
)
from flashback_async.web import http_answer

logger = logging.getLogger(__name__)

CACHE = web.AppKey("cache", Cache)

# For 10 seconds nobody asks the API again. For another minute visitors get the old status at once,
# and a newer one is asked for behind it. In an outage, statuses are shown for five minutes.
POLICY = CachePolicy(fresh=10.0, stale=60.0, stale_if_error=300.0)

# A visitor is waiting for the page. A call that would have to wait for a longer pause of the API
# fails at once, and the visitor gets the pause as Retry-After.
TIMEOUT = Timeout(total=5.0)

# A page of many buckets shows after so many seconds what there is.
DEADLINE = 2.0

READY_BUCKET = os.environ.get("READY_BUCKET", "")


async def flashback(app: web.Application) -> AsyncIterator[None]:
    """Keep a client open while the application runs."""
    async with FlashbackClient(timeout=TIMEOUT) as client:
        app[CACHE] = client.cached(POLICY)
        yield


async def bucket(request: web.Request) -> web.Response:
    found = await request.app[CACHE].status.lookup(request.match_info["bucket_id"])
    page = {"status": to_dict(found.value), "age": found.age, "stale": found.stale}
    return web.json_response(page, headers={"Age": str(int(found.age))})


async def overview(request: web.Request) -> web.Response:
    bucket_ids = request.query.getall("bucket_id", [])
    rows: list[dict[str, Any]] = []
    ages: list[float] = []
    report = await request.app[CACHE].status.lookup_many(bucket_ids, deadline=DEADLINE)
    for outcome in report:
        row: dict[str, Any] = dict.fromkeys(("status", "age", "error"))
        row |= {"bucket_id": outcome.key, "stale": False}
        if outcome.error is not None:
            row["error"] = http_answer(outcome.error).detail
        else:
            found = outcome.value
            row |= {"status": to_dict(found.value), "age": found.age, "stale": found.stale}
            ages.append(found.age)
        rows.append(row)
    log_failures(*report.failed.values())
    oldest = max(ages, default=None)
    headers = {} if oldest is None else {"Age": str(int(oldest))}
    return web.json_response({"rows": rows, "oldest": oldest}, headers=headers)


async def healthz(request: web.Request) -> web.Response:
    return web.json_response({"alive": True})


async def readyz(request: web.Request) -> web.Response:
    # Through the cache, so an old status that can still be shown counts as ready. A probe waits
    # for a second by default, so this ends before that.
    (outcome,) = await request.app[CACHE].status.get_many([READY_BUCKET], deadline=0.8)
    # That the bucket is gone is an answer: the API works, and the token too.
    if outcome.error is None or isinstance(outcome.error, NotFoundError | PermissionDeniedError):
        return web.json_response({"ready": True})
    logger.error("not ready: %s: %s", type(outcome.error).__name__, outcome.error)
    return web.json_response({"ready": False}, status=503)


@web.middleware
async def flashback_failed(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except FlashbackError as error:
        log_failures(error)
        status, detail, headers = http_answer(error)
        return web.json_response({"detail": detail}, status=status, headers=headers)


def log_failures(*errors: FlashbackError) -> None:
    """Log why a page failed, in one line; a visitor's own mistake is not logged."""
    failures = [error for error in errors if http_answer(error).status >= 500]
    if failures:
        kind = type(failures[0]).__name__
        logger.error("%d without an answer, the first: %s: %s", len(failures), kind, failures[0])


def make_app() -> web.Application:
    app = web.Application(middlewares=[flashback_failed])
    app.cleanup_ctx.append(flashback)
    app.router.add_get("/buckets/{bucket_id}", bucket)
    app.router.add_get("/overview", overview)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    return app


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
