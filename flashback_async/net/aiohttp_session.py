"""The client's own aiohttp session, and how it differs from a plain one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from flashback_async.values import Attempt

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

# Bytes; aiohttp buffers up to twice as many before it stops reading.
_READ_BUFFER = 64 * 1024

# The current attempt, for the connector, to which aiohttp passes no data of a request.
CURRENT: ContextVar[Attempt] = ContextVar("flashback_async.attempt")


class InFlight:
    """The number of exchanges in flight and of recalls so far, and whether any was answered."""

    count = 0
    recalls = 0
    has_answered = False


def own_session(
    headers: Mapping[str, str], longest_lookup: float, in_flight: InFlight
) -> aiohttp.ClientSession:
    """Return the session of a transport.

    It never resends a request on its own, never reuses a connection on which unexpected bytes
    arrived, and keeps no cookies. ``longest_lookup`` is in seconds.
    """
    return aiohttp.ClientSession(
        connector=Connector(longest_lookup, in_flight),
        response_class=_Response,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        read_bufsize=_READ_BUFFER,
    )


class Dropped(Exception):
    """A lost connection, as an error on which aiohttp does not resend the request."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class Recalled(Exception):
    """The recall of a request that has not been sent yet."""


class _Response(aiohttp.ClientResponse):
    """A response after whose loss aiohttp does not resend the request on its own."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        try:
            return await super().start(connection)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            raise Dropped(error) from None


_connect = aiohttp.TCPConnector.connect  # ``super()`` would be looked up for every request


class Connector(aiohttp.TCPConnector):
    """A connector that distinguishes new from used connections and never reuses a dirty one.

    The client's own admission limits how many connections there are.
    """

    def __init__(self, longest_lookup: float, in_flight: InFlight) -> None:
        self.resolver = _Resolver(longest_lookup)  # which aiohttp leaves open
        super().__init__(limit=0, resolver=self.resolver)
        self._in_flight = in_flight
        self._used: set[ResponseHandler] = set()
        self._most_used = 64

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        attempt = CURRENT.get()
        if self._in_flight.count > 1:
            # Ready requests wait here for each other and then leave back to back. This wakes
            # the server and the network less often.
            await asyncio.sleep(0)
        while True:
            try:
                connection = await _connect(self, req, traces, timeout)
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
                raise Dropped(error) from None
            handler = connection.protocol
            assert handler is not None  # noqa: S101 - it is connected
            reused = handler in self._used
            if reused and (attempt.fresh or handler.should_close):
                connection.close()
                continue
            if not reused:
                self._remember(handler)
                if not self._in_flight.has_answered and connection.transport is not None:
                    attempt.tls = connection.transport.get_extra_info("ssl_object")
            if attempt.recalls != self._in_flight.recalls:
                connection.release()
                raise Recalled
            attempt.reused = reused
            attempt.phase = "headers"
            attempt.connection = handler
            return connection

    def _remember(self, handler: ResponseHandler) -> None:
        """Record that a connection was used, and drop closed ones now and then."""
        self._used.add(handler)
        if len(self._used) > self._most_used:
            self._used = {known for known in self._used if known.is_connected()}
            self._most_used = 64 + 2 * len(self._used)


class _Resolver(AbstractResolver):
    """aiohttp's resolver, with a limit on the seconds of one DNS lookup.

    aiohttp shares lookups between calls and shields them, so no caller's timeout ends one.
    """

    def __init__(self, longest: float) -> None:
        self._resolver = aiohttp.DefaultResolver()
        self._longest = longest

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        async with asyncio.timeout(self._longest):
            return await self._resolver.resolve(host, port, family)

    async def close(self) -> None:
        await self._resolver.close()
