"""What our reader and aiohttp make of the bytes of an answer."""

import asyncio
from typing import NamedTuple

from aiohttp.client_proto import ResponseHandler

from flashback_async.api import answers
from flashback_async.net.reader import AnswerReader
from flashback_async.values import Attempt, NoAnswer, Response, Secret

MOST = 2**20  # bytes of a body

REFUSED = "refused"
UNFINISHED = "unfinished"


class Read(NamedTuple):
    """The answer as it was read, or why there is none, and whether the connection is kept."""

    answer: Response | str
    is_kept: bool


def new_reader(most=MOST):
    reader = AnswerReader(most)
    reader.expect(Attempt(5.0), Secret("oracle-token-0123456789"))
    return reader


def fed(reader, parts, *, ended=False):
    """Return the reply to packets, and to the end of the connection after them."""
    for part in parts:
        reply = reader.feed(part)
        if reply is not None:
            return reply
    return reader.end() if ended else None


def ours(parts, *, ended=False, most=MOST):
    """Return what our reader makes of packets; one that the end cuts short is refused."""
    reader = new_reader(most)
    reply = fed(reader, parts, ended=ended)
    if reply is None:
        return Read(REFUSED if ended else UNFINISHED, is_kept=False)
    answer = REFUSED if isinstance(reply, NoAnswer) else reply
    return Read(answer, is_kept=reader.is_reusable and not ended)


def refusal(parts, *, ended=False, most=MOST):
    """Return the refusal of packets, which costs the connection."""
    reader = new_reader(most)
    reply = fed(reader, parts, ended=ended)
    assert isinstance(reply, NoAnswer), reply
    assert not reader.is_reusable
    return reply


async def theirs(parts, *, ended=False):
    """Return what aiohttp's client makes of packets, as its transport reads it."""
    handler = ResponseHandler(asyncio.get_running_loop())
    transport = _Transport()
    handler.connection_made(transport)
    handler.set_response_params(read_until_eof=True)
    for part in parts:
        if not transport.is_closing():
            handler.data_received(part)
    if ended:
        transport.close()
        handler.connection_lost(None)
    try:
        async with asyncio.timeout(1):
            answer = await _answer(handler)
    except TimeoutError:
        return Read(UNFINISHED, is_kept=False)
    except Exception:
        return Read(REFUSED, is_kept=False)
    is_kept = not handler.should_close and not transport.is_closing()
    if len(answer.body) > answers.SNIPPET_BYTES and not answers.is_data(*answer[:2]):
        return Read(answer._replace(body=answer.body[: answers.SNIPPET_BYTES]), is_kept=False)
    return Read(answer, is_kept)


async def _answer(handler):
    while True:
        message, payload = await handler.read()
        if not 100 <= message.code <= 199 or message.code == 101:
            return Response(message.code, message.raw_headers, await payload.read())


class _Transport(asyncio.Transport):
    """A transport that only knows whether it is closing."""

    _closing = False

    def is_closing(self):
        return self._closing

    def close(self):
        self._closing = True

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass
