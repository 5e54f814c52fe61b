"""One exchange through aiohttp: its session, its connections, and the reading of an answer."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from contextvars import ContextVar
from functools import cache, lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from flashback_async import errors
from flashback_async.http import protocol
from flashback_async.http.aiohttp_errors import failure_of
from flashback_async.http.values import Attempt, Failure, Request, Response, Secret

if TYPE_CHECKING:
    from aiohttp.client_middlewares import ClientHandlerType
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

# Half of what may be buffered beyond a limit before the server is held back.
_READ_BUFFER = 64 * 1024

# What the running task is about to exchange, for the connector that aiohttp calls on the way.
_current: ContextVar[Attempt | None] = ContextVar("flashback_async_attempt", default=None)


class AiohttpTransport:
    """Make exchanges with one origin over an aiohttp session, its own or a borrowed one.

    Its own session resends nothing in secret, and uses no connection again on which something
    arrived unasked. A borrowed one is never closed and never changed.
    """

    def __init__(
        self,
        base_url: str,
        *,
        longest_lookup: float,
        max_response_bytes: int,
        proxy: Secret | None,
        ssl_context: ssl.SSLContext | None,
        session: aiohttp.ClientSession | None,
    ) -> None:
        self._base_url = base_url
        self._base = URL(base_url, encoded=True)
        self._prefix = self._base.raw_path.rstrip("/")
        self._longest_lookup = longest_lookup
        self._max_response_bytes = max_response_bytes
        self._proxy = None if proxy is None else proxy.reveal()
        self._ssl: ssl.SSLContext | bool = True if ssl_context is None else ssl_context
        self._borrowed = session
        self._session = session

    def open(self) -> None:
        if self._borrowed is not None:
            _check_loop(self._borrowed)
            return
        self._session = aiohttp.ClientSession(
            connector=_Connector(self._longest_lookup),
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(_no_hidden_resend,),
            headers=_own_headers(),
            read_bufsize=_READ_BUFFER,
        )

    async def close(self) -> None:
        if self._borrowed is None and self._session is not None:
            await self._session.close()

    async def send(self, request: Request, secret: Secret, attempt: Attempt) -> Response | Failure:
        session = self._session
        if session is None or session.closed:
            return Failure(errors.ClientClosedError("the aiohttp session is closed"))
        outer = _current.set(attempt)
        try:
            response = await session.request(
                request.method,
                self._url(request.target),
                headers=self._headers(secret, request),
                data=request.body,
                allow_redirects=False,
                raise_for_status=False,
                auto_decompress=True,
                proxy=self._proxy,
                ssl=self._ssl,
                timeout=_client_timeout(attempt.connect),
            )
            attempt.phase = "body"
            try:
                return await self._read(response, attempt)
            except BaseException:
                attempt.received = response.content.total_bytes
                response.close()
                raise
        except (aiohttp.ClientError, OSError, _Dropped) as error:
            return self._failure(error, attempt, secret)
        except ValueError as error:
            if not session.trust_env or "AUTHORIZATION" not in str(error):
                raise
            text = "a .netrc entry, read because the session has trust_env, hides the token"
            return Failure(errors.ConfigurationError(text))
        finally:
            _current.reset(outer)

    def _url(self, target: str) -> URL:
        """Put a target, which is encoded already, below the base URL."""
        if "?" in target:
            return URL(self._base_url + target, encoded=True)
        # Saves the parsing of a URL for every request.
        return self._base.with_path(self._prefix + target, encoded=True)

    def _headers(self, secret: Secret, request: Request) -> dict[str, str]:
        headers: dict[str, str] = {hdrs.AUTHORIZATION: f"Bearer {secret.reveal()}"}
        if self._borrowed is not None:
            headers.update(_own_headers())
        if request.body is not None:
            headers[hdrs.CONTENT_TYPE] = "application/json"
        return headers

    async def _read(self, response: aiohttp.ClientResponse, attempt: Attempt) -> Response | Failure:
        """Read the body, and of one that is not data no more than tells what it is."""
        status, headers, content = response.status, response.raw_headers, response.content
        attempt.head = Response(status, headers, b"")
        is_data = protocol.is_data(status, headers)
        limit = self._max_response_bytes if is_data else protocol.SNIPPET_BYTES
        if content.is_eof() and content.total_bytes <= limit and self._borrowed is None:
            return Response(status, headers, content.read_nowait())  # it came with the head
        attempt.expected = response.content_length
        if attempt.expected is not None and attempt.expected > limit and is_data:
            response.close()
            return _too_large(f"{attempt.expected} bytes are declared", limit)
        body = await _read_up_to(limit, response)
        if len(body) <= limit:
            return Response(status, headers, body)
        response.close()
        if is_data:
            return _too_large("the body goes on", limit)
        return Response(status, headers, body[:limit], complete=False)

    def _failure(self, error: Exception, attempt: Attempt, secret: Secret) -> Failure:
        if isinstance(error, _Dropped):
            error = error.error
        return failure_of(error, attempt, secret, self._base_url, self._proxy)


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


def _check_loop(session: aiohttp.ClientSession) -> None:
    """See to it that a borrowed session was made in the running loop: elsewhere it would hang."""
    loop = getattr(session, "_loop", None)  # the public property is on its way out
    if loop is not None and loop is not asyncio.get_running_loop():
        raise errors.EventLoopError("the borrowed session belongs to another event loop")


class _Dropped(Exception):
    """A connection that went away under a request."""

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.error = error


async def _no_hidden_resend(
    request: aiohttp.ClientRequest, handler: ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a GET again by itself: it does so on these two errors."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Dropped(error) from None


class _Connector(aiohttp.TCPConnector):
    """Tell a new connection from one used before, and use no dirty one again.

    How many connections there are is the business of the client's own admission.
    """

    def __init__(self, longest_lookup: float) -> None:
        super().__init__(limit=0, resolver=_Resolver(longest_lookup))
        self._used: set[ResponseHandler] = set()
        self._most_used = 64

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        attempt = _current.get()
        while True:
            connection = await super().connect(req, traces, timeout)
            handler = connection.protocol
            if handler is None or attempt is None:
                return connection
            reused = handler in self._used
            if reused and (attempt.fresh or handler.should_close):
                connection.close()
                continue
            if not reused:
                self._remember(handler)
            attempt.reused = reused
            attempt.phase = "headers"
            attempt.distrust = handler.force_close
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


@cache
def _own_headers() -> dict[str, str]:
    """Give the headers that are the same for every request."""
    ours, theirs = (
        ".".join(text.split(".")[:2]) for text in (version("flashback-async"), aiohttp.__version__)
    )
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {
        hdrs.ACCEPT: "application/json",
        # Named, so that what is installed beside aiohttp does not decide what may come.
        hdrs.ACCEPT_ENCODING: "gzip, deflate",
        hdrs.USER_AGENT: f"flashback-async/{ours} Python/{python} aiohttp/{theirs}",
    }


@lru_cache(maxsize=32)
def _client_timeout(connect: float) -> aiohttp.ClientTimeout:
    """Leave to aiohttp the connect timeout alone: its others arm timers for every request."""
    return aiohttp.ClientTimeout(total=None, connect=connect, ceil_threshold=float("inf"))


async def _read_up_to(limit: int, response: aiohttp.ClientResponse) -> bytes:
    """Read a body, and no more once it has passed the limit."""
    length = response.content_length
    if length is not None and length <= limit and "Content-Encoding" not in response.headers:
        return await response.read()
    blocks, size = [], 0
    while size <= limit and (block := await response.content.readany()):
        blocks.append(block)
        size += len(block)
    return b"".join(blocks)


def _too_large(what: str, limit: int) -> Failure:
    return Failure(
        errors.ResponseTooLargeError(
            f"the body is larger than Limits.max_response_bytes, {limit} bytes: {what}"
        )
    )
