"""The ways to make calls that are compared, each written as its users would write it."""

from __future__ import annotations

import asyncio
import json
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar, cast
from urllib.parse import urlsplit

import aiohttp
import attrs
import cattrs
import httpx
import tenacity

from benchmarks.answers import DAY, TOKEN
from flashback_async import FlashbackClient, Limits, Outcome, fan_out

K = TypeVar("K")

Take = Callable[[Any], object]
_DAY = {"day": f"{DAY.isoformat()}T00:00:00.000Z"}
_HEADERS = {"Authorization": f"Bearer {TOKEN}"}


class Contender(ABC):
    """One way to make the calls. ``take`` receives each result as soon as a user would have it."""

    name: ClassVar[str]

    def __init__(self, url: str, concurrency: int) -> None:
        self.url = url
        self.concurrency = concurrency

    async def __aenter__(self) -> Self:
        return self

    @abstractmethod
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None: ...

    @abstractmethod
    async def status(self, bucket_id: str) -> object:
        """Get the status of one bucket."""

    @abstractmethod
    async def statuses(self, ids: Iterable[str], take: Take) -> None:
        """Get the status of many buckets."""

    @abstractmethod
    async def node_stats(self, ids: Iterable[str], take: Take) -> None:
        """Get the node statistics of many buckets for one day."""

    @abstractmethod
    async def stats(self, lists: Iterable[Sequence[str]], take: Take) -> None:
        """Get the totals of many lists of buckets."""


class ByHand(Contender):
    """Code that takes ten minutes to write: a task for each key, a semaphore, ``gather``."""

    async def statuses(self, ids: Iterable[str], take: Take) -> None:
        await self.gather(self.status, ids, take)

    async def node_stats(self, ids: Iterable[str], take: Take) -> None:
        await self.gather(self.daily, ids, take)

    async def stats(self, lists: Iterable[Sequence[str]], take: Take) -> None:
        await self.gather(self.listed, lists, take)

    async def gather(
        self, call: Callable[[K], Awaitable[object]], keys: Iterable[K], take: Take
    ) -> None:
        slots = asyncio.Semaphore(self.concurrency)

        async def one(key: K) -> object:
            async with slots:
                return await call(key)

        for result in await asyncio.gather(*[one(key) for key in keys]):
            take(result)

    @abstractmethod
    async def daily(self, bucket_id: str) -> object: ...

    @abstractmethod
    async def listed(self, ids: Sequence[str]) -> object: ...


class Aiohttp(ByHand):
    """Hand-written aiohttp that returns dicts: no models, no retries, no deadlines."""

    name = "aiohttp"

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=max(100, self.concurrency))  # 100 is its default
        self.session = aiohttp.ClientSession(headers=_HEADERS, connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def status(self, bucket_id: str) -> Any:
        async with self.session.get(f"{self.url}/bucket/{bucket_id}/status") as response:
            response.raise_for_status()
            return await response.json()

    async def daily(self, bucket_id: str) -> Any:
        url = f"{self.url}/bucket/{bucket_id}/stats"
        async with self.session.post(url, json=_DAY) as response:
            response.raise_for_status()
            return await response.json()

    async def listed(self, ids: Sequence[str]) -> Any:
        params = {"bucketId": ",".join(ids)}
        async with self.session.get(f"{self.url}/bucket/stats", params=params) as response:
            response.raise_for_status()
            return await response.json()


@attrs.define
class Node:
    ip: str
    region: str
    version: str
    status: str
    latency_ms: float
    lastUpdated: datetime


@attrs.define
class Status:
    bucketId: str
    nodeStatus: list[Node]


@attrs.define
class DailyNode:
    ip: str
    host: str
    perc_uptime: float
    avg_latency_ms: float
    version: str
    node_status: str
    last_updated: datetime
    last_latency_ms: float


@attrs.define
class Daily:
    nodeStats: list[DailyNode]


@attrs.define
class Stats:
    bucketId: str
    totalCount: int
    totalUploadBytes: int
    totalDownloadBytes: int
    totalSizeChange: int


@attrs.define
class StatsList:
    stats: list[Stats]


converter = cattrs.Converter()
converter.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))

