"""The translation of aiohttp's errors, of which ours keep no object and no traceback."""

from __future__ import annotations

import ast
import asyncio
import errno
import os
import re
import socket
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from flashback_async import errors
from flashback_async.api import answers
from flashback_async.api.redaction import redact
from flashback_async.values import Attempt, NoAnswer, Retry, Secret


class Route(NamedTuple):
    """The way to the API in words: its host and port, and the proxy in between."""

    peer: str
    proxy: str | None
    via: str  # the proxy again, as the end of a sentence
    is_https: bool

    @classmethod
    def of(cls, base_url: str, proxy: Secret | None) -> Route:
        """Return the route to a base URL; the credentials of the proxy's URL are left out."""
        named = None if proxy is None else _host_and_port_of(proxy.reveal())
        via = "" if named is None else f" through the proxy {named}"
        return cls(_host_and_port_of(base_url), named, via, base_url.startswith("https:"))


def no_answer(error: BaseException, attempt: Attempt, secret: Secret, route: Route) -> NoAnswer:
    """Return the failure of an exchange, in our own words."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return _not_connected(error, route)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        named = route.proxy or "of the session"
        text = f"the proxy {named} answered {error.status} to CONNECT"
        return NoAnswer(errors.ConnectError(text))
    if isinstance(error, asyncio.TimeoutError):
        limit = attempt.connect
        shown = f"{limit:.1f} s" if limit >= 0.1 else errors.seconds(limit)
        text = f"connect timeout {shown} to {route.peer}{route.via}"
        return NoAnswer(errors.RequestTimeoutError(text), Retry.TRANSIENT)
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        return _not_understood(error, attempt, secret, route)
    if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
        return _tls_alert(error, attempt, route)
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
    reason = _reason(error.os_error)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        text = f"the certificate of {route.peer} was not accepted: {reason}"
        return NoAnswer(errors.CertificateError(text))
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        proxy = _host_and_port(error.host, error.port)
        return NoAnswer(errors.ConnectError(f"no connection to the proxy {proxy}: {reason}"))
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        named = _host_and_port(error.host, error.port)
        whose = f"the proxy {named}" if named == route.proxy else named
        text = f"the name of {whose} could not be resolved: {reason}"
    elif route.is_https and isinstance(error.os_error, _HANDSHAKE_ERRORS):
        text = f"the TLS handshake with {route.peer} failed: {reason}"
    else:
        text = f"no connection to {route.peer}: {reason}"
    # Retries only make it worse if the process has no descriptors left.
    local = error.os_error.errno in (errno.EMFILE, errno.ENFILE)
    return NoAnswer(errors.ConnectError(text), Retry.NEVER if local else Retry.TRANSIENT)


# A peer that closes a new TCP connection does so during the handshake.
_HANDSHAKE_ERRORS = (ssl.SSLError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError)


def _reason(cause: OSError) -> str:
    """Return the text of an operating system's error, with the name of its number or its type."""
    code = errno.errorcode.get(cause.errno or 0)
    if code and not isinstance(cause, ssl.SSLError | socket.gaierror):
        return f"{os.strerror(cause.errno or 0).lower()} [{code}]"
    text = getattr(cause, "verify_message", None) or cause.strerror or str(cause)
    name = type(cause).__name__
    return f"{name}: {answers.escape(text, 200)}" if text else name


def _tls_alert(error: BaseException, attempt: Attempt, route: Route) -> NoAnswer:
    """Return the failure of a connection that ended with a TLS alert of the server."""
    text = str(error)
    if "CERTIFICATE_REQUIRED" in text:
        return _wants_certificate(route)
    if attempt.phase == "headers" and not attempt.reused:
        shown = answers.escape(text, 200)
        text = f"the TLS handshake with {route.peer} failed: {shown}"
        return NoAnswer(errors.ConnectError(text), Retry.TRANSIENT)
    return _lost(error, attempt, route)


def _wants_certificate(route: Route) -> NoAnswer:
    text = f"the TLS handshake with {route.peer} failed: the server wants a client certificate"
    return NoAnswer(errors.ConnectError(text))


