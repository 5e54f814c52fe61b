"""Where the errors of aiohttp become ours; nothing of its own goes along."""

from __future__ import annotations

import ast
import asyncio
import errno
import re
import ssl
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from flashback_async import errors
from flashback_async.api import answers
from flashback_async.values import Attempt, NoAnswer, Retry, Secret


def failure_of(
    error: BaseException, attempt: Attempt, secret: Secret, base_url: str, proxy: str | None
) -> NoAnswer:
    """Say in our own words what went wrong with an exchange."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return _not_connected(error, base_url)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        named = "of the session" if proxy is None else _peer(proxy)
        text = f"the proxy {named} answered {error.status} to CONNECT"
        return NoAnswer(errors.ConnectError(text))
    if isinstance(error, asyncio.TimeoutError):
        text = f"connect timeout {attempt.connect:.1f} s to {_peer(base_url)}"
        return NoAnswer(errors.RequestTimeoutError(text), Retry.TRANSIENT)
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        return _not_understood(error, attempt, secret)
    return _lost(error, attempt)


def hidden_token(error: Exception) -> NoAnswer | None:
    """Say that .netrc holds credentials for the server, if that is what aiohttp refuses."""
    if not isinstance(error, ValueError) or "AUTHORIZATION" not in str(error):
        return None
    text = "a .netrc entry, read because the session has trust_env, hides the token"
    return NoAnswer(errors.ConfigurationError(text), sent=False)


def session_closed() -> errors.ClientClosedError:
    return errors.ClientClosedError("the aiohttp session is closed")


def _not_connected(error: aiohttp.ClientConnectorError, base_url: str) -> NoAnswer:
    """Tell apart why no connection was made."""
    peer, reason = _peer(base_url), _reason(error.os_error)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        text = f"the certificate of {peer} was not accepted: {reason}"
        return NoAnswer(errors.CertificateError(text))
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        proxy = _host_and_port(error.host, error.port)
        return NoAnswer(errors.ConnectError(f"no connection to the proxy {proxy}: {reason}"))
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        text = f"the name of {peer} could not be resolved: {reason}"
    elif base_url.startswith("https:") and isinstance(error.os_error, _HANDSHAKE_ERRORS):
        text = f"the TLS handshake with {peer} failed: {reason}"
    else:
        text = f"no connection to {peer}: {reason}"
    # A process out of descriptors only makes it worse by trying again.
    local = error.os_error.errno in (errno.EMFILE, errno.ENFILE)
    return NoAnswer(errors.ConnectError(text), Retry.NEVER if local else Retry.TRANSIENT)


# A peer that goes away once TCP is up does so during the handshake.
_HANDSHAKE_ERRORS = (ssl.SSLError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError)


def _reason(cause: OSError) -> str:
    """Give the type, the text and the name of the number of an operating system's error."""
    text = getattr(cause, "verify_message", None) or cause.strerror or str(cause)
    if isinstance(cause, ConnectionRefusedError):
        text = "refused"
    code = errno.errorcode.get(cause.errno or 0)
    shown = f"{type(cause).__name__}: {answers.escape(text, 200)}"
    return f"{shown} [{code}]" if code and not isinstance(cause, ssl.SSLError) else shown


def _not_understood(error: Exception, attempt: Attempt, secret: Secret) -> NoAnswer:
    """Tell apart a body that ended early, an encoding that cannot be undone, and no HTTP."""
    cause = _first_cause(error)
    text = getattr(cause, "message", "") or str(cause)
    if isinstance(cause, ContentEncodingError):
        shown = answers.escape(answers.redact(text, secret), 120)
        return NoAnswer(errors.DecodeError(f"the content encoding cannot be undone: {shown}"))
    if isinstance(cause, OSError) or text.startswith("Not enough data"):
        return _lost(error, attempt)
    # What follows in the text is what was read, which may be a header with a secret.
    rule = re.split(r" when reading|: b['\"]|:?\n", text, maxsplit=1)[0]
    told = f"malformed HTTP: {answers.escape(answers.redact(rule, secret), 80)}"
    if "Expected HTTP/" in text:
        told = f"not HTTP: the answer starts with {_sample(text, secret)}"
    return NoAnswer(errors.ProtocolError(told))


# Where aiohttp shows the bytes that its parser could not read.
_UNREAD = re.compile(r"""\n\s*(b(['"]).*\2)\n""")


def _sample(text: str, secret: Secret) -> str:
    """Show the first of the bytes that were no HTTP."""
    shown = _UNREAD.search(text)
    data = ast.literal_eval(shown[1]) if shown else b""
    return ascii(answers.redact(data.decode("latin-1"), secret)[:32])


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _lost(error: BaseException, attempt: Attempt) -> NoAnswer:
    """Say how far a connection had come when it was closed or reset."""
    if attempt.phase == "body":
        expected = "" if attempt.expected is None else f" of {attempt.expected}"
        where = f"after {attempt.received}{expected} bytes of the body"
    else:
        where = "before response"
    # Of a body, aiohttp says how it was lost only in words.
    reset = "ConnectionResetError" in str(error) or (
        isinstance(error, OSError) and error.errno == errno.ECONNRESET
    )
    text = f"the connection was {'reset' if reset else 'closed'} {where}"
    # What had come of an answer stands where the message of this error belongs.
    began = isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(
        error.message, str
    )
    stale = attempt.reused and attempt.phase == "headers" and not began
    failure = errors.ConnectionLostError(f"{text} [{type(error).__name__}]")
    return NoAnswer(failure, Retry.TRANSIENT, stale)


def _peer(url: str) -> str:
    """Name the host and port of a URL, without its user info."""
    parts = urlsplit(url)
    default = 443 if parts.scheme == "https" else 80
    return _host_and_port(parts.hostname or "", parts.port or default)


def _host_and_port(host: str, port: int | None) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
