"""One exchange through aiohttp: sending the request, and reading its answer."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from functools import lru_cache

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from flashback_async import errors
from flashback_async.api import answers
from flashback_async.net import failures
from flashback_async.net.aiohttp_errors import hidden_token, no_answer, session_closed
from flashback_async.net.aiohttp_session import (
    CURRENT,
    Connector,
    Dropped,
    InFlight,
    Recalled,
    own_session,
)
from flashback_async.net.borrowed_session import check_loop, default_proxy
from flashback_async.net.failures import RECALLED, Route
from flashback_async.values import Attempt, NoAnswer, Request, Response, Secret


class AiohttpTransport:
    """Exchanges with one origin over the client's own aiohttp session, or a borrowed one.

    A borrowed session is never closed and never changed.
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
        self._route = Route.of(base_url, proxy or default_proxy(session))
        self._ssl: ssl.SSLContext | bool = True if ssl_context is None else ssl_context
        self._borrowed = session
        self._session = session
        self._in_flight = InFlight()
        self._known: Secret | None = None  # the token in the two headers below
        self._get_headers = self._post_headers = CIMultiDict[str]()
        # The read() of a borrowed session does more than return the bytes: it calls the traces.
        self._takes_ready_bodies = session is None
        self._ready_limit = min(max_response_bytes, answers.SNIPPET_BYTES)

    def open(self) -> None:
        if self._borrowed is not None:
            check_loop(self._borrowed)
            return
        self._session = own_session(self._own_headers, self._longest_lookup, self._in_flight)

    async def close(self) -> None:
        if self._borrowed is not None or self._session is None:
            return
        connector = self._session.connector
        await self._session.close()
        if isinstance(connector, Connector):
            await connector.resolver.close()

    def recall(self) -> None:
        self._in_flight.recalls += 1

    async def send(self, request: Request, secret: Secret, attempt: Attempt) -> Response | NoAnswer:
        session, in_flight = self._session, self._in_flight
        attempt.recalls, attempt.via = in_flight.recalls, self._route.via
        in_flight.count += 1
        before = CURRENT.set(attempt)
        try:
            if self._borrowed is not None and not await self._gets_ready(attempt):
                return RECALLED
            if session is None or session.closed:
                return NoAnswer(session_closed(), sent=False)
            response = await session.request(
                request.method,
                self._url(request.target),
                headers=self._headers(secret, has_body=request.body is not None),
                data=request.body,
                allow_redirects=False,
                raise_for_status=False,
                auto_decompress=True,
                proxy=self._proxy,
                ssl=self._ssl,
                timeout=_client_timeout(attempt.connect),
            )
            attempt.phase, in_flight.has_answered = "body", True
            content = response.content
            if (
                self._takes_ready_bodies
                and content.is_eof()
                and content.total_bytes <= self._ready_limit
            ):
                return Response(response.status, response.raw_headers, content.read_nowait())
            return await self._read(response, attempt)
        except Recalled:
            return RECALLED
        except asyncio.CancelledError:
            if not self._is_cut_by_session():
                raise
            return NoAnswer(session_closed())
        except Exception as error:
            failure = self._failure(error, attempt, secret)
            if failure is None:
                raise
            return _reply_by_status(attempt.head, failure)
        finally:
            in_flight.count -= 1
            CURRENT.reset(before)

    def _is_cut_by_session(self) -> bool:
        """Return whether aiohttp alone cancelled the task, because its session was closed."""
        task = asyncio.current_task()
        closed = self._session is not None and self._session.closed
        return closed and task is not None and not task.cancelling()

    async def _gets_ready(self, attempt: Attempt) -> bool:
        """Wait for other requests to be ready, as the own session does later, in its connector.

        Return False if the request was recalled meanwhile.
        """
        attempt.phase = "connect or headers"  # a borrowed session does not report which
        if self._in_flight.count > 1:
            await asyncio.sleep(0)
        return attempt.recalls == self._in_flight.recalls

    def _url(self, target: str) -> URL:
        """Return the URL of a target, which is encoded already, below the base URL."""
        if "?" in target:
            return URL(self._base_url + target, encoded=True)
        # Cheaper than parsing a URL for every request.
        return self._base.with_path(self._prefix + target, encoded=True)

    def _headers(self, secret: Secret, *, has_body: bool) -> CIMultiDict[str]:
        """Return the headers of one request, the token among them.

        The token is never a header of the session: aiohttp sends those to a proxy as well, in
        clear text.
        """
        if secret is not self._known:
            headers = CIMultiDict({hdrs.AUTHORIZATION: f"Bearer {secret.reveal()}"})
            if self._borrowed is not None:
                headers.extend(self._own_headers)
            self._get_headers = headers
            self._post_headers = headers.copy()
            self._post_headers[hdrs.CONTENT_TYPE] = "application/json"
            self._known = secret
        return self._post_headers if has_body else self._get_headers

    async def _read(
        self, response: aiohttp.ClientResponse, attempt: Attempt
    ) -> Response | NoAnswer:
        """Return the answer with its body; if that is not data, only its start is read."""
        status, headers = response.status, response.raw_headers
        attempt.head = Response(status, headers, b"")
        try:
            is_data = answers.is_data(status, headers)
            limit = self._max_response_bytes if is_data else answers.SNIPPET_BYTES
            attempt.expected = response.content_length
            if attempt.expected is not None and attempt.expected > limit and is_data:
                response.close()
                return failures.too_large(f"{attempt.expected} bytes are declared", limit)
            body = await _read_up_to(limit, response)
            if len(body) <= limit:
                return Response(status, headers, body)
            response.close()
            if is_data:
                return failures.too_large("more bytes follow", limit)
            return Response(status, headers, body[:limit])
        except BaseException:
            attempt.received = response.content.total_bytes
            response.close()
            raise

    def _failure(self, error: Exception, attempt: Attempt, secret: Secret) -> NoAnswer | None:
        """Return why an exchange failed; None if the exception is a bug, or a trace hook's."""
        session = self._session
        if session is not None and session.closed:
            return NoAnswer(session_closed())  # whatever aiohttp raises after that
        cause = error.error if isinstance(error, Dropped) else error
        if isinstance(cause, aiohttp.ClientError | OSError):
            return no_answer(cause, attempt, secret, self._route)
        return hidden_token(error) if session is not None and session.trust_env else None


@lru_cache(maxsize=32)
def _client_timeout(connect: float) -> aiohttp.ClientTimeout:
    """Return the connect timeout alone: aiohttp's others start timers for every request."""
    return aiohttp.ClientTimeout(total=None, connect=connect, ceil_threshold=float("inf"))


def _reply_by_status(head: Response | None, failure: NoAnswer) -> Response | NoAnswer:
    """Return the head of an answer without data if only its body could not be decoded."""
    if head is None or not isinstance(failure.error, errors.DecodeError):
        return failure
    return failure if answers.is_data(head.status, head.headers) else head


async def _read_up_to(limit: int, response: aiohttp.ClientResponse) -> bytes:
    """Return the body, or the start of one that exceeds the limit."""
    length = response.content_length
    if length is not None and length <= limit and "Content-Encoding" not in response.headers:
        return await response.read()
    blocks, size = [], 0
    while size <= limit and (block := await response.content.readany()):
        blocks.append(block)
        size += len(block)
    return b"".join(blocks)
