"""The meaning of status, headers and error bodies, as pure functions."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from html import unescape
from http import HTTPStatus
from urllib.parse import urlsplit

from flashback_async.api.redaction import redact
from flashback_async.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    CertificateError,
    DeadlineExceededError,
    DecodeError,
    FlashbackError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    RedirectError,
    ServerError,
    TransportError,
)
from flashback_async.values import Headers, NoAnswer, Response, Retry, Secret

# At most so many bytes are read of an answer that is not data.
SNIPPET_BYTES = 64 * 1024
_BODY_CHARS = 500
_MESSAGE_CHARS = 200
_EXCERPT_CHARS = 80

_ERRORS: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitError,
}
_TRANSIENT = {408, 425, 500, 502, 503, 504}
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_TITLE = re.compile(r"<title[^>]*>(.{0,500}?)</title", re.IGNORECASE | re.DOTALL)
_MESSAGE_KEYS = ("message", "error_message", "errorMessage", "error")
_CODE_KEYS = ("error_code", "errorCode", "code", "error")


def is_data(status: int, headers: Headers) -> bool:
    """Return whether an answer with this status and these headers is to be decoded."""
    return 200 <= status < 300 and not is_html(headers)


def is_html(headers: Headers) -> bool:
    for name, value in headers:
        if len(name) == 12 and name.lower() == b"content-type":
            return value[:9].lower() == b"text/html"
    return False


def interpret(response: Response, secret: Secret, now: float) -> NoAnswer:
    """Return the failure that an answer without data reports; ``now`` is POSIX time."""
    status = response.status
    if 200 <= status < 300:
        return NoAnswer(DecodeError("the answer is an HTML page"))
    if not 300 <= status < 600:
        return NoAnswer(ProtocolError(f"the server answered with the unknown status {status}"))
    error = api_error(response, secret, now)
    if status == 429 or (status == 503 and error.retry_after is not None):
        return NoAnswer(error, Retry.THROTTLED, error.retry_after or 0.0)
    return NoAnswer(error, Retry.TRANSIENT if status in _TRANSIENT else Retry.NEVER)


def api_error(response: Response, secret: Secret, now: float) -> APIError:
    """Return the error of an answer with an error status, completed from the answer."""
    error = _error_type(response.status)(body=response.body.decode("utf-8", "replace"))
    complete(error, response, secret, now)
    return error


def complete(error: FlashbackError, response: Response, secret: Secret, now: float) -> None:
    """Add the facts of an answer to an error, and redact the token in what it quotes.

    An ``APIError`` without a text holds the JSON that reports the failure as its body, as
    received: the whole answer, or one item of a list.
    """
    if isinstance(error, APIError):
        error.request_id = request_id(response, secret)
        if not error.args[0]:
            error.status, error.retry_after = response.status, retry_after(response, now)
            _read_body(error, response, secret)
    elif isinstance(error, DecodeError):
        error.status = response.status
        error.request_id = request_id(response, secret)
        _add_remarks(error, response, secret)


def _read_body(error: APIError, response: Response, secret: Secret) -> None:
    # The JSON is parsed before redaction, which may damage its keys.
    text, content = error.body, _object(error.body)
    error.message = _first(content, _MESSAGE_KEYS, secret, _BODY_CHARS)
    error.code = _first(content, _CODE_KEYS, secret, _MESSAGE_CHARS)
    error.body = redact(text, secret, _BODY_CHARS)
    error.args = (_summary(error, response, text, secret),)


def _add_remarks(error: DecodeError, response: Response, secret: Secret) -> None:
    if error._misdirected:  # its text quotes the id in the answer
        error.args = (redact(str(error.args[0]), secret, _MESSAGE_CHARS),)
    error._remark(f"status {response.status}, {media_type(response, secret) or 'no content type'}")
    if error.request_id is not None:
        error._remark(f"request id {escape(error.request_id, _EXCERPT_CHARS)}")
    if error.path == "$" and response.body:
        text = response.body[:SNIPPET_BYTES].decode("utf-8", "replace")
        shown = escape(redact(text, secret, _EXCERPT_CHARS), _EXCERPT_CHARS)
        error._remark(f"the body starts with {shown}")


def is_retried(error: FlashbackError) -> bool:
    """Return whether an error is of a kind that is retried, because it may pass."""
    if isinstance(error, APIError):
        return error.status == 429 or error.status in _TRANSIENT
    if isinstance(error, CertificateError | ProtocolError):
        return False
    return isinstance(error, TransportError | DeadlineExceededError)


def retry_after(response: Response, now: float) -> float | None:
    """Return the seconds that the server asked to wait; None unless it named one usable time."""
    values = _all(response, b"retry-after")
    if len(values) != 1 or len(values[0]) > 64:
        return None
    if _SECONDS.fullmatch(values[0]):
        seconds = float(values[0])
    else:
        # The local clock may be wrong, so the server's is used if the answer has a date.
        sent = _time_of_day(header(response, b"date"))
        at = _time_of_day(values[0])
        seconds = math.nan if at is None else at - (now if sent is None else sent)
    return seconds if 0 < seconds < math.inf else None


def header(response: Response, name: bytes) -> str | None:
    values = _all(response, name)
    return values[0] if values else None


def media_type(response: Response, secret: Secret) -> str | None:
    value = header(response, b"content-type")
    if value is None:
        return None
    name = redact(value, secret).partition(";")[0].strip().lower()
    return escape(redact(name, secret), 80, "")


def request_id(response: Response, secret: Secret) -> str | None:
    value = header(response, b"x-request-id")
    return None if value is None else redact(value, secret, _MESSAGE_CHARS)


def escape(text: str, limit: int, mark: str = "'") -> str:
    """Return text from the wire for a message or log: quoted, ASCII, on one line, truncated."""
    shown = ascii(text[:limit])[1:-1]
    return f"{mark}{shown[:limit]}{mark}"


def _all(response: Response, name: bytes) -> list[str]:
    return [
        value.decode("utf-8", "surrogateescape").strip(" \t")
        for key, value in response.headers
        if key.lower() == name
    ]


def _time_of_day(value: str | None) -> float | None:
    """Return the POSIX time of an HTTP date in any of its three forms, all of them in GMT."""
    if value is None:
        return None
    try:
        at = parsedate_to_datetime(value)
        # Two of the forms have no zone.
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _object(text: str) -> dict[str, object]:
    """Return the JSON object in an error's body; an empty one if the body is anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _first(
    content: dict[str, object], keys: tuple[str, ...], secret: Secret, limit: int
) -> str | None:
    for key in keys:
        value = content.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str) and value:
            return redact(value, secret, limit)
    return None


