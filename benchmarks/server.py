"""A server that needs little CPU time: canned answers over a raw protocol, in its own process.

``python -m benchmarks.server`` prints its ports as JSON and ends when its input does.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
from collections.abc import Callable
from functools import partial
from typing import cast

from benchmarks.answers import SIZES, node_stats_body, stats_body, status_parts
from benchmarks.processes import give_way, raise_descriptor_limit

HOST = "127.0.0.1"
_HEAD = (
    b"HTTP/1.1 200 OK\r\n%bContent-Type: application/json; charset=utf-8\r\n"
    b"Content-Length: %d\r\n\r\n"
)
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_LISTED = b"/bucket/stats?bucketId="


class Requests(asyncio.Protocol):
    """A protocol that splits what it receives into requests, of which one read may hold several."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at, answers = 0, []
        while (end := data.find(b"\r\n\r\n", at) + 4) > 3:
            after = end + self._body_length(data, at, end)
            if after > len(data):
                break
            method_end = data.index(b" ", at)
            target = data[method_end + 1 : data.index(b" ", method_end + 1)]
            answers.append(self.answer(data[at:method_end], target))
            at = after
        self._rest = data[at:]
        if answers:
            self.send(b"".join(answers))

    def answer(self, method: bytes, target: bytes) -> bytes:
        raise NotImplementedError

    def send(self, answers: bytes) -> None:
        self.transport.write(answers)

    @staticmethod
    def _body_length(data: bytes, at: int, end: int) -> int:
        if data.startswith(b"GET ", at):
            return 0
        found = _LENGTH.search(data, at, end)
        return int(found[1]) if found else 0


class Canned(Requests):
    """Answers that are sent at once; those to status requests differ in the bucket's id alone.

    ``fields`` are header fields besides the type and the length of the body.
    """

    def __init__(self, nodes: int, fields: bytes = b"") -> None:
        super().__init__()
        self._fields = fields
        before, self._status_tail = status_parts(nodes)
        length = len(before) + 36 + len(self._status_tail)
        self._status_head = with_head(before, length, fields)
        body = node_stats_body(nodes)
        self._node_stats = with_head(body, len(body), fields)

    def answer(self, method: bytes, target: bytes) -> bytes:
        if method == b"POST":
            return self._node_stats
        if target.startswith(_LISTED):
            listed = target[len(_LISTED) :].replace(b"%2C", b",").split(b",")
            body = stats_body(listed)
            return with_head(body, len(body), self._fields)
        return self._status_head + bucket_of(target) + self._status_tail


class Mute(Requests):
    """A server that never answers, so that every request stays in flight."""

    def answer(self, method: bytes, target: bytes) -> bytes:
        return b""


def bucket_of(target: bytes) -> bytes:
    return target[len(b"/bucket/") : target.rindex(b"/")]


def with_head(start: bytes, length: int, fields: bytes = b"") -> bytes:
    """Return the head of an answer of some length, followed by the start of its body."""
    return _HEAD % (fields, length) + start


async def listen(make: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None = None) -> int:
    """Listen on a free port of the loopback interface and return it."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, HOST, 0, backlog=2048, ssl=tls)
    _servers.append(server)
    port: int = server.sockets[0].getsockname()[1]
    return port


_servers: list[asyncio.Server] = []


async def until_input_ends() -> None:
    """Wait until the parent process closes our standard input or ends."""
    ended = asyncio.Event()

    class Input(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            ended.set()

    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(Input, sys.stdin)
    await ended.wait()
    pipe.close()


async def _serve() -> None:
    give_way()
    raise_descriptor_limit()
    ports = {str(nodes): await listen(partial(Canned, nodes)) for nodes in SIZES}
    ports["mute"] = await listen(Mute)
    print(json.dumps(ports), flush=True)
    await until_input_ends()


if __name__ == "__main__":
    asyncio.run(_serve())
