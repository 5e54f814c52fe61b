"""A FastAPI backend that shows the state of buckets, also while the API is slow or down.

    export FLASHBACK_TOKEN=...
    export READY_BUCKET=...          # any bucket of yours: /readyz asks for it
    uvicorn --app-dir examples fastapi_app:app

    GET /buckets/{bucket_id}                    the status of a bucket, and its age in seconds
    GET /overview?bucket_id=...&bucket_id=...   many buckets; those that failed say why
    GET /healthz                                200 as long as the process lives
    GET /readyz                                 200 as long as there is something to show

Each worker process runs the lifespan in its own event loop, so each worker has its own client and
its own cache. When a worker stops, uvicorn first lets its requests end. Then the client closes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from flashback_async import (
    BucketStatus,
    Cache,
    CachePolicy,
    FlashbackClient,
    FlashbackError,
    NotFoundError,
    PermissionDeniedError,
    Timeout,
)
from flashback_async.web import http_answer

logger = logging.getLogger(__name__)

# For 10 seconds nobody asks the API again. For another minute visitors get the old status at once,
# and a newer one is asked for behind it. In an outage, statuses are shown for five minutes.
POLICY = CachePolicy(fresh=10.0, stale=60.0, stale_if_error=300.0)

# A visitor is waiting for the page. A call that would have to wait for a longer pause of the API
# fails at once, and the visitor gets the pause as Retry-After.
TIMEOUT = Timeout(total=5.0)

# A page of many buckets shows after so many seconds what there is.
DEADLINE = 2.0

READY_BUCKET = os.environ.get("READY_BUCKET", "")


class Page(BaseModel):
    status: BucketStatus
    age: float
    stale: bool


class Row(BaseModel):
    bucket_id: str
    status: BucketStatus | None = None
    age: float | None = None
    stale: bool = False
    error: str | None = None


class Overview(BaseModel):
    rows: list[Row]
    oldest: float | None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with FlashbackClient(timeout=TIMEOUT) as client:
        app.state.cache = client.cached(POLICY)
        yield


async def cache_of(request: Request) -> Cache:
    cache: Cache = request.app.state.cache
    return cache


TheCache = Annotated[Cache, Depends(cache_of)]
app = FastAPI(lifespan=lifespan)


@app.get("/buckets/{bucket_id}")
async def bucket(bucket_id: str, cache: TheCache, response: Response) -> Page:
    found = await cache.status.lookup(bucket_id)
    response.headers["Age"] = str(int(found.age))
    return Page(status=found.value, age=found.age, stale=found.stale)


@app.get("/overview")
async def overview(
    bucket_id: Annotated[list[str], Query()], cache: TheCache, response: Response
) -> Overview:
    rows: list[Row] = []
    report = await cache.status.lookup_many(bucket_id, deadline=DEADLINE)
    for outcome in report:
        if outcome.error is not None:
            rows.append(Row(bucket_id=outcome.key, error=http_answer(outcome.error).detail))
        else:
            found = outcome.value
            rows.append(
                Row(bucket_id=outcome.key, status=found.value, age=found.age, stale=found.stale)
            )
    log_failures(*report.failed.values())
    oldest = max((row.age for row in rows if row.age is not None), default=None)
    if oldest is not None:
        response.headers["Age"] = str(int(oldest))
    return Overview(rows=rows, oldest=oldest)


@app.get("/healthz")
async def healthz() -> dict[str, bool]:
    return {"alive": True}


@app.get("/readyz")
async def readyz(cache: TheCache) -> JSONResponse:
    # Through the cache, so an old status that can still be shown counts as ready. A probe waits
    # for a second by default, so this ends before that.
    (outcome,) = await cache.status.get_many([READY_BUCKET], deadline=0.8)
    # That the bucket is gone is an answer: the API works, and the token too.
    if outcome.error is None or isinstance(outcome.error, NotFoundError | PermissionDeniedError):
        return JSONResponse({"ready": True})
    logger.error("not ready: %s: %s", type(outcome.error).__name__, outcome.error)
    return JSONResponse({"ready": False}, 503)


@app.exception_handler(FlashbackError)
async def flashback_failed(request: Request, error: FlashbackError) -> JSONResponse:
    log_failures(error)
    status, detail, headers = http_answer(error)
    return JSONResponse({"detail": detail}, status, headers)


def log_failures(*errors: FlashbackError) -> None:
    """Log why a page failed, in one line; a visitor's own mistake is not logged."""
    failures = [error for error in errors if http_answer(error).status >= 500]
    if failures:
        kind = type(failures[0]).__name__
        logger.error("%d without an answer, the first: %s: %s", len(failures), kind, failures[0])
