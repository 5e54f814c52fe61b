"""Every error that a call can end with.

FlashbackError                    the base of all: operation, bucket_id, attempts, elapsed
├── ConfigurationError            (ValueError) a setting is wrong
├── InvalidArgumentError          (ValueError) an argument is wrong
├── TokenProviderError            the provider or file returned no usable token
├── ClientClosedError             (RuntimeError) the client is closed
├── EventLoopError                (RuntimeError) another event loop, or a forked process
├── DeadlineExceededError         (TimeoutError) the total time, or the run's deadline, is used up
├── ClusterLostError              a Dask cluster is gone, or has no workers: unfinished
├── TransportError                no usable answer arrived
│   ├── ConnectError              refused, DNS, TLS handshake, proxy
│   │   └── CertificateError      the server's certificate was not accepted
│   ├── ConnectionLostError       closed or reset before the whole answer
│   ├── RequestTimeoutError       (TimeoutError) one attempt took too long
│   └── ProtocolError             the answer is not well-formed HTTP
├── APIError                      status, code, message, request_id, retry_after, body
│   ├── BadRequestError           400
│   ├── AuthenticationError       401
│   ├── PermissionDeniedError     403
│   ├── NotFoundError             404, or an id that a list answer left out
│   ├── RateLimitError            429
│   ├── RedirectError             3xx
│   └── ServerError               5xx
└── DecodeError                   the answer is not what the API documents: path, status, request_id
    └── ResponseTooLargeError     the body is larger than the limit
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self, TypedDict, Unpack


def show(value: object) -> str:
    """Return a rejected value as a message shows it: in ASCII, on one line, truncated."""
    try:
        text = ascii(value)
    except ValueError:  # a number of more digits than Python writes out
        return f"a huge {type(value).__name__}"
    return text if len(text) <= 32 else f"{text[:29]}..."


def seconds(value: float) -> str:
    """Return a length of time as a message shows it: in seconds, rounded."""
    text = f"{value:.2f}".rstrip("0").rstrip(".") if value >= 1 else f"{value:.3g}"
    return f"{text} s"


class CallContext(TypedDict, total=False):
    """The facts that identify the call behind an error: see ``FlashbackError``."""

    operation: str | None
    bucket_id: str | None
    attempts: int
    elapsed: float


class FlashbackError(Exception):
    """The base of every error that this package raises.

    Attributes:
        operation: The call, such as ``"status.get"``; None if no call was in flight.
        bucket_id: The bucket asked for; None if the call was about several or none.
        attempts: Attempts of the call to send its request, unconnected ones included.
        elapsed: Seconds from the start of the call to its failure.
    """

    def __init__(
        self,
        text: str = "",
        *,
        operation: str | None = None,
        bucket_id: str | None = None,
        attempts: int = 0,
        elapsed: float = 0.0,
    ) -> None:
        super().__init__(text)
        self.operation = operation
        self.bucket_id = bucket_id
        self.attempts = attempts
        self.elapsed = elapsed
        self._remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = str(self.args[0]) if self.args else ""
        context = [*self._subject(), *self._remarks]
        return f"{text} ({'; '.join(context)})" if context else text

    # A TimeoutError is an OSError, whose own pickling rewrites the arguments.
    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...], dict[str, Any]]:
        return type(self), self.args, self.__dict__.copy()

    def __copy__(self) -> Self:
        """Return a copy with the cause, which Python's own copy of an exception leaves out."""
        kind, arguments, attributes = self.__reduce__()
        copied = kind(*arguments)
        copied.__dict__.update(attributes)
        copied.__cause__ = self.__cause__
        return copied

    def _remark(self, text: str) -> None:
        """Add a clause to the message.

        This is not ``add_note``, because a note appears only in tracebacks and not in ``str``.
        """
        self._remarks = (*self._remarks, text)

    def _subject(self) -> list[str]:
        """Return which call failed, and after how many requests and seconds."""
        if self.operation is None:
            return []
        about = self.operation
        if self.bucket_id is not None:
            about += f" {self.bucket_id!a}"
        requests = "1 request" if self.attempts == 1 else f"{self.attempts} requests"
        return [about, f"{requests} sent in {self.elapsed:.2f} s"]


