"""What an answer means, without waiting for anything: errors, Retry-After, redaction."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from html import escape as escape_html
from html import unescape
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from flashback_async.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    DecodeError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    RedirectError,
    ServerError,
)
from flashback_async.values import Headers, NoAnswer, Response, Retry, Secret

# Of an answer that is not data, no more than this is read.
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
_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")
_TITLE = re.compile(r"<title[^>]*>(.{0,500}?)</title", re.IGNORECASE | re.DOTALL)
_MESSAGE_KEYS = ("message", "error_message", "errorMessage", "error")
_CODE_KEYS = ("error_code", "errorCode", "code", "error")


def is_data(status: int, headers: Headers) -> bool:
    """Tell whether an answer that begins so is one to decode."""
    return 200 <= status < 300 and not is_html(headers)


def is_html(headers: Headers) -> bool:
    for name, value in headers:
        if len(name) == 12 and name.lower() == b"content-type":
            return value[:9].lower() == b"text/html"
    return False


def failure_of(response: Response, secret: Secret, now: float) -> NoAnswer:
    """Give the error that an answer without data means; ``now`` is the time of day."""
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
    """Give the error of an answer that says no, with all that it says."""
    text = redact(response.body.decode("utf-8", "replace"), secret)
    said = _said(text)
    message, code = _first(said, _MESSAGE_KEYS, secret), _first(said, _CODE_KEYS, secret)
    return _error_type(response.status)(
        _describe(response, message, code, text, secret),
        status=response.status,
        code=None if code is None else code[:_MESSAGE_CHARS],
        message=None if message is None else message[:_BODY_CHARS],
        request_id=request_id(response, secret),
        retry_after=retry_after(response, now),
        body=text[:_BODY_CHARS],
    )


def complete(error: DecodeError, response: Response, secret: Secret) -> DecodeError:
    """Say in an error of decoding which answer it was about."""
    error.status = response.status
    error.request_id = request_id(response, secret)
    error._remark(f"status {response.status}, {media_type(response, secret) or 'no content type'}")
    if error.request_id is not None:
        error._remark(f"request id {escape(error.request_id, _EXCERPT_CHARS)}")
    if error.path == "$" and response.body:
        # Taken out before the cut, which may go through a token.
        text = redact(response.body[:SNIPPET_BYTES].decode("utf-8", "replace"), secret)
        error._remark(f"the body starts with {escape(text, _EXCERPT_CHARS)}")
    return error


def retry_after(response: Response, now: float) -> float | None:
    """Give the seconds that the server asked to wait; None unless it named one usable time."""
    values = _all(response, b"retry-after")
    if len(values) != 1 or len(values[0]) > 64:
        return None
    if _SECONDS.fullmatch(values[0]):
        seconds = float(values[0])
    else:
        # The server's own clock where it shows it: ours may have been set wrong.
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
    return escape(redact(value, secret).partition(";")[0].strip().lower(), 80, "")


def request_id(response: Response, secret: Secret) -> str | None:
    value = header(response, b"x-request-id")
    return None if value is None else redact(value, secret)[:_MESSAGE_CHARS]


def redact(text: str, secret: Secret) -> str:
    """Take the token out of what a server sent back."""
    token = secret.reveal()
    plain = {token, quote(token, safe=""), json.dumps(token)[1:-1]}
    for form in plain | {token.replace("/", r"\/"), escape_html(token)}:
        text = text.replace(form, "***")
    return text


def escape(text: str, limit: int, mark: str = "'") -> str:
    """Show text from the wire in a message or log: quoted, ASCII, on one line, cut."""
    shown = ascii(text[:limit])[1:-1]
    return f"{mark}{shown[:limit]}{mark}"


def _all(response: Response, name: bytes) -> list[str]:
    return [
        value.decode("utf-8", "surrogateescape").strip(" \t")
        for key, value in response.headers
        if key.lower() == name
    ]


def _time_of_day(value: str | None) -> float | None:
    """Give the POSIX time of an HTTP date in any of its three forms; each of them is GMT."""
    if value is None:
        return None
    try:
        at = parsedate_to_datetime(value)
        # Two of the forms come out without a zone.
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _said(text: str) -> dict[str, object]:
    """Give the JSON object of an error's body; anything else says nothing."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _first(said: dict[str, object], keys: tuple[str, ...], secret: Secret) -> str | None:
    for key in keys:
        value = said.get(key)
        if isinstance(value, str) and value:
            return redact(value, secret)  # what was escaped in the body stands plain here
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return None


def _error_type(status: int) -> type[APIError]:
    if 300 <= status < 400:
        return RedirectError
    if 500 <= status < 600:
        return ServerError
    return _ERRORS.get(status, APIError)


def _describe(
    response: Response, message: str | None, code: str | None, text: str, secret: Secret
) -> str:
    """Put an answer that says no into one line."""
    status = response.status
    parts = [f"{status} {_phrase(status)}"]
    if status == 401:
        parts.append("token rejected")
    if 300 <= status < 400:
        parts.append(_redirect(response, secret))
    if message is not None:
        parts.append(escape(message, _MESSAGE_CHARS))
    elif status >= 400 and text:
        parts.append(_excerpt(response, text, secret))
    if code is not None and code != message:
        parts.append(f"code {escape(code, _MESSAGE_CHARS)}")
    identity = request_id(response, secret)
    if identity is not None:
        parts.append(f"request id {escape(identity, _EXCERPT_CHARS)}")
    return ", ".join(parts)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(no standard status)"


def _redirect(response: Response, secret: Secret) -> str:
    """Name only the host of a redirect: its path may hold anything."""
    try:
        host = urlsplit(redact(header(response, b"location") or "", secret)).hostname
    except ValueError:
        host = None
    where = f"to {escape(host, _EXCERPT_CHARS)}" if host else "that names no host"
    return f"a redirect {where} was not followed"


def _excerpt(response: Response, text: str, secret: Secret) -> str:
    if not is_html(response.headers):
        return escape(text, _MESSAGE_CHARS)
    title = _TITLE.search(text)
    plain = redact(unescape(title[1]), secret).strip() if title else "no title"
    shown = escape(plain, _EXCERPT_CHARS)
    return f"text/html, {shown}"
