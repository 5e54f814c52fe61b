"""The state of buckets' nodes as metrics for Prometheus, served for as long as it is asked to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from flashback_async import BucketStats, BucketView, ChangeKind, FlashbackClient
from flashback_async.pages.exporter.address import Address
from flashback_async.pages.exporter.conditions import Conditions
from flashback_async.pages.exporter.exposition import Form
from flashback_async.pages.exporter.metrics import Detail, Scrape
from flashback_async.pages.exporter.requests import Requests
from flashback_async.pages.exporter.server import serving
from flashback_async.pages.exporter.totals import Totals

_TURN = 100  # changes that are taken before others have their turn


class Exporter:
    """An HTTP server that exports what a watch knows, for the length of an ``async with`` block.

    A scrape asks nothing of the API.

    Args:
        client: What asks for the buckets.
        requests: The observer of that client.
        bucket_ids: The buckets; None means all that the token can see.
        listen: ``HOST:PORT``, with an IPv6 address in brackets; port 0 takes a free one.
        detail: ``"region"``, ``"bucket"`` or ``"node"``: how much is exported.
        interval: As in ``client.status.watch``.
        fall: As in ``client.status.watch``.
        rise: As in ``client.status.watch``.
        totals_every: Seconds between two requests for the traffic counters.

    Raises:
        InvalidArgumentError: An argument is out of its range, or an id breaks a rule.
        ClientClosedError: The client is closed.
    """

    def __init__(
        self,
        client: FlashbackClient,
        requests: Requests,
        bucket_ids: Sequence[str] | None = None,
        *,
        listen: str = "127.0.0.1:9464",
        detail: str = Detail.BUCKET,
        interval: float = 60.0,
        fall: int = 2,
        rise: int = 2,
        totals_every: float = 300.0,
    ) -> None:
        self._address = Address.parse(listen)
        self._detail = Detail.parse(detail)
        self._requests = requests
        self._watch = client.status.watch(bucket_ids, interval=interval, fall=fall, rise=rise)
        self._totals = Totals(client, bucket_ids, totals_every)
        self._conditions = Conditions(self._watch.view, requests.last_answers)
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = AsyncExitStack()
        self._url: str | None = None

    @property
    def url(self) -> str:
        """The URL of the server, without a path.

        Raises:
            RuntimeError: It has not been started.
        """
        if self._url is None:
            raise RuntimeError("the exporter has no url before it is entered with 'async with'")
        return self._url

    async def __aenter__(self) -> Self:
        """Begin to serve and to watch.

        Raises:
            ConfigurationError: The address cannot be listened on.
        """
        async with AsyncExitStack() as stack:
            self._url = await stack.enter_async_context(serving(self._address, self._scrape))
            await stack.enter_async_context(self._watch)
            works = [self._follow()]
            if self._detail is not Detail.REGION:
                works.append(self._totals.poll())
            self._tasks = [asyncio.create_task(work) for work in works]
            stack.push_async_callback(self._end_tasks)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything."""
        await self._stack.aclose()

    async def run(self) -> None:
        """Wait for what ends the exporter, because no later request can succeed.

        Raises:
            AuthenticationError: The token was rejected.
            ClientClosedError: The client was closed.
            EventLoopError: The client belongs to another event loop or process.
        """
        ended, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()

    # What a scrape reads.

    @property
    def view(self) -> Mapping[str, BucketView]:
        """Every bucket that is watched."""
        return self._watch.view

    @property
    def conditions(self) -> Conditions:
        """The conditions of the buckets."""
        return self._conditions

    @property
    def totals(self) -> Mapping[str, BucketStats]:
        """The traffic counters of buckets."""
        return self._totals.by_bucket

    @property
    def last_answers(self) -> Mapping[str, float]:
        """When buckets last answered, as Unix time in seconds."""
        return self._requests.last_answers

    @property
    def requests(self) -> Mapping[tuple[str, str], int]:
        """How many requests there were, by operation and result."""
        return self._requests.counts

    @property
    def lag(self) -> float:
        """Seconds by which polling is behind its schedule."""
        return self._watch.stats.lag

    def _scrape(self, form: Form) -> Scrape:
        return Scrape(self, self._detail, form)

    # What goes on meanwhile.

    async def _follow(self) -> None:
        """Take the changes of the watch, for ever."""
        number = 0
        async for change in self._watch:
            self._conditions.note(change)
            if change.kind is ChangeKind.GONE and change.ip is None:
                self._requests.forget(change.bucket_id)
            number += 1
            if not number % _TURN:
                await asyncio.sleep(0)

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