def _is_unconfirmed(attempt: Attempt) -> bool:
    """Return whether a server may have refused the TLS 1.3 handshake of a new connection.

    It checks the client's certificate after the client has begun to send, and confirms the
    handshake with a session ticket. Its refusal may be lost on the way.
    """
    tls = attempt.tls
    if tls is None or tls.version() != "TLSv1.3":
        return False
    session = tls.session
    return session is None or not session.has_ticket


def _not_understood(error: Exception, attempt: Attempt, secret: Secret, route: Route) -> NoAnswer:
    """Return the failure of a body that ended early, a bad encoding, or malformed HTTP."""
    cause = _first_cause(error)
    text = getattr(cause, "message", "") or str(cause)
    if isinstance(cause, ContentEncodingError):
        shown = answers.escape(redact(text, secret), 120)
        return NoAnswer(errors.DecodeError(f"the content encoding cannot be undone: {shown}"))
    if isinstance(cause, OSError) or text.startswith("Not enough data"):
        return _lost_in_answer(error, attempt, route)
    # The rest of the text quotes what was read, which may be a header with a secret.
    rule = re.split(r" when reading|: b['\"]|:?\n", text, maxsplit=1)[0]
    message = f"malformed HTTP: {answers.escape(redact(rule, secret), 80)}"
    if "Expected HTTP/" in text:
        message = f"not HTTP: the answer starts with {_sample(text, secret)}"
    if attempt.phase == "connect" and route.proxy is not None:
        text = f"the proxy {route.proxy} did not answer CONNECT: {message}"
        return NoAnswer(errors.ConnectError(text))
    return NoAnswer(errors.ProtocolError(message))


# The part of aiohttp's text that shows the bytes which its parser could not read.
_UNREAD = re.compile(r"""\n\s*(b(['"]).*\2)\n""")


def _sample(text: str, secret: Secret) -> str:
    """Return the first bytes of an answer that is not HTTP."""
    shown = _UNREAD.search(text)
    data = ast.literal_eval(shown[1]) if shown else b""
    return ascii(redact(data.decode("latin-1"), secret)[:32])


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _lost(error: BaseException, attempt: Attempt, route: Route) -> NoAnswer:
    """Return the failure of a connection that was closed or reset."""
    if attempt.phase == "connect" and route.proxy is not None:
        text = f"the proxy {route.proxy} closed the connection instead of an answer to CONNECT"
        return NoAnswer(errors.ConnectError(text), Retry.TRANSIENT)
    if attempt.phase == "headers" and not attempt.reused and _is_unconfirmed(attempt):
        return _wants_certificate(route)
    return _lost_in_answer(error, attempt, route)


def _lost_in_answer(error: BaseException, attempt: Attempt, route: Route) -> NoAnswer:
    """Return the failure of a connection that was lost before the whole answer had arrived."""
    if attempt.phase == "body":
        expected = "" if attempt.expected is None else f" of {attempt.expected}"
        where = f"after {attempt.received}{expected} bytes of the body"
    else:
        where = "before response"
        if attempt.phase == "connect or headers":
            where += route.via
    # aiohttp names a reset within a body only in its message.
    reset = "ConnectionResetError" in str(error) or (
        isinstance(error, OSError) and error.errno == errno.ECONNRESET
    )
    text = f"the connection was {'reset' if reset else 'closed'} {where}"
    # aiohttp puts the start of an answer, if there was one, in place of this error's message.
    began = isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(
        error.message, str
    )
    stale = attempt.reused and attempt.phase == "headers" and not began
    failure = errors.ConnectionLostError(f"{text} [{type(error).__name__}]")
    return NoAnswer(failure, Retry.STALE if stale else Retry.TRANSIENT)


def _host_and_port_of(url: str) -> str:
    parts = urlsplit(url)
    default = 443 if parts.scheme == "https" else 80
    return _host_and_port(parts.hostname or "", parts.port or default)


def _host_and_port(host: str, port: int | None) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
