"""aiohttp's sessions: what our own does in another way, and what is checked of a borrowed one."""

from __future__ import annotations

import asyncio
import platform
import socket
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult

from flashback_async import errors
from flashback_async.values import Attempt

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

# Half of what may be buffered beyond a limit before the server is held back.
_READ_BUFFER = 64 * 1024

# An exchange is found by its task, for aiohttp hands nothing of a request's own through.
UnderWay = dict[asyncio.Task[object] | None, Attempt]


def own_session(
    headers: Mapping[str, str], longest_lookup: float, under_way: UnderWay
) -> aiohttp.ClientSession:
    """Make the session of a transport, whose exchanges ``under_way`` holds.

    It resends nothing in secret, uses no connection again on which something arrived unasked, and
    keeps no cookies. ``longest_lookup`` is in seconds.
    """
    return aiohttp.ClientSession(
        connector=_Connector(longest_lookup, under_way),
        response_class=_Response,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        read_bufsize=_READ_BUFFER,
    )


@cache
def own_headers() -> dict[str, str]:
    """Give the headers that are the same for every request; reads files of what is installed."""
    try:
        ours = version("flashback-async")
    except PackageNotFoundError:  # frozen or copied into an application
        ours = "0.0"
    ours, python, theirs = (
        ".".join(text.split(".")[:2])
        for text in (ours, platform.python_version(), aiohttp.__version__)
    )
    return {
        hdrs.ACCEPT: "application/json",
        # Named, so that what is installed beside aiohttp does not decide what may come.
        hdrs.ACCEPT_ENCODING: "gzip, deflate",
        hdrs.USER_AGENT: f"flashback-async/{ours} Python/{python} aiohttp/{theirs}",
    }


class Dropped(Exception):
    """A connection that could not be had, or went away: an error on which aiohttp gives up."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class Recalled(Exception):
    """A request was called back before it left."""


class _Response(aiohttp.ClientResponse):
    """Keep aiohttp from sending a GET again by itself: it does so on these two errors."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        try:
            return await super().start(connection)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            raise Dropped(error) from None


_connect = aiohttp.TCPConnector.connect  # ``super()`` would be looked up for every request


class _Connector(aiohttp.TCPConnector):
    """Tell new from used connections, use no dirty one again, and give them out in one go.

    How many connections there are is the business of the client's own admission.
    """

    def __init__(self, longest_lookup: float, under_way: UnderWay) -> None:
        super().__init__(limit=0, resolver=_Resolver(longest_lookup))
        self._under_way = under_way
        self._used: set[ResponseHandler] = set()
        self._most_used = 64

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        attempt = self._under_way[asyncio.current_task(self._loop)]
        if len(self._under_way) > 1:
            # All that are ready wait here for each other and then leave right after one another,
            # which wakes the server and the network less often.
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
            if attempt.recalled:
                connection.release()
                raise Recalled
            attempt.reused = reused
            attempt.phase = "headers"
            attempt.connection = handler
            return connection

    def _remember(self, handler: ResponseHandler) -> None:
        """Note that a connection is in use, and now and then forget those that are gone."""
        self._used.add(handler)
        if len(self._used) > self._most_used:
            self._used = {known for known in self._used if known.is_connected()}
            self._most_used = 64 + 2 * len(self._used)


class _Resolver(AbstractResolver):
    """Look names up as aiohttp does, but give up on a look-up that nobody waits for any more.

    aiohttp shares look-ups between calls and shields them, so no caller's timeout ends one.
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


def check_session(session: object) -> None:
    """Check a session that is to be borrowed.

    Raises:
        ConfigurationError: It is none, is closed, or would send credentials of its own.
    """
    if session is None:
        return
    if not isinstance(session, aiohttp.ClientSession):
        kind = type(session).__name__
        raise errors.ConfigurationError(f"session must be an aiohttp.ClientSession, not {kind}")
    if session.closed:
        raise errors.ConfigurationError("session is closed")
    if session.auth is not None:
        raise errors.ConfigurationError(
            "session has a default auth, which would take the place of the token"
        )


def capacity(session: aiohttp.ClientSession | None, wanted: int) -> int:
    """Give how many requests at once a borrowed session has connections for.

    Who waited for one inside aiohttp would use up the time that a connection may take.
    """
    connector = None if session is None else session.connector
    if connector is None:
        return wanted
    return min(wanted, connector.limit or wanted, connector.limit_per_host or wanted)


def check_loop(session: aiohttp.ClientSession) -> None:
    """See to it that a borrowed session was made in the running loop: elsewhere it would hang."""
    loop = getattr(session, "_loop", None)  # the public property is on its way out
    if loop is not None and loop is not asyncio.get_running_loop():
        raise errors.EventLoopError("the borrowed session belongs to another event loop")