class ConfigurationError(FlashbackError, ValueError):
    """A setting is wrong; nothing was sent. The message names the setting."""


class InvalidArgumentError(FlashbackError, ValueError):
    """An argument is wrong; nothing was sent. The message names it and the rule."""

    def _subject(self) -> list[str]:
        return []  # the message names the argument and the rule


class TokenProviderError(FlashbackError):
    """No usable token: its provider raised (see the cause), or its file cannot be read again."""


class ClientClosedError(FlashbackError, RuntimeError):
    """The client was closed before the call, or while it was in flight."""


class EventLoopError(FlashbackError, RuntimeError):
    """The client was used from a second live event loop, or from a forked child process."""


class DeadlineExceededError(FlashbackError, TimeoutError):
    """The total time of a call, or the deadline of its run, is used up."""


class ClusterLostError(FlashbackError):
    """A run over a Dask cluster lost the scheduler, or waited in vain for a worker.

    Attributes:
        unfinished: The places of the input that have had no outcome, as pairs of index and key.
            First are those that were sent out, then the rest of the input, read lazily and so
            only once. Of an async input, the rest is what was read. A pickled copy has only
            those that were sent out.
    """

    def __init__(
        self,
        text: str = "",
        *,
        unfinished: Iterable[tuple[int, Any]] = (),
        **context: Unpack[CallContext],
    ) -> None:
        super().__init__(text, **context)
        self.unfinished = unfinished


class TransportError(FlashbackError):
    """No usable answer arrived."""


class ConnectError(TransportError):
    """No connection could be made: refused, DNS, TLS handshake or proxy."""


class CertificateError(ConnectError):
    """The server's certificate was not accepted; never retried."""


class ConnectionLostError(TransportError):
    """The connection was closed or reset before the whole answer had arrived."""


class RequestTimeoutError(TransportError, TimeoutError):
    """One attempt took too long; the message says in which phase."""


class ProtocolError(TransportError):
    """The answer is not well-formed HTTP; never retried."""


class APIError(FlashbackError):
    """The API returned an error response.

    Attributes:
        status: The HTTP status; 200 if the body said ``"success": false``, or left an id out.
        code: The API's own error code, or None.
        message: The API's own message, at most 500 characters, or None.
        request_id: The answer's ``x-request-id``, or None.
        retry_after: Seconds that the server asked to wait, or None if it named no usable time.
        body: The start of the body as text, at most 500 characters.
    """

    def __init__(
        self,
        text: str = "",
        *,
        status: int = 0,
        code: str | None = None,
        message: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        body: str = "",
        **context: Unpack[CallContext],
    ) -> None:
        super().__init__(text, **context)
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id
        self.retry_after = retry_after
        self.body = body


class BadRequestError(APIError):
    """Status 400: the API did not accept the request."""


class AuthenticationError(APIError):
    """Status 401: the token was rejected."""


class PermissionDeniedError(APIError):
    """Status 403: the token may not see this bucket."""


class NotFoundError(APIError):
    """Status 404, or an id that the answer to a list request left out."""


class RateLimitError(APIError):
    """Status 429, or the server asked for a pause that is longer than the time left."""


class RedirectError(APIError):
    """A redirect (3xx), which is never followed."""


class ServerError(APIError):
    """A status from 500 to 599."""


class DecodeError(FlashbackError):
    """The answer is not what the API documents.

    Attributes:
        path: The place in the JSON that is wrong, such as ``$.nodeStatus[3].latency_ms``.
        status: The HTTP status of the answer.
        request_id: The answer's ``x-request-id``, or None.
    """

    # The answer is about another bucket, so the connection may mix up the answers to calls.
    _misdirected = False

    def __init__(
        self,
        text: str = "",
        *,
        path: str = "$",
        status: int = 0,
        request_id: str | None = None,
        **context: Unpack[CallContext],
    ) -> None:
        super().__init__(text, **context)
        self.path = path
        self.status = status
        self.request_id = request_id


class ResponseTooLargeError(DecodeError):
    """The body is larger than ``Limits.max_response_bytes``."""
