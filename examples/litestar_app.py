"""A Litestar backend that shows the state of buckets, also while the API is slow or down.

    export FLASHBACK_TOKEN=...
    export READY_BUCKET=...          # any bucket of yours: /readyz asks for it
    uvicorn --app-dir examples litestar_app:app

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
from typing import Annotated, Any

from litestar import Litestar, Request, Response, get
from litestar.datastructures import State
from litestar.params import FromPath, QueryParameter

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

# For 10 seconds nobody asks the API again. For another minute visitors get the old status at once,
# and a newer one is asked for behind it. In an outage, statuses are shown for five minutes.
POLICY = CachePolicy(fresh=10.0, stale=60.0, stale_if_error=300.0)

# A visitor is waiting for the page. A call that would have to wait for a longer pause of the API
# fails at once, and the visitor gets the pause as Retry-After.
TIMEOUT = Timeout(total=5.0)

# A page of many buckets shows after so many seconds what there is.
DEADLINE = 2.0

READY_BUCKET = os.environ.get("READY_BUCKET", "")

Answer = Response[dict[str, Any]]


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    async with FlashbackClient(timeout=TIMEOUT) as client:
        app.state.cache = client.cached(POLICY)
        yield


@get("/buckets/{bucket_id:str}")
async def bucket(bucket_id: FromPath[str], state: State) -> Answer:
    cache: Cache = state.cache
    found = await cache.status.lookup(bucket_id)
    page = {"status": to_dict(found.value), "age": found.age, "stale": found.stale}
    return Response(page, headers={"Age": str(int(found.age))})


@get("/overview")
async def overview(
    bucket_ids: Annotated[list[str], QueryParameter(name="bucket_id")], state: State
) -> Answer:
    cache: Cache = state.cache
    rows: list[dict[str, Any]] = []
    ages: list[float] = []
    report = await cache.status.lookup_many(bucket_ids, deadline=DEADLINE)
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
    return Response({"rows": rows, "oldest": oldest}, headers=headers)


@get("/healthz")
async def healthz() -> dict[str, bool]:
    return {"alive": True}


@get("/readyz")
async def readyz(state: State) -> Answer:
    cache: Cache = state.cache
    # Through the cache, so an old status that can still be shown counts as ready. A probe waits
    # for a second by default, so this ends before that.
    (outcome,) = await cache.status.get_many([READY_BUCKET], deadline=0.8)
    # That the bucket is gone is an answer: the API works, and the token too.
    if outcome.error is None or isinstance(outcome.error, NotFoundError | PermissionDeniedError):
        return Response({"ready": True})
    logger.error("not ready: %s: %s", type(outcome.error).__name__, outcome.error)
    return Response({"ready": False}, status_code=503)


def flashback_failed(request: Request[Any, Any, Any], error: FlashbackError) -> Answer:
    log_failures(error)
    status, detail, headers = http_answer(error)
    return Response({"detail": detail}, status_code=status, headers=headers)


def log_failures(*errors: FlashbackError) -> None:
    """Log why a page failed, in one line; a visitor's own mistake is not logged."""
    failures = [error for error in errors if http_answer(error).status >= 500]
    if failures:
        kind = type(failures[0]).__name__
        logger.error("%d without an answer, the first: %s: %s", len(failures), kind, failures[0])


app = Litestar(
    [bucket, overview, healthz, readyz],
    lifespan=[lifespan],
    exception_handlers={FlashbackError: flashback_failed},
    logging_config=None,  # otherwise Litestar sets up the root logger
)
