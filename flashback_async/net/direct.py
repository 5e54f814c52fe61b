"""Exchanges over connections of our own: a pool of wires to one origin."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from flashback_async import errors
from flashback_async.net.connecting import Connector
from flashback_async.net.failures import RECALLED, Route
from flashback_async.net.sending import Sender
from flashback_async.net.wire import Wire
from flashback_async.values import Attempt, NoAnswer, Request, Response, Secret

# Seconds; an idle wire is closed after one to two of them, before most servers close it.
_ROUND = 7.5


class DirectTransport:
    """Exchanges with one origin, without a proxy, over connections of its own.

    Calls limit how many exchanges there are at once. Each takes the idle wire that was used last,
    or connects a new one.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        longest_lookup: float,
        max_response_bytes: int,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        self._route = Route.of(base_url, None)
        self._max_response_bytes = max_response_bytes
        self._connector = Connector(base_url, self._route, ssl_context, longest_lookup)
        self._requests = _Requests(base_url, headers)
        self._pool = _Pool()
        self._recalls = 0
        self._has_answered = False
        self._closed = False

    def open(self) -> None:
        self._sender = Sender(asyncio.get_running_loop(), self._requests.whole)

    async def close(self) -> None:
        self._closed = True
        await self._connector.close()
        await self._pool.close()

    def recall(self) -> None:
        self._recalls += 1
        self._sender.recall()

    async def send(self, request: Request, secret: Secret, attempt: Attempt) -> Response | NoAnswer:
        if self._closed:
            return _closed()
        wire = sink = None
        try:
            wire = self._pool.take(fresh=attempt.fresh)
            if wire is None:
                made = await self._connect(attempt)
                if isinstance(made, NoAnswer):
                    return made
                wire = made
            sink = wire.expect(attempt, secret)
            self._sender.add((wire, sink, request, secret))
            reply = await sink
            if isinstance(reply, Response):
                attempt.phase, self._has_answered = "body", True
            return reply
        except asyncio.CancelledError:
            if wire is not None and sink is not None:
                wire.give_up(sink)
            raise

    async def _connect(self, attempt: Attempt) -> Wire | NoAnswer:
        """Return a new wire, unless the request was recalled meanwhile."""
        recalls = self._recalls
        wire = await self._connector.connect(self._new_wire, attempt.connect)
        if isinstance(wire, NoAnswer):
            return wire
        if self._closed:
            wire.drop()
            return _closed()
        self._pool.add(wire)
        if self._recalls != recalls:
            self._pool.keep(wire)
            return RECALLED
        if self._route.is_https and not self._has_answered:
            attempt.tls = wire.tls
        return wire

    def _new_wire(self) -> Wire:
        return Wire(self._route, self._max_response_bytes, self._pool)


def _closed() -> NoAnswer:
    return NoAnswer(errors.ClientClosedError("the client is closed"), sent=False)


class _Pool:
    """The wires that are open, and the idle ones among them.

    An idle wire that nobody used for a whole round is closed at its end.
    """

    def __init__(self) -> None:
        self._wires: set[Wire] = set()
        self._idle: dict[Wire, None] = {}  # the last one was used last
        self._closed = False
        self._emptied = asyncio.Event()
        self._round = 0
        self._end_of_round: asyncio.TimerHandle | None = None

    def take(self, *, fresh: bool) -> Wire | None:
        """Return the usable wire that was used last, if there is one.

        A call that asks for a fresh one has met a dead one. The other idle ones may be dead too,
        so they are closed.
        """
        while self._idle:
            wire, _ = self._idle.popitem()
            if wire.is_usable and not fresh:
                return wire
            wire.drop()
        return None

    def add(self, wire: Wire) -> None:
        """Count a wire that is connected, unless it is lost already.

        uvloop does not report the end of a connection whose making was cancelled.
        """
        if not wire.is_lost:
            self._wires.add(wire)

    def keep(self, wire: Wire) -> None:
        """Keep a wire that is free for the next exchange."""
        if self._closed:
            wire.drop()
            return
        wire.kept_in = self._round
        self._idle[wire] = None
        if self._end_of_round is None:
            self._begin_round()

    def forget(self, wire: Wire) -> None:
        """Forget a wire whose connection is lost."""
        self._wires.discard(wire)
        self._idle.pop(wire, None)
        if not self._wires:
            self._emptied.set()

    async def close(self) -> None:
        """Close all wires, and wait until the event loop has closed their sockets."""
        self._closed = True
        if self._end_of_round is not None:
            self._end_of_round.cancel()
        for wire in list(self._wires):
            wire.drop()
        while self._wires:
            self._emptied.clear()
            await self._emptied.wait()

    def _begin_round(self) -> None:
        loop = asyncio.get_running_loop()
        self._end_of_round = loop.call_later(_ROUND, self._close_unused)

    def _close_unused(self) -> None:
        self._end_of_round = None
        for wire in [wire for wire in self._idle if wire.kept_in < self._round]:
            del self._idle[wire]
            wire.drop()
        self._round += 1
        if self._idle:
            self._begin_round()


class _Requests:
    """The bytes of requests; what does not change is made once for each token."""

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(base_url)
        self._prefix = parts.path
        lines = [f"Host: {_host(parts)}", *(f"{name}: {value}" for name, value in headers.items())]
        self._lines = "\r\n".join(lines)
        self._known: Secret | None = None  # the token in the bytes below
        self._rest = b""

    def whole(self, request: Request, secret: Secret) -> bytes:
        """Return a whole request."""
        if secret is not self._known:
            self._known = secret
            self._rest = (
                f" HTTP/1.1\r\n{self._lines}\r\nAuthorization: Bearer {secret.reveal()}\r\n"
            ).encode()
        line = f"{request.method} {self._prefix}{request.target}".encode()
        if request.body is None:
            return b"%s%s\r\n" % (line, self._rest)
        return b"%s%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
            line,
            self._rest,
            len(request.body),
            request.body,
        )


def _host(parts: SplitResult) -> str:
    """Return the host, with the port unless it is the default one."""
    host = (parts.hostname or "").rstrip(".")
    port = "" if parts.port is None else f":{parts.port}"
    return f"[{host}]{port}" if ":" in host else f"{host}{port}"
