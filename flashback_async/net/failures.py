"""The failures of an exchange, in words that both transports share."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from flashback_async import errors
from flashback_async.api import answers
from flashback_async.api.redaction import redact
from flashback_async.values import Attempt, NoAnswer, Retry, Secret

# Of a request that was not sent, because it was recalled or its connection was lost before.
RECALLED = NoAnswer(errors.TransportError("the request was recalled"), Retry.RECALLED, sent=False)


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


def host_and_port(host: str, port: int | None) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _host_and_port_of(url: str) -> str:
    parts = urlsplit(url)
    default = 443 if parts.scheme == "https" else 80
    return host_and_port(parts.hostname or "", parts.port or default)


# No connection.


def not_resolved(cause: OSError, whose: str) -> NoAnswer:
    """Return the failure of a DNS lookup; ``whose`` names the host and port."""
    text = f"the name of {whose} could not be resolved: {reason(cause)}"
    return NoAnswer(errors.ConnectError(text), _retry_unless_local(cause))


def not_connected(cause: OSError, route: Route) -> NoAnswer:
    """Return the failure to make a connection, or of its TLS handshake."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        text = f"the certificate of {route.peer} was not accepted: {reason(cause)}"
        return NoAnswer(errors.CertificateError(text))
    if route.is_https and isinstance(cause, _HANDSHAKE_ERRORS):
        text = f"the TLS handshake with {route.peer} failed: {reason(cause)}"
    else:
        text = f"no connection to {route.peer}: {reason(cause)}"
    return NoAnswer(errors.ConnectError(text), _retry_unless_local(cause))


def connect_timed_out(limit: float, route: Route) -> NoAnswer:
    """Return the failure of a connection that took longer than a limit in seconds."""
    shown = f"{limit:.1f} s" if limit >= 0.1 else errors.seconds(limit)
    text = f"connect timeout {shown} to {route.peer}{route.via}"
    return NoAnswer(errors.RequestTimeoutError(text), Retry.TRANSIENT)


def reason(cause: OSError) -> str:
    """Return the text of an operating system's error, with the name of its number or its type."""
    code = errno.errorcode.get(cause.errno or 0)
    if code and not isinstance(cause, ssl.SSLError | socket.gaierror):
        return f"{os.strerror(cause.errno or 0).lower()} [{code}]"
    text = getattr(cause, "verify_message", None) or cause.strerror or str(cause)
    name = type(cause).__name__
    return f"{name}: {answers.escape(text, 200)}" if text else name


# A peer that closes a new TCP connection does so during the handshake.
_HANDSHAKE_ERRORS = (ssl.SSLError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError)


def _retry_unless_local(cause: OSError) -> Retry:
    """Return whether to retry, which only makes it worse if there are no descriptors left."""
    return Retry.NEVER if cause.errno in (errno.EMFILE, errno.ENFILE) else Retry.TRANSIENT


# A connection that was lost.


def lost(
    error: BaseException | None, attempt: Attempt, route: Route, *, began: bool, reset: bool
) -> NoAnswer:
    """Return the failure of a connection that was lost before the whole answer had arrived.

    ``began`` is whether any byte of the answer has arrived. No error means that the server closed
    the connection.
    """
    if isinstance(error, ssl.SSLError):
        failure = _tls_alert(error, attempt, route)
        if failure is not None:
            return failure
    elif attempt.phase == "headers" and not attempt.reused and _is_unconfirmed(attempt):
        return _wants_certificate(route)
    if attempt.phase == "body":
        expected = "" if attempt.expected is None else f" of {attempt.expected}"
        where = f"after {attempt.received}{expected} bytes of the body"
    else:
        where = "before response"
        if attempt.phase == "connect or headers":
            where += route.via
    name = "" if error is None else f" [{type(error).__name__}]"
    text = f"the connection was {'reset' if reset else 'closed'} {where}{name}"
    stale = attempt.reused and attempt.phase == "headers" and not began
    return NoAnswer(errors.ConnectionLostError(text), Retry.STALE if stale else Retry.TRANSIENT)


def _tls_alert(error: ssl.SSLError, attempt: Attempt, route: Route) -> NoAnswer | None:
    """Return the failure of a handshake that ended with an alert; None if it had succeeded."""
    text = str(error)
    if "CERTIFICATE_REQUIRED" in text:
        return _wants_certificate(route)
    if attempt.phase != "headers" or attempt.reused:
        return None
    text = f"the TLS handshake with {route.peer} failed: {answers.escape(text, 200)}"
    return NoAnswer(errors.ConnectError(text), Retry.TRANSIENT)


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


# An answer that cannot be used.


def malformed(rule: str, secret: Secret) -> NoAnswer:
    """Return the failure of an answer that breaks a rule of HTTP."""
    return NoAnswer(errors.ProtocolError(malformed_text(rule, secret)))


def malformed_text(rule: str, secret: Secret) -> str:
    return f"malformed HTTP: {answers.escape(redact(rule, secret), 80)}"


def not_http_text(start: bytes, secret: Secret) -> str:
    """Return the text about an answer that is not HTTP, with its first bytes."""
    return f"not HTTP: the answer starts with {_sample(start, secret)}"


def unasked(start: bytes, secret: Secret) -> NoAnswer:
    """Return the failure of a server that sent something before it was asked."""
    text = f"not HTTP: the server begins by sending {_sample(start, secret)}"
    return NoAnswer(errors.ProtocolError(text))


def begun_unasked() -> NoAnswer:
    """Return the failure of a request that was not sent, because the start of an answer came."""
    text = "the server began to answer before it was asked"
    return NoAnswer(errors.ConnectionLostError(text), Retry.TRANSIENT)


def _sample(start: bytes, secret: Secret) -> str:
    return ascii(redact(start.decode("latin-1"), secret)[:32])


def badly_encoded(text: str, secret: Secret) -> NoAnswer:
    shown = answers.escape(redact(text, secret), 120)
    return NoAnswer(errors.DecodeError(f"the content encoding cannot be undone: {shown}"))


def too_large(what: str, limit: int) -> NoAnswer:
    text = f"the body is larger than Limits.max_response_bytes, {limit} bytes: {what}"
    return NoAnswer(errors.ResponseTooLargeError(text))
