"""The three endpoints over HTTP, from a request to the documented answer."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from threading import RLock
from urllib.parse import unquote

from aiohttp import web

from flashback_async.sandbox.answers import (
    RefusedError,
    planned,
    reset,
    response,
    send_part,
    send_slowly,
    to_json,
    wait_for_ever,
)
from flashback_async.sandbox.faults import (
    Answer,
    Cut,
    Down,
    Drip,
    Effect,
    Hang,
    Reset,
    Slow,
    TokenExpired,
)
from flashback_async.sandbox.limits import Throttle, strikes
from flashback_async.sandbox.log import Exchange, Log
from flashback_async.sandbox.script import Script, Stage
from flashback_async.sandbox.world import World

MAX_TARGET = 8_192  # bytes of path and query: what common servers take
MAX_BODY = 65_536
_BATCH = 500  # buckets per event loop iteration, so that listing all of them does not block it

# Stricter than datetime.fromisoformat, which accepts any character between date and time.
_ISO_DAY = re.compile(
    r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?", re.ASCII
)


class Api:
    """The request handler, which answers from a world and adds the requested faults.

    ``outage`` is called with the script whose fault takes the whole server down. Other threads
    change the world only while they hold ``lock``.
    """

    def __init__(
        self, world: World, *, seed: int, now: Callable[[], datetime], stage: Stage, lock: RLock
    ) -> None:
        """Keep the world; the other arguments are those of the sandbox."""
        self.requests = 0
        self.log = Log()
        self.latency = 0.0
        self.error_rate = 0.0
        self.throttle: Throttle | None = None
        self.failures: dict[str, Script] = {}  # by bucket, in lower case
        self.outage: Callable[[Script], None] = lambda script: None
        self._world = world
        self._seed = seed
        self._now = now
        self._stage = stage
        self._lock = lock

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return the answer to one request; a mistake in it becomes a documented error."""
        exchange = self._receive(request)
        struck = self._stage.take(exchange)
        effect = None if struck is None else struck[1].effect
        match effect:
            case Hang():
                await wait_for_ever()
            case Reset():
                await reset(request)
            case Down() if struck is not None:
                self.outage(struck[0])
                await wait_for_ever()
            case Slow(seconds):
                await asyncio.sleep(seconds)
        answer = await self._answer(request, exchange, effect)
        answer.headers["x-request-id"] = f"req-{exchange.number:08d}"
        exchange.status = answer.status
        match effect:
            case Cut(length):
                await send_part(request, answer, length)
            case Drip(rate):
                return await send_slowly(request, answer, rate)
        return answer

    def _receive(self, request: web.BaseRequest) -> Exchange:
        """Count a request, and write it in the log."""
        self.requests += 1
        operation, bucket_id = _operation(request)
        named = [bucket_id] if bucket_id is not None else _named_in(request)
        exchange = Exchange(
            method=request.method,
            path=request.raw_path.replace(self._world.token, "***"),
            operation=operation,
            bucket_id=bucket_id,
            bucket_ids=tuple(map(str.lower, named)),
            at=time.monotonic(),
            number=self.requests,
        )
        self.log.add(exchange)
        return exchange

    async def _answer(
        self, request: web.BaseRequest, exchange: Exchange, effect: Effect | None
    ) -> web.Response:
        if self.latency:
            await asyncio.sleep(self.latency)
        if isinstance(effect, Answer):
            return planned(effect)
        if isinstance(effect, TokenExpired):
            with self._lock:
                self._world.rotate_token()
        try:
            self._admit(request, exchange)
            return response(200, await self._route(request, exchange))
        except RefusedError as refused:
            return response(refused.status, refused.body, refused.headers)

    def _admit(self, request: web.BaseRequest, exchange: Exchange) -> None:
        if len(request.raw_path) > MAX_TARGET:
            raise RefusedError(414)
        # A second header is a mistake that servers treat differently, so it is refused.
        credentials = request.headers.getall("Authorization", [])
        scheme, _, token = credentials[0].partition(" ") if len(credentials) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or token != self._world.token:
            raise RefusedError(401, headers={"WWW-Authenticate": "Bearer"})
        if self.throttle is not None:
            wait = self.throttle.wait(asyncio.get_running_loop().time())
            if wait:
                raise RefusedError(429, headers={"Retry-After": str(wait)})
        if strikes(self._seed, exchange.number, self.error_rate):
            raise RefusedError(503)

    async def _route(self, request: web.BaseRequest, exchange: Exchange) -> bytes:
        match exchange.operation, exchange.bucket_id:
            case "bucket_stats.list", None:
                _allow(request, "GET")
                return await self._list(request, exchange)
            case "node_stats.get", str(bucket_id):
                _allow(request, "POST")
                return await self._daily(bucket_id, request, exchange)
            case "status.get", str(bucket_id):
                _allow(request, "GET")
                self._fail_on_purpose(exchange)
                with self._lock:
                    return to_json(self._world.status(self._bucket(bucket_id), self._utc_now()))
        raise RefusedError(404, "Route not found")

    async def _list(self, request: web.BaseRequest, exchange: Exchange) -> bytes:
        with self._lock:
            wanted = self._world.numbers()
        # An empty value means no filter, as on a server that tests whether the value is truthy.
        # The vendor's client never sends one, so nothing depends on a stricter reading.
        if named := _named_in(request):
            self._fail_on_purpose(exchange)
            if any(map(self._world.account.is_forbidden, named)):
                raise RefusedError(403)
            # The account's order, because the API promises none to the caller.
            with self._lock:
                wanted = self._world.select(named)
        day = self._utc_now().date()
        batches = []
        for start in range(0, len(wanted), _BATCH):
            if start:
                await asyncio.sleep(0)
            with self._lock:
                here = [n for n in wanted[start : start + _BATCH] if self._world.holds(n)]
                batches.append([self._world.stats(number, day) for number in here])
        items = b",".join(to_json(batch)[1:-1] for batch in batches if batch)
        return b'{"success":true,"stats":[' + items + b"]}"

    async def _daily(self, bucket_id: str, request: web.BaseRequest, exchange: Exchange) -> bytes:
        self._fail_on_purpose(exchange)
        with self._lock:
            number = self._bucket(bucket_id)
        require_json(request)
        day = _parse_day(await read_body(request))
        with self._lock:
            stats = self._world.daily(number, day, self._utc_now())
        return to_json({"success": True, "nodeStats": stats})

    def _bucket(self, bucket_id: str) -> int:
        if self._world.account.is_forbidden(bucket_id):
            raise RefusedError(403)
        number = self._world.find(bucket_id)
        if number is None:
            raise RefusedError(404)
        return number

    def _fail_on_purpose(self, exchange: Exchange) -> None:
        for script in list(self.failures.values()):
            fault = script.take(exchange)
            if fault is not None and isinstance(fault.effect, Answer):
                after = fault.effect.retry_after
                headers = {} if after is None else {"Retry-After": after}
                raise RefusedError(fault.effect.code, headers=headers)

    def _utc_now(self) -> datetime:
        return self._now().astimezone(UTC)