_again = tenacity.retry(
    stop=tenacity.stop_after_attempt(3),
    wait=tenacity.wait_random_exponential(multiplier=0.05, max=8),
    retry=tenacity.retry_if_exception_type((aiohttp.ClientError, TimeoutError)),
    reraise=True,
)


class Typed(Aiohttp):
    """Hand-written aiohttp with models by cattrs' default converter and tenacity's decorator."""

    name = "aiohttp + cattrs + tenacity"

    @_again
    async def status(self, bucket_id: str) -> Status:
        return converter.structure(await super().status(bucket_id), Status)

    @_again
    async def daily(self, bucket_id: str) -> Daily:
        return converter.structure(await super().daily(bucket_id), Daily)

    @_again
    async def listed(self, ids: Sequence[str]) -> StatsList:
        return converter.structure(await super().listed(ids), StatsList)


class Httpx(ByHand):
    """Hand-written httpx that returns dicts, with its own limits: 100 connections, 20 kept idle."""

    name = "httpx"

    async def __aenter__(self) -> Self:
        self.client = httpx.AsyncClient(headers=_HEADERS)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    async def status(self, bucket_id: str) -> Any:
        response = await self.client.get(f"{self.url}/bucket/{bucket_id}/status")
        return response.raise_for_status().json()

    async def daily(self, bucket_id: str) -> Any:
        response = await self.client.post(f"{self.url}/bucket/{bucket_id}/stats", json=_DAY)
        return response.raise_for_status().json()

    async def listed(self, ids: Sequence[str]) -> Any:
        params = {"bucketId": ",".join(ids)}
        response = await self.client.get(f"{self.url}/bucket/stats", params=params)
        return response.raise_for_status().json()


class Sdk(Contender):
    """This SDK with default settings; each result is taken as soon as it is ready."""

    name = "this SDK"

    async def __aenter__(self) -> Self:
        limits = Limits(max_concurrency=self.concurrency)
        self.client = FlashbackClient(TOKEN, base_url=self.url, limits=limits)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def status(self, bucket_id: str) -> object:
        return await self.client.status.get(bucket_id)

    async def statuses(self, ids: Iterable[str], take: Take) -> None:
        await _drain(self.client.status.iter_many(ids), take)

    async def node_stats(self, ids: Iterable[str], take: Take) -> None:
        await _drain(self.client.node_stats.iter_many(ids, DAY), take)

    async def stats(self, lists: Iterable[Sequence[str]], take: Take) -> None:
        listed = self.client.bucket_stats.list
        await _drain(fan_out(listed, lists, concurrency=self.concurrency), take)


class SdkReport(Sdk):
    """This SDK with ``get_many``, which keeps every result, as ``gather`` does."""

    name = "this SDK, get_many"

    async def statuses(self, ids: Iterable[str], take: Take) -> None:
        for outcome in await self.client.status.get_many(ids):
            take(outcome.unwrap())

    async def node_stats(self, ids: Iterable[str], take: Take) -> None:
        for outcome in await self.client.node_stats.get_many(ids, DAY):
            take(outcome.unwrap())


async def _drain(outcomes: AsyncIterable[Outcome[Any, Any]], take: Take) -> None:
    async for outcome in outcomes:
        take(outcome.unwrap())


class Floor(Contender):
    """A bare protocol with one future for each request; it returns bytes, and nothing is faster."""

    name = "bare protocol"

    async def __aenter__(self) -> Self:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        connect = asyncio.get_running_loop().create_connection
        made = [await connect(_Wire, parts.hostname, parts.port) for _ in range(self.concurrency)]
        self.wires = deque(wire for _, wire in made)
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
        body = json.dumps(_DAY)
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


CONTENDERS: tuple[type[Contender], ...] = (Floor, Aiohttp, Typed, Httpx, Sdk, SdkReport)
BY_NAME = {contender.name: contender for contender in CONTENDERS}
