"""One exchange through aiohttp: what goes out, and the reading of an answer."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from functools import lru_cache

import aiohttp
from aiohttp import hdrs
from yarl import URL

from flashback_async import errors
from flashback_async.api import answers
from flashback_async.net.aiohttp_errors import failure_of, hidden_token, session_closed
from flashback_async.net.aiohttp_session import (
    Dropped,
    Recalled,
    UnderWay,
    check_loop,
    own_session,
)
from flashback_async.values import Attempt, NoAnswer, Request, Response, Secret

_CONTENT: dict[str, str] = {hdrs.CONTENT_TYPE: "application/json"}


class AiohttpTransport:
    """Make exchanges with one origin over an aiohttp session, its own or a borrowed one.

    A borrowed one is never closed and never changed.
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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: UnderWay = {}
        self._known: Secret | None = None  # the token in the headers of the own session
        # A body of this size is taken as it is, data or not. Of a borrowed session ``read`` does
        # more than to give the bytes: it tells the traces.
        small = min(max_response_bytes, answers.SNIPPET_BYTES)
        self._small = small if session is None else -1

    def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._borrowed is not None:
            check_loop(self._borrowed)
            return
        self._session = own_session(self._own_headers, self._longest_lookup, self._under_way)

    async def close(self) -> None:
        if self._borrowed is None and self._session is not None:
            await self._session.close()

    def recall(self) -> None:
        for attempt in self._under_way.values():
            attempt.recalled = True

    async def send(
        self, request: Request, secret: Secret, attempt: Attempt
    ) -> Response | NoAnswer | None:
        session, under_way = self._session, self._under_way
        task = asyncio.current_task(self._loop)
        under_way[task] = attempt
        try:
            if self._borrowed is not None and not await self._gets_ready(attempt):
                return None
            if session is None or session.closed:
                return NoAnswer(session_closed(), sent=False)
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
        except Recalled:
            return None
        except asyncio.CancelledError:
            if not self._is_cut_by_session(task):
                raise
            return NoAnswer(session_closed())
        except Exception as error:
            failure = self._failure(error, attempt, secret)
            if failure is None:
                raise
            return failure
        finally:
            under_way.pop(task, None)  # a hook of a borrowed session may make calls in this task

    def _is_cut_by_session(self, task: asyncio.Task[object] | None) -> bool:
        """Tell whether nobody cancelled a task but aiohttp, as a borrowed session was closed."""
        closed = self._session is not None and self._session.closed
        return closed and task is not None and not task.cancelling()

    async def _gets_ready(self, attempt: Attempt) -> bool:
        """Wait a turn for other requests, as our own session does at a later, better moment.

        False where the request was recalled meanwhile.
        """
        attempt.phase = "connect or headers"  # it does not tell which
        if len(self._under_way) > 1:
            await asyncio.sleep(0)
        return not attempt.recalled

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

    async def _read(
        self, response: aiohttp.ClientResponse, attempt: Attempt
    ) -> Response | NoAnswer:
        """Read the body, and of one that is not data no more than tells what it is."""
        status, headers = response.status, response.raw_headers
        is_data = answers.is_data(status, headers)
        limit = self._max_response_bytes if is_data else answers.SNIPPET_BYTES
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
        return Response(status, headers, body[:limit])

    def _failure(self, error: Exception, attempt: Attempt, secret: Secret) -> NoAnswer | None:
        """Say why an exchange failed; None for what is no failure, but a bug or a hook's own."""
        session = self._session
        if session is not None and session.closed:
            return NoAnswer(session_closed())  # after which aiohttp raises this or that
        cause = error.error if isinstance(error, Dropped) else error
        if isinstance(cause, aiohttp.ClientError | OSError):
            return failure_of(cause, attempt, secret, self._base_url, self._proxy)
        return hidden_token(error) if session is not None and session.trust_env else None


def _bearer(secret: Secret) -> str:
    return f"Bearer {secret.reveal()}"


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


def _too_large(what: str, limit: int) -> NoAnswer:
    return NoAnswer(
        errors.ResponseTooLargeError(
            f"the body is larger than Limits.max_response_bytes, {limit} bytes: {what}"
        )
    )