def _operation(request: web.BaseRequest) -> tuple[str | None, str | None]:
    """Return the operation that a path means, and the bucket in it."""
    # The path is split before it is decoded, and decoded once: an id may hold %2F or %25.
    match [unquote(part) for part in request.rel_url.raw_path.split("/")]:
        case ["", "bucket", "stats"]:
            return "bucket_stats.list", None
        case ["", "bucket", str(bucket_id), "stats"] if bucket_id:
            return "node_stats.get", bucket_id
        case ["", "bucket", str(bucket_id), "status"] if bucket_id:
            return "status.get", bucket_id
    return None, None


def _named_in(request: web.BaseRequest) -> list[str]:
    """Return the ids that the query of a list names."""
    asked = ",".join(request.query.getall("bucketId", []))
    return asked.split(",") if asked else []


def _allow(request: web.BaseRequest, method: str) -> None:
    if request.method != method:
        raise RefusedError(405, headers={"Allow": method})


def require_json(request: web.BaseRequest) -> None:
    """Check that a request is declared as JSON.

    Raises:
        RefusedError: It is not.
    """
    # A server that chooses its body parser by media type would see no day at all.
    if request.content_type != "application/json":
        raise RefusedError(400, "Content-Type must be application/json")


async def read_body(request: web.BaseRequest) -> bytes:
    """Return the body of a request.

    Raises:
        RefusedError: It is too long, or broken.
    """
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > MAX_BODY:
                raise RefusedError(413)
    except web.RequestPayloadError:
        raise RefusedError(400, "Malformed request body") from None
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
    raise RefusedError(400)
