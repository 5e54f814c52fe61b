"""The values and protocols that pass between the steps of a call."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Literal, NamedTuple, NoReturn, Protocol

from attrs import frozen

from flashback_async.errors import FlashbackError


class Secret:
    """A token, or other text that no message, log, pickle or traceback may show."""

    __slots__ = ("_text", "earlier")

    def __init__(self, text: str) -> None:
        self._text = text
        self.earlier: tuple[Secret, ...] = ()  # the tokens that this one replaces

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


class Request(NamedTuple):
    """One request to the API, which may always be sent again because it only reads."""

    operation: str
    method: str
    target: str  # path and query below the base URL, percent-encoded
    bucket_id: str | None = None
    body: bytes | None = None


Headers = tuple[tuple[bytes, bytes], ...]


class Response(NamedTuple):
    """One HTTP response; the body of an error may be only its start."""

    status: int
    headers: Headers
    body: bytes


class Retry(Enum):
    """How a call may go on after an exchange without an answer."""

    NEVER = "never"  # the failure ends the call
    TRANSIENT = "transient"  # retried after a back-off
    THROTTLED = "throttled"  # retried when the server allows it
    STALE = "stale"  # a reused connection was closed before any byte of an answer: sent again once
    RECALLED = "recalled"  # given up before it was sent: admitted anew, at no cost


@frozen(slots=True)
class NoAnswer:
    """The failure of one exchange, and how the call may go on.

    ``pause`` is how many seconds the server asked to wait, 0 if it named no time. ``sent`` is
    False if nothing was sent.
    """

    error: FlashbackError
    retry: Retry = Retry.NEVER
    pause: float = 0.0
    sent: bool = True


class Connection(Protocol):
    """The connection of an attempt."""

    def force_close(self) -> None:
        """Keep the connection from being used again."""


class Attempt:
    """The progress of one exchange, which the transport writes and the call reads.

    ``connect`` is the seconds that a new connection may take. ``fresh`` asks for a connection
    that was never used before. ``began`` is on the call's clock.
    """

    # Defaults, set on the instance only as the exchange proceeds.
    reused = False
    phase: Literal["connect", "connect or headers", "headers", "body"] = "connect"
    via = ""  # the proxy on the way, in words
    received = 0  # bytes of the body
    expected: int | None = None
    head: Response | None = None  # the start of an answer; set before any failure that is about it
    connection: Connection | None = None
    tls: ssl.SSLObject | None = None  # None once the transport has had an answer
    recalls = 0  # the transport's count of recalls when the exchange began

    def __init__(self, connect: float, fresh: bool = False, began: float = 0.0) -> None:
        self.connect = connect
        self.fresh = fresh
        self.began = began

    def progress(self) -> str:
        """Return the phase that the exchange has reached, in words."""
        if self.phase != "body":
            return f"phase {self.phase}{self.via}"
        expected = "" if self.expected is None else f" of {self.expected}"
        return f"phase body, {self.received}{expected} bytes received"


class Transport(Protocol):
    """The interface below a call: anything that can make one exchange with the API.

    A transport serves one origin in one event loop. It retries nothing, sends each request at most
    once, and has no limit on the exchanges in flight, because calls are admitted above it.
    """

    def open(self) -> None:
        """Create what belongs to the running loop; send nothing and open no file."""

    async def send(self, request: Request, secret: Secret, attempt: Attempt) -> Response | NoAnswer:
        """Return the result of one exchange; raise only cancellation.

        A ``Response`` has any status, and the whole body; a body that is not data may be only its
        start. A body is inflated, and never longer than the limit. The failures are:

        - ``ConnectError`` and ``CertificateError``: no connection. Retried as TRANSIENT, unless
          another try would end in the same way;
        - ``RequestTimeoutError``: connecting took longer than ``attempt.connect``. The caller
          ends what takes longer in other phases, by cancellation;
        - ``ConnectionLostError``: TRANSIENT, but STALE if the connection was a used one and was
          lost after the request was sent and before any byte of the answer;
        - ``ProtocolError``, ``DecodeError`` of a content encoding, and ``ResponseTooLargeError``:
          NEVER retried;
        - RECALLED after ``recall``, or if a used connection was lost before the request was sent;
        - ``ClientClosedError`` after ``close``. After these two, nothing was sent.

        No failure keeps an exception, traceback or text that may hold the token. The attempt is
        kept up to date meanwhile: it tells how far the exchange came if it is cancelled.

        After a failure, or a cancellation, the connection is closed. It is also closed if more
        bytes than the answer have arrived. Else it is used again, unless ``attempt.fresh`` asks
        for a new one.
        """
        ...

    def recall(self) -> None:
        """Stop the requests that have not been sent yet; their exchanges end as RECALLED."""

    async def close(self) -> None:
        """Close every connection, and wait until its socket is closed; closing twice is fine."""


TransportFactory = Callable[[], Transport]
TokenProvider = Callable[[], Awaitable[str]]
