"""The three endpoints over HTTP, from a request to the documented answer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from http import HTTPStatus
from urllib.parse import unquote

from aiohttp import web

from flashback_async.sandbox.data import Account, JsonObject
from flashback_async.sandbox.faults import FailureBook, Throttle, strikes

MAX_TARGET = 8_192  # bytes of path and query: what common servers take
MAX_BODY = 65_536
_BATCH = 500  # buckets per event loop iteration, so that listing all of them does not block it

# Stricter than datetime.fromisoformat, which accepts any character between date and time.
_ISO_DAY = re.compile(
    r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?", re.ASCII
)


_MESSAGES = {status.value: status.phrase for status in HTTPStatus} | {
    400: "Invalid date format",
    403: "Insufficient permissions",
    404: "Bucket or user not found",
}


class _RefusedError(Exception):
    """An error response: `success: false` with a message, by default that of the status."""

    def __init__(
        self, status: int, message: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(status)
        self.status = status
        self.message = message or _MESSAGES.get(status, "Error")
        self.headers = headers or {}


class Api:
    """The request handler, which answers from an account and adds the requested faults."""

    def __init__(
        self,
        account: Account,
        *,
        seed: int,
        now: Callable[[], datetime],
        latency: float,
        error_rate: float,
        rate_limit: float | None,
    ) -> None:
        """Keep the account; the other arguments are those of the sandbox."""
        self.requests = 0
        self.failures = FailureBook()
        self.states: dict[int, dict[str, str]] = {}
        self._account = account
        self._seed = seed
        self._now = now
        self._latency = latency
        self._error_rate = error_rate
        self._throttle = None if rate_limit is None else Throttle(rate_limit)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Return the answer to one request; a mistake in it becomes a documented error."""
        self.requests += 1
        number = self.requests
        try:
            if self._latency:
                await asyncio.sleep(self._latency)
            self._admit(request, number)
            status, headers, body = 200, {}, await self._route(request)
        except _RefusedError as refusal:
            status, headers = refusal.status, refusal.headers
            body = _json({"success": False, "message": refusal.message})
        headers["x-request-id"] = f"req-{number:08d}"
        return web.Response(
            status=status,
            body=body,
            headers=headers,
            content_type="application/json",
            charset="utf-8",
        )

    def _admit(self, request: web.BaseRequest, number: int) -> None:
        if len(request.raw_path) > MAX_TARGET:
            raise _RefusedError(414)
        # A second header is a mistake that servers treat differently, so it is refused.
        credentials = request.headers.getall("Authorization", [])
        scheme, _, token = credentials[0].partition(" ") if len(credentials) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or token != self._account.token:
            raise _RefusedError(401, headers={"WWW-Authenticate": "Bearer"})
        if self._throttle is not None:
            wait = self._throttle.wait(asyncio.get_running_loop().time())
            if wait:
                raise _RefusedError(429, headers={"Retry-After": str(wait)})
        if strikes(self._seed, number, self._error_rate):
            raise _RefusedError(503)

    async def _route(self, request: web.BaseRequest) -> bytes:
        # The path is split before it is decoded, and decoded once: an id may hold %2F or %25.
        path = request.rel_url.raw_path
        match [unquote(part) for part in path.split("/")]:
            case ["", "bucket", "stats"]:
                _allow(request, "GET")
                return await self._list(request.query.getall("bucketId", []))
            case ["", "bucket", str(bucket_id), "stats"] if bucket_id:
                _allow(request, "POST")
                return await self._daily(bucket_id, request)
            case ["", "bucket", str(bucket_id), "status"] if bucket_id:
                _allow(request, "GET")
                return self._status(bucket_id)
        raise _RefusedError(404, "Route not found")

    async def _list(self, values: Sequence[str]) -> bytes:
        wanted: Sequence[int] = range(len(self._account.bucket_ids))
        asked = ",".join(values)
        # An empty value means no filter, as on a server that tests whether the value is truthy.
        # The vendor's client never sends one, so nothing depends on a stricter reading.
        if asked:
            ids = asked.split(",")
            self._fail_on_purpose(ids)
            if any(map(self._account.is_forbidden, ids)):
                raise _RefusedError(403)
            # The account's order, because the API promises none to the caller.
            wanted = sorted({n for n in map(self._account.find, ids) if n is not None})
        day = self._utc_now().date()
        batches = []
        for start in range(0, len(wanted), _BATCH):
            if start:
                await asyncio.sleep(0)
            batch = [self._account.stats(n, day) for n in wanted[start : start + _BATCH]]
            batches.append(_json(batch)[1:-1])
        return b'{"success":true,"stats":[' + b",".join(batches) + b"]}"

    async def _daily(self, bucket_id: str, request: web.BaseRequest) -> bytes:
        bucket = self._bucket(bucket_id)
        _require_json(request)
        day = _parse_day(await _read(request))
        states = self.states.get(bucket, {})
        stats = self._account.daily(bucket, day, self._utc_now(), states)
        return _json({"success": True, "nodeStats": stats})

    def _status(self, bucket_id: str) -> bytes:
        bucket = self._bucket(bucket_id)
        nodes = self._account.status(bucket, self._utc_now(), self.states.get(bucket, {}))
        return _json({"bucketId": self._account.bucket_ids[bucket], "nodeStatus": nodes})

    def _bucket(self, bucket_id: str) -> int:
        self._fail_on_purpose([bucket_id])
        if self._account.is_forbidden(bucket_id):
            raise _RefusedError(403)
        bucket = self._account.find(bucket_id)
        if bucket is None:
            raise _RefusedError(404)
        return bucket

    def _fail_on_purpose(self, bucket_ids: Sequence[str]) -> None:
        failure = self.failures.take(bucket_ids)
        if failure is not None:
            after = failure.retry_after
            raise _RefusedError(
                failure.status, headers={} if after is None else {"Retry-After": str(after)}
            )

    def _utc_now(self) -> datetime:
        return self._now().astimezone(UTC)


def _allow(request: web.BaseRequest, method: str) -> None:
    if request.method != method:
        raise _RefusedError(405, headers={"Allow": method})


def _require_json(request: web.BaseRequest) -> None:
    # A server that chooses its body parser by media type would see no day at all.
    if request.content_type != "application/json":
        raise _RefusedError(400, "Content-Type must be application/json")


async def _read(request: web.BaseRequest) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > MAX_BODY:
                raise _RefusedError(413)
    except web.RequestPayloadError:
        raise _RefusedError(400, "Malformed request body") from None
    return bytes(body)


def _parse_day(body: bytes) -> date:
    try:
        document = json.loads(body)
        day = document.get("day") if isinstance(document, dict) else None
        if isinstance(day, str) and _ISO_DAY.fullmatch(day):
            moment = datetime.fromisoformat(day)
            # A time without an offset is UTC; one with an offset is converted to UTC.
            return (moment.astimezone(UTC) if moment.tzinfo else moment).date()
    except (ValueError, OverflowError, RecursionError):
        pass  # not JSON, or no day of the calendar
    raise _RefusedError(400)


def _json(value: JsonObject | list[JsonObject]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
