"""The ways to make calls that are compared, each written as its users would write it."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import aiohttp
import tenacity

from benchmarks.answers import DAY, DAY_ASKED, TOKEN
from benchmarks.contender import Contender, Take
from benchmarks.floor import Floor
from benchmarks.models import Daily, StatsList, Status, converter
from flashback_async import FlashbackClient, Limits, Outcome, fan_out

if TYPE_CHECKING:
    from flashback_async.config import TransportName

K = TypeVar("K")

_HEADERS = {"Authorization": f"Bearer {TOKEN}"}


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
        limit = max(100, self.concurrency)  # 100 is its default
        connector = aiohttp.TCPConnector(limit=limit, ssl=self.tls or True)
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
        async with self.session.post(url, json=DAY_ASKED) as response:
            response.raise_for_status()
            return await response.json()

    async def listed(self, ids: Sequence[str]) -> Any:
        params = {"bucketId": ",".join(ids)}
        async with self.session.get(f"{self.url}/bucket/stats", params=params) as response:
            response.raise_for_status()
            return await response.json()


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
        import httpx  # no process without this contender has it

        self.client = httpx.AsyncClient(headers=_HEADERS, verify=self.tls or True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    async def status(self, bucket_id: str) -> Any:
        response = await self.client.get(f"{self.url}/bucket/{bucket_id}/status")
        return response.raise_for_status().json()

    async def daily(self, bucket_id: str) -> Any:
        response = await self.client.post(f"{self.url}/bucket/{bucket_id}/stats", json=DAY_ASKED)
        return response.raise_for_status().json()

    async def listed(self, ids: Sequence[str]) -> Any:
        params = {"bucketId": ",".join(ids)}
        response = await self.client.get(f"{self.url}/bucket/stats", params=params)
        return response.raise_for_status().json()


class Pyreqwest(ByHand):
    """Hand-written pyreqwest, which is Rust's reqwest, that returns dicts; its own settings."""

    name = "pyreqwest"

    async def __aenter__(self) -> Self:
        from pyreqwest.client import ClientBuilder  # as with httpx

        builder = ClientBuilder().default_headers(_HEADERS).error_for_status()
        if self.authority:
            builder = builder.add_root_certificate_pem(self.authority.encode())
        self.client = builder.build()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        del self.client  # idle connections live as long as this object
        await asyncio.sleep(0.1)  # its thread needs that, or may crash an interpreter that ends

    async def status(self, bucket_id: str) -> Any:
        request = self.client.get(f"{self.url}/bucket/{bucket_id}/status").build()
        return await (await request.send()).json()

    async def daily(self, bucket_id: str) -> Any:
        url = f"{self.url}/bucket/{bucket_id}/stats"
        request = self.client.post(url).body_json(DAY_ASKED).build()
        return await (await request.send()).json()

    async def listed(self, ids: Sequence[str]) -> Any:
        params = {"bucketId": ",".join(ids)}
        request = self.client.get(f"{self.url}/bucket/stats").query(params).build()
        return await (await request.send()).json()


class Sdk(Contender):
    """This SDK with default settings; each result is taken as soon as it is ready."""

    name = "this SDK"
    transport: ClassVar[TransportName] = "direct"

    async def __aenter__(self) -> Self:
        self.client = FlashbackClient(
            TOKEN,
            base_url=self.url,
            limits=Limits(max_concurrency=self.concurrency),
            ssl_context=self.tls,
            transport=self.transport,
        )
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


class SdkAiohttp(Sdk):
    """This SDK over aiohttp, as it is behind a proxy or with a borrowed session."""

    name = "this SDK over aiohttp"
    transport = "aiohttp"


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


CONTENDERS: tuple[type[Contender], ...] = (
    Floor,
    Aiohttp,
    Typed,
    Httpx,
    Pyreqwest,
    Sdk,
    SdkAiohttp,
    SdkReport,
)
# Other HTTP libraries make the rest of their process dearer, so each has runs of its own.
OTHERS: tuple[type[Contender], ...] = (Httpx, Pyreqwest)
BY_NAME = {contender.name: contender for contender in CONTENDERS}