def _error_type(status: int) -> type[APIError]:
    if 300 <= status < 400:
        return RedirectError
    if 500 <= status < 600:
        return ServerError
    return _ERRORS.get(status, APIError)


def _summary(error: APIError, response: Response, text: str, secret: Secret) -> str:
    """Return one line about an answer that reports a failure, whose body is ``text``."""
    status = error.status
    parts = [f"{status} {_phrase(status)}"]
    if status == 401:
        parts.append("token rejected")
    elif 200 <= status < 300:
        parts.append("success is false")
    elif 300 <= status < 400:
        parts.append(_redirect(response, secret))
    if error.message is not None:
        parts.append(escape(error.message, _MESSAGE_CHARS))
    elif status >= 400 and text:
        parts.append(_excerpt(response, text, secret))
    if error.code is not None and error.code != error.message:
        parts.append(f"code {escape(error.code, _MESSAGE_CHARS)}")
    if error.request_id is not None:
        parts.append(f"request id {escape(error.request_id, _EXCERPT_CHARS)}")
    return ", ".join(parts)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(no standard status)"


def _redirect(response: Response, secret: Secret) -> str:
    """Return a clause about a redirect that names only its host: its path may hold a secret."""
    try:
        host = urlsplit(redact(header(response, b"location") or "", secret)).hostname
    except ValueError:
        host = None
    if not host:
        return "a redirect that names no host was not followed"
    return f"a redirect to {escape(redact(host, secret), _EXCERPT_CHARS)} was not followed"


def _excerpt(response: Response, text: str, secret: Secret) -> str:
    if not is_html(response.headers):
        return escape(redact(text, secret, _MESSAGE_CHARS), _MESSAGE_CHARS)
    title = _TITLE.search(text)
    shown = redact(unescape(title[1]), secret).strip() if title else "no title"
    return f"text/html, {escape(shown, _EXCERPT_CHARS)}"
