"""Every error that a call can end with.

FlashbackError                    the base of all: operation, bucket_id, attempts, elapsed
├── ConfigurationError            (ValueError) a setting is wrong
├── InvalidArgumentError          (ValueError) an argument is wrong
├── TokenProviderError            the token provider raised or gave no usable token
├── ClientClosedError             (RuntimeError) the client is closed
├── EventLoopError                (RuntimeError) another event loop, or a forked process
├── DeadlineExceededError         (TimeoutError) the total time, or the run's deadline, is used up
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

from typing import Any, Self


def show(value: object) -> str:
    """Show a rejected value in a message: in ASCII, on one line, and not much of it."""
    try:
        text = ascii(value)
    except ValueError:  # a number of more digits than Python writes out
        return f"a huge {type(value).__name__}"
    return text if len(text) <= 32 else f"{text[:29]}..."


def seconds(value: float) -> str:
    """Return a length of time as a message shows it: in seconds, rounded."""
    text = f"{value:.2f}".rstrip("0").rstrip(".") if value >= 1 else f"{value:.3g}"
    return f"{text} s"


class FlashbackError(Exception):
    """Describe why a call of this package failed; the base of every error it raises.

    Attributes:
        operation: The call, such as ``"status.get"``; None where no call was under way.
        bucket_id: The bucket asked for; None where the call was about several or none.
        attempts: Requests that were sent for the call.
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
        """Copy with the cause, which Python's own copy of an exception leaves out."""
        kind, arguments, attributes = self.__reduce__()
        copied = kind(*arguments)
        copied.__dict__.update(attributes)
        copied.__cause__ = self.__cause__
        return copied

    def _remark(self, text: str) -> None:
        """Add a clause to the message: what else a reader must know of this failure."""
        self._remarks = (*self._remarks, text)

    def _subject(self) -> list[str]:
        """Say which call failed, and after how much effort."""
        if self.operation is None:
            return []
        about = self.operation
        if self.bucket_id is not None:
            about += f" {self.bucket_id!a}"
        requests = "1 request" if self.attempts == 1 else f"{self.attempts} requests"
        return [about, f"{requests} sent in {self.elapsed:.2f} s"]


class ConfigurationError(FlashbackError, ValueError):
    """Report a setting that is wrong; nothing was sent. The message names the setting."""


class InvalidArgumentError(FlashbackError, ValueError):
    """Report an argument that is wrong; nothing was sent. The message names it and the rule."""

    def _subject(self) -> list[str]:
        return []  # the argument and the rule say it all


class TokenProviderError(FlashbackError):
    """Report that the token provider raised (its exception is the cause) or gave no token."""


class ClientClosedError(FlashbackError, RuntimeError):
    """Report a call made after the client was closed, or under way when it was closed."""


class EventLoopError(FlashbackError, RuntimeError):
    """Report a client used from a second live event loop or from a forked child process."""


class DeadlineExceededError(FlashbackError, TimeoutError):
    """Report that the total time of a call, or the deadline of its run, is used up."""


class TransportError(FlashbackError):
    """Report that no usable answer arrived."""


class ConnectError(TransportError):
    """Report that no connection could be made: refused, DNS, TLS handshake or proxy."""


class CertificateError(ConnectError):
    """Report that the server's certificate was not accepted; never retried."""


class ConnectionLostError(TransportError):
    """Report a connection that was closed or reset before the whole answer had arrived."""


class RequestTimeoutError(TransportError, TimeoutError):
    """Report that one attempt took too long; the message says in which phase."""


class ProtocolError(TransportError):
    """Report an answer that is not well-formed HTTP; never retried."""


class APIError(FlashbackError):
    """Report that the API answered, and the answer says no.

    Attributes:
        status: The HTTP status; 200 where the body said ``"success": false``, or left an id out.
        code: The API's own error code, or None.
        message: What the API said, at most 500 characters, or None.
        request_id: The answer's ``x-request-id``, or None.
        retry_after: Seconds that the server asked to wait, or None where it named no usable time.
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
        operation: str | None = None,
        bucket_id: str | None = None,
        attempts: int = 0,
        elapsed: float = 0.0,
    ) -> None:
        super().__init__(
            text, operation=operation, bucket_id=bucket_id, attempts=attempts, elapsed=elapsed
        )
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id
        self.retry_after = retry_after
        self.body = body


class BadRequestError(APIError):
    """Report status 400: the API did not accept what it was asked."""


class AuthenticationError(APIError):
    """Report status 401: the token was rejected."""


class PermissionDeniedError(APIError):
    """Report status 403: the token may not see this bucket."""


class NotFoundError(APIError):
    """Report status 404, or an id that the answer to a list request left out."""


class RateLimitError(APIError):
    """Report status 429, or a pause the server asked for that is longer than the time left."""


class RedirectError(APIError):
    """Report a redirect (3xx), which is never followed."""


class ServerError(APIError):
    """Report a status of 500 to 599."""


class DecodeError(FlashbackError):
    """Report an answer that is not what the API documents.

    Attributes:
        path: Where in the JSON the answer is wrong, such as ``$.nodeStatus[3].latency_ms``.
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
        operation: str | None = None,
        bucket_id: str | None = None,
        attempts: int = 0,
        elapsed: float = 0.0,
    ) -> None:
        super().__init__(
            text, operation=operation, bucket_id=bucket_id, attempts=attempts, elapsed=elapsed
        )
        self.path = path
        self.status = status
        self.request_id = request_id


class ResponseTooLargeError(DecodeError):
    """Report a body larger than ``Limits.max_response_bytes``."""
