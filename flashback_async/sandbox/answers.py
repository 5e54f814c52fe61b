"""Answers over HTTP: the documented ones, and those that a fault spoils."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from http import HTTPStatus
from typing import NoReturn

from aiohttp import web

from flashback_async.sandbox.data import JsonObject
from flashback_async.sandbox.faults import Answer

_MESSAGES = {status.value: status.phrase for status in HTTPStatus} | {
    400: "Invalid date format",
    403: "Insufficient permissions",
    404: "Bucket or user not found",
}
_WITHOUT_BODY = (204, 304)
_DRIPS_A_SECOND = 10


class RefusedError(Exception):
    """An error response: `success: false` with a message, by default that of the status."""

    def __init__(
        self, status: int, message: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers or {}
        self.body = refusal(status, message)


def refusal(status: int, message: str | None = None) -> bytes:
    """Return the documented body of an error."""
    return to_json({"success": False, "message": message or _MESSAGES.get(status, "Error")})


def to_json(value: JsonObject | list[JsonObject]) -> bytes:
    """Return JSON without white space."""
    return json.dumps(value, separators=(",", ":")).encode()


def response(
    status: int,
    body: bytes,
    headers: dict[str, str] | None = None,
    content_type: str = "application/json; charset=utf-8",
) -> web.Response:
    """Return an answer with a body."""
    return web.Response(
        status=status, body=body, headers={**(headers or {}), "Content-Type": content_type}
    )


def planned(answer: Answer) -> web.Response:
    """Return the answer of a fault in place of the API's."""
    headers = {} if answer.retry_after is None else {"Retry-After": answer.retry_after}
    if answer.body is not None:
        return response(answer.code, answer.body, headers, answer.content_type)
    if answer.code in _WITHOUT_BODY:
        return web.Response(status=answer.code, headers=headers)
    return response(answer.code, refusal(answer.code), headers)


async def send_part(request: web.BaseRequest, answer: web.Response, length: int) -> NoReturn:
    """Send so many bytes of an answer's body, but never all of it, and close the connection."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    stream = await _begin(request, answer, len(body))
    await stream.write(body[: min(length, max(0, len(body) - 1))])
    if request.transport is not None:
        request.transport.close()
    await wait_for_ever()


async def send_slowly(
    request: web.BaseRequest, answer: web.Response, rate: float
) -> web.StreamResponse:
    """Send the body of an answer at so many bytes a second."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    stream = await _begin(request, answer, len(body))
    length = max(1, round(rate / _DRIPS_A_SECOND))
    for start in range(0, len(body), length):
        await asyncio.sleep(length / rate)
        await stream.write(body[start : start + length])
    await stream.write_eof()
    return stream


async def reset(request: web.BaseRequest) -> NoReturn:
    """Reset the connection of a request."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        # Closing a socket that does not linger resets its connection.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    await wait_for_ever()


async def wait_for_ever() -> NoReturn:
    """Wait until the connection of the request that is being answered is lost."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody completes that future")


async def _begin(request: web.BaseRequest, answer: web.Response, length: int) -> web.StreamResponse:
    """Send the head of an answer whose body follows in parts."""
    stream = web.StreamResponse(status=answer.status, headers=answer.headers)
    stream.content_length = length
    await stream.prepare(request)
    return stream
