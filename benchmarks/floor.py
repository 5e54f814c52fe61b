"""The least that a request can cost in Python: a bare protocol."""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Self, TypeVar, cast
from urllib.parse import urlsplit

from benchmarks.answers import DAY_ASKED, TOKEN
from benchmarks.contender import Contender, Take

K = TypeVar("K")


class Floor(Contender):
    """A bare protocol with one future for each request; it returns bytes, and nothing is faster."""

    name = "bare protocol"

    async def __aenter__(self) -> Self:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        connect = asyncio.get_running_loop().create_connection
        self.wires = deque[_Wire]()
        for _ in range(self.concurrency):
            _, wire = await connect(_Wire, parts.hostname, parts.port, ssl=self.tls)
            self.wires.append(wire)
        self.tail = f" HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {TOKEN}\r\n"
        return self

    async def __aexit__(self, *_: object) -> None:
        for wire in self.wires:
            wire.transport.close()

    async def status(self, bucket_id: str) -> bytes:
        return await self._ask(self._status(bucket_id))

    async def statuses(self, ids: Iterable[str], take: Take) -> None:
        await self._work(self._status, ids, take)

    async def node_stats(self, ids: Iterable[str], take: Take) -> None:
        await self._work(self._daily, ids, take)

    async def stats(self, lists: Iterable[Sequence[str]], take: Take) -> None:
        await self._work(self._listed, lists, take)

    async def _work(self, request: Callable[[K], bytes], keys: Iterable[K], take: Take) -> None:
        source = iter(keys)

        async def work() -> None:
            for key in source:
                take(await self._ask(request(key)))

        await asyncio.gather(*[work() for _ in range(self.concurrency)])

    async def _ask(self, request: bytes) -> bytes:
        wire = self.wires.popleft()
        body = await wire.ask(request)
        self.wires.append(wire)
        return body

    def _status(self, bucket_id: str) -> bytes:
        return f"GET /bucket/{bucket_id}/status{self.tail}\r\n".encode()

    def _daily(self, bucket_id: str) -> bytes:
        body = json.dumps(DAY_ASKED)
        length = f"Content-Length: {len(body)}\r\n"
        return f"POST /bucket/{bucket_id}/stats{self.tail}{length}\r\n{body}".encode()

    def _listed(self, ids: Sequence[str]) -> bytes:
        return f"GET /bucket/stats?bucketId={'%2C'.join(ids)}{self.tail}\r\n".encode()


class _Wire(asyncio.Protocol):
    """One connection with at most one request in flight."""

    transport: asyncio.Transport
    _answer: asyncio.Future[bytes]

    def __init__(self) -> None:
        self._rest = b""
        self._ask = asyncio.get_running_loop().create_future

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        self._answer = self._ask()
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        head = data.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(data)
        if head < 4 or length is None or len(data) < head + int(length[1]):
            self._rest = data
            return
        self._rest = b""
        if not self._answer.done():
            self._answer.set_result(data[head:])


_LENGTH = re.compile(rb"\r\nContent-Length: ([0-9]+)\r\n")
