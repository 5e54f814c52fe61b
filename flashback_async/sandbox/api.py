"""The three endpoints over HTTP: from a request to the documented answer."""

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
_BATCH = 500  # buckets between two turns of the loop, so that a list of all does not hold it up

# Stricter than datetime.fromisoformat, which takes any character between date and time.
_ISO_DAY = re.compile(
    r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?", re.ASCII
)


_MESSAGES = {status.value: status.phrase for status in HTTPStatus} | {
    400: "Invalid date format",
    403: "Insufficient permissions",
    404: "Bucket or user not found",
}


class _RefusedError(Exception):
    """The answer is an error: `success: false` and a message, by default the status's own."""

    def __init__(
        self, status: int, message: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(status)
        self.status = status
        self.message = message or _MESSAGES.get(status, "Error")
        self.headers = headers or {}


class Api:
    """Answers requests from an account, with the faults that were asked for."""

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
        """Take an account to answer from; the arguments are those of the sandbox."""
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
        """Answer one request; whatever is wrong with it becomes a documented error."""
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
        # One header only: a second one is a mistake that servers disagree about.
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
        # Taken apart before it is decoded, and decoded once: an id may hold %2F or %25.
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
        # An empty value counts as none, as it does for a server that tests the value's truth. The
        # vendor's client never sends one, so nothing depends on a stricter reading.
        if asked:
            ids = asked.split(",")
            self._fail_on_purpose(ids)
            if any(map(self._account.is_forbidden, ids)):
                raise _RefusedError(403)
            # In the account's order, not the caller's, who was promised none.
            wanted = sorted({n for n in map(self._account.find, ids) if n is not None})
        day = self._today()
        batches = []
        for start in range(0, len(wanted), _BATCH):
            if start:
                await asyncio.sleep(0)
            batch = [self._account.stats(n, day) for n in wanted[start : start + _BATCH]]
            batches.append(_json(batch)[1:-1])
        return b'{"success":true,"stats":[' + b",".join(batches) + b"]}"

    async def _daily(self, bucket_id: str, request: web.BaseRequest) -> bytes:
        bucket = self._bucket(bucket_id)
        day = _parse_day(await _read(request))
        states = self.states.get(bucket, {})
        stats = self._account.daily(bucket, day, self._today(), states)
        return _json({"success": True, "nodeStats": stats})

    def _status(self, bucket_id: str) -> bytes:
        bucket = self._bucket(bucket_id)
        nodes = self._account.status(bucket, self._today(), self.states.get(bucket, {}))
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

    def _today(self) -> date:
        return self._now().astimezone(UTC).date()


def _allow(request: web.BaseRequest, method: str) -> None:
    if request.method != method:
        raise _RefusedError(405, headers={"Allow": method})


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
            # Without an offset it is UTC; with one, the UTC day is what counts.
            return (moment.astimezone(UTC) if moment.tzinfo else moment).date()
    except (ValueError, OverflowError, RecursionError):
        pass  # not JSON, or a day that no calendar has
    raise _RefusedError(400)


def _json(value: JsonObject | list[JsonObject]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
