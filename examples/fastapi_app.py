"""A FastAPI backend that answers /buckets/{bucket_id}/status.

    export FLASHBACK_TOKEN=...
    uvicorn --app-dir examples fastapi_app:app

Each worker process runs the lifespan in its own event loop, so each worker has its own client. All
requests of a worker share the client's connections, limits and the pauses that the API asks for.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from flashback_async import BucketStatus, FlashbackClient, FlashbackError, Timeout
from flashback_async.web import http_answer

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
async def bucket_status(bucket_id: str, request: Request) -> BucketStatus:
    client: FlashbackClient = request.app.state.flashback
    return await client.status.get(bucket_id)


@app.exception_handler(FlashbackError)
async def flashback_failed(request: Request, error: FlashbackError) -> JSONResponse:
    status, detail, headers = http_answer(error)
    if status >= 500:
        logger.error("answered %d: %s: %s", status, type(error).__name__, error)
    return JSONResponse({"detail": detail}, status, headers)
