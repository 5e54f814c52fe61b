"""One exchange through aiohttp: its session, its connections, and the reading of an answer."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import Mapping
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
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

# Half of what may be buffered beyond a limit before the server is held back.
_READ_BUFFER = 64 * 1024

_CLOSED = "the aiohttp session is closed"
_CONTENT: dict[str, str] = {hdrs.CONTENT_TYPE: "application/json"}


class AiohttpTransport:
    """Make exchanges with one origin over an aiohttp session, its own or a borrowed one.

    Its own session resends nothing in secret, and uses no connection again on which something
    arrived unasked. A borrowed one is never closed and never changed.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        longest_lookup: float,
        max_response_bytes: int,
        proxy: Secret | None,
        ssl_context: ssl.SSLContext | None,
        session: aiohttp.ClientSession | None,
    ) -> None:
        self._base_url = base_url
        self._own_headers = headers
        self._base = URL(base_url, encoded=True)
        self._prefix = self._base.raw_path.rstrip("/")
        self._longest_lookup = longest_lookup
        self._max_response_bytes = max_response_bytes
        self._proxy = None if proxy is None else proxy.reveal()
        self._ssl: ssl.SSLContext | bool = True if ssl_context is None else ssl_context
        self._borrowed = session
        self._session = session
        self._connector: _Connector | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: _UnderWay = {}
        self._known: Secret | None = None  # the token in the headers of the own session
        # A body of this size is taken as it is, data or not. Of a borrowed session ``read`` does
        # more than to give the bytes: it tells the traces.
        small = min(max_response_bytes, protocol.SNIPPET_BYTES)
        self._small = small if session is None else -1

    def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._borrowed is not None:
            _check_loop(self._borrowed)
            return
        self._connector = _Connector(self._longest_lookup, self._under_way)
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            response_class=_Response,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._own_headers,
            read_bufsize=_READ_BUFFER,
        )

    async def close(self) -> None:
        if self._borrowed is None and self._session is not None:
            await self._session.close()

    async def send(self, request: Request, secret: Secret, attempt: Attempt) -> Response | Failure:
        session, under_way = self._session, self._under_way
        task = asyncio.current_task(self._loop)
        under_way[task] = attempt
        try:
            if self._borrowed is not None and len(under_way) > 1:
                await asyncio.sleep(0)  # as ``_Connector`` does, which is later and saves more
            if session is None or session.closed:
                return _unsent(errors.ClientClosedError(_CLOSED))
            response = await session.request(
                request.method,
                self._url(request.target),
                headers=self._headers(session, secret, request.body),
                data=request.body,
                allow_redirects=False,
                raise_for_status=False,
                auto_decompress=True,
                proxy=self._proxy,
                ssl=self._ssl,
                timeout=_client_timeout(attempt.connect),
            )
            attempt.phase = "body"
            content = response.content
            try:
                if content.is_eof() and content.total_bytes <= self._small:
                    # The body came with the head.
                    return Response(response.status, response.raw_headers, content.read_nowait())
                attempt.head = Response(response.status, response.raw_headers, b"")
                return await self._read(response, attempt)
            except BaseException:
                attempt.received = content.total_bytes
                response.close()
                raise
        except (aiohttp.ClientError, OSError, _Dropped) as error:
            return self._failure(error, attempt, secret)
        except (ValueError, AssertionError) as error:
            failure = _fault_of_session(session, error)
            if failure is None:
                raise
            return failure
        finally:
            under_way.pop(task, None)  # a hook of a borrowed session may make calls in this task

    def _url(self, target: str) -> URL:
        """Put a target, which is encoded already, below the base URL."""
        if "?" in target:
            return URL(self._base_url + target, encoded=True)
        # Saves the parsing of a URL for every request.
        return self._base.with_path(self._prefix + target, encoded=True)

    def _headers(
        self, session: aiohttp.ClientSession, secret: Secret, body: bytes | None
    ) -> Mapping[str, str] | None:
        """Give what an exchange adds to the headers of the session."""
        content = None if body is None else _CONTENT
        if self._borrowed is not None:
            return {hdrs.AUTHORIZATION: _bearer(secret), **self._own_headers, **(content or {})}
        if secret is not self._known:
            # Kept there, it need not be merged in for every request, each of which takes a copy.
            session.headers[hdrs.AUTHORIZATION] = _bearer(secret)
            self._known = secret
        return content

    async def _read(self, response: aiohttp.ClientResponse, attempt: Attempt) -> Response | Failure:
        """Read the body, and of one that is not data no more than tells what it is."""
        status, headers = response.status, response.raw_headers
        is_data = protocol.is_data(status, headers)
        limit = self._max_response_bytes if is_data else protocol.SNIPPET_BYTES
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

    def _failure(self, error: BaseException, attempt: Attempt, secret: Secret) -> Failure:
        if isinstance(error, _Dropped):
            error = error.error
        return failure_of(error, attempt, secret, self._base_url, self._proxy)


def _bearer(secret: Secret) -> str:
    return f"Bearer {secret.reveal()}"


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


def _fault_of_session(session: aiohttp.ClientSession | None, error: Exception) -> Failure | None:
    """Tell what is wrong with a borrowed session, where aiohttp has no error of its own for it."""
    if session is None or session.closed:  # meanwhile, so that aiohttp's hidden resend has failed
        return Failure(errors.ClientClosedError(_CLOSED))
    if session.trust_env and "AUTHORIZATION" in str(error):
        text = "a .netrc entry, read because the session has trust_env, hides the token"
        return _unsent(errors.ConfigurationError(text))
    return None


def _check_loop(session: aiohttp.ClientSession) -> None:
    """See to it that a borrowed session was made in the running loop: elsewhere it would hang."""
    loop = getattr(session, "_loop", None)  # the public property is on its way out
    if loop is not None and loop is not asyncio.get_running_loop():
        raise errors.EventLoopError("the borrowed session belongs to another event loop")


class _Dropped(Exception):
    """A connection that could not be had, or went away: an error on which aiohttp gives up."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class _Response(aiohttp.ClientResponse):
    """Keep aiohttp from sending a GET again by itself: it does so on these two errors."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        try:
            return await super().start(connection)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            raise _Dropped(error) from None


# An exchange is found by its task, for aiohttp hands nothing of a request's own through.
_UnderWay = dict[asyncio.Task[object] | None, Attempt]

_connect = aiohttp.TCPConnector.connect  # ``super()`` would be looked up for every request


class _Connector(aiohttp.TCPConnector):
    """Tell new from used connections, use no dirty one again, and give them out in one go.

    How many connections there are is the business of the client's own admission.
    """

    def __init__(self, longest_lookup: float, under_way: _UnderWay) -> None:
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
                raise _Dropped(error) from None
            handler = connection.protocol
            assert handler is not None  # noqa: S101 - it is connected
            reused = handler in self._used
            if reused and (attempt.fresh or handler.should_close):
                connection.close()
                continue
            if not reused:
                self._remember(handler)
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


@cache
def own_headers() -> dict[str, str]:
    """Give the headers that are the same for every request; reads files of what is installed."""
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


def _unsent(error: errors.FlashbackError) -> Failure:
    return Failure(error, sent=False)


def _too_large(what: str, limit: int) -> Failure:
    return Failure(
        errors.ResponseTooLargeError(
            f"the body is larger than Limits.max_response_bytes, {limit} bytes: {what}"
        )
    )
