"""The translation of aiohttp's errors, of which ours keep no object and no traceback."""

from __future__ import annotations

import ast
import asyncio
import errno
import re
import ssl

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from flashback_async import errors
from flashback_async.net import failures
from flashback_async.net.failures import Route, host_and_port
from flashback_async.values import Attempt, NoAnswer, Retry, Secret


def no_answer(error: BaseException, attempt: Attempt, secret: Secret, route: Route) -> NoAnswer:
    """Return the failure of an exchange, in our own words."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return _not_connected(error, route)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        named = route.proxy or "of the session"
        text = f"the proxy {named} answered {error.status} to CONNECT"
        return NoAnswer(errors.ConnectError(text))
    if isinstance(error, asyncio.TimeoutError):
        return failures.connect_timed_out(attempt.connect, route)
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        return _not_understood(error, attempt, secret, route)
    return _lost(error, attempt, route)


def hidden_token(error: Exception) -> NoAnswer | None:
    """Return the failure if aiohttp refused to send because .netrc holds other credentials."""
    if not isinstance(error, ValueError) or "AUTHORIZATION" not in str(error):
        return None
    text = "a .netrc entry, read because the session has trust_env, hides the token"
    return NoAnswer(errors.ConfigurationError(text), sent=False)


def session_closed() -> errors.ClientClosedError:
    return errors.ClientClosedError("the aiohttp session is closed")


def _not_connected(error: aiohttp.ClientConnectorError, route: Route) -> NoAnswer:
    """Return the failure to make a connection."""
    cause = error.os_error
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        named = host_and_port(error.host, error.port)
        return failures.not_resolved(cause, f"the proxy {named}" if named == route.proxy else named)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        proxy = host_and_port(error.host, error.port)
        text = f"no connection to the proxy {proxy}: {failures.reason(cause)}"
        return NoAnswer(errors.ConnectError(text))
    return failures.not_connected(cause, route)


def _not_understood(error: Exception, attempt: Attempt, secret: Secret, route: Route) -> NoAnswer:
    """Return the failure of a body that ended early, a bad encoding, or malformed HTTP."""
    cause = _first_cause(error)
    text = getattr(cause, "message", "") or str(cause)
    if isinstance(cause, ContentEncodingError):
        return failures.badly_encoded(text, secret)
    if isinstance(cause, OSError) or text.startswith("Not enough data"):
        return _lost(error, attempt, route)
    # The rest of the text quotes what was read, which may be a header with a secret.
    rule = re.split(r" when reading|: b['\"]|:?\n", text, maxsplit=1)[0]
    message = failures.malformed_text(rule, secret)
    if "Expected HTTP/" in text:
        message = failures.not_http_text(_sample(text), secret)
    if attempt.phase == "connect" and route.proxy is not None:
        text = f"the proxy {route.proxy} did not answer CONNECT: {message}"
        return NoAnswer(errors.ConnectError(text))
    return NoAnswer(errors.ProtocolError(message))


# The part of aiohttp's text that shows the bytes which its parser could not read.
_UNREAD = re.compile(r"""\n\s*(b(['"]).*\2)\n""")


def _sample(text: str) -> bytes:
    """Return the first bytes of an answer that is not HTTP."""
    shown = _UNREAD.search(text)
    data = ast.literal_eval(shown[1]) if shown else b""
    return data if isinstance(data, bytes) else b""


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _lost(error: BaseException, attempt: Attempt, route: Route) -> NoAnswer:
    """Return the failure of a connection that was closed or reset."""
    if attempt.phase == "connect" and route.proxy is not None:
        text = f"the proxy {route.proxy} closed the connection instead of an answer to CONNECT"
        return NoAnswer(errors.ConnectError(text), Retry.TRANSIENT)
    # aiohttp names a reset within a body only in its message.
    reset = "ConnectionResetError" in str(error) or (
        isinstance(error, OSError) and error.errno == errno.ECONNRESET
    )
    # aiohttp puts the start of an answer, if there was one, in place of this error's message.
    began = isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(
        error.message, str
    )
    cause = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error
    return failures.lost(cause, attempt, route, began=began, reset=reset)
