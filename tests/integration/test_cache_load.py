"""The cache under the load of a busy page, over real sockets: what the API receives, and rows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from flashback_async import BucketStatus, Cache, Cached, CachePolicy, FlashbackClient, Report
from flashback_async.sandbox import Fault, Sandbox

VIEWS, ROWS, AT_ONCE = 600, 20, 200
# One request for each bucket, and one round of all slots that the API refuses before the client
# knows its pace.
MOST_REQUESTS = 500 + 64

Page = Report[str, Cached[BucketStatus]]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """An API of 500 buckets that takes 300 requests a second, and 20 ms for each."""
    async with Sandbox(500, rate_limit=300, latency=0.02) as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[FlashbackClient]:
    async with FlashbackClient(sandbox.token, base_url=sandbox.base_url) as client:
        yield client


async def views(cache: Cache, pages: Sequence[Sequence[str]], deadline: float | None) -> list[Page]:
    """Show pages to so many visitors at once."""
    visitors = asyncio.Semaphore(AT_ONCE)

    async def view(bucket_ids: Sequence[str]) -> Page:
        async with visitors:
            return await cache.status.lookup_many(bucket_ids, deadline=deadline)

    return await asyncio.gather(*map(view, pages))


def some_pages(sandbox: Sandbox, count: int) -> list[list[str]]:
    choice = random.Random(0)
    return [choice.sample(sandbox.bucket_ids, ROWS) for _ in range(count)]


def failed_rows(pages: Sequence[Page]) -> list[str]:
    return [str(error) for page in pages for error in page.failed.values()]


def oldest(pages: Sequence[Page]) -> float:
    return max(row.age for page in pages for row in page.succeeded.values())


@pytest.mark.slow
async def test_a_busy_page_asks_for_each_bucket_once(
    sandbox: Sandbox, client: FlashbackClient
) -> None:
    cache = client.cached(CachePolicy(fresh=3600.0))  # no machine is so slow that they become old
    shown = await views(cache, some_pages(sandbox, VIEWS), deadline=None)
    assert sum(map(len, shown)) == VIEWS * ROWS
    assert failed_rows(shown) == []
    assert {seen.bucket_id for seen in sandbox.log} == set(sandbox.bucket_ids)
    assert sandbox.requests <= MOST_REQUESTS
    stats = cache.stats
    assert (stats.misses, stats.entries, stats.in_flight) == (500, 500, 0)
    assert stats.hits + stats.joined + stats.misses == VIEWS * ROWS


@pytest.mark.slow
@pytest.mark.parametrize("stale", [3600.0, 0.0], ids=["refreshed behind", "waited for"])
async def test_a_busy_page_shows_ever_older_rows_once_the_api_is_killed(
    sandbox: Sandbox, client: FlashbackClient, stale: float
) -> None:
    # Each value is old at once, so that every row asks for a newer one, in vain.
    cache = client.cached(CachePolicy(fresh=1e-6, stale=stale, stale_if_error=3600.0))
    sandbox.rate_limit, sandbox.latency = None, 0.0
    assert (await cache.status.lookup_many(sandbox.bucket_ids)).ok
    pages = some_pages(sandbox, 200)
    with sandbox.script(Fault.down()):
        first = await views(cache, pages, deadline=2.0)
        while cache.stats.in_flight:  # what is asked for behind the rows has yet to fail
            await asyncio.sleep(0.001)
        again = await views(cache, pages, deadline=2.0)
    assert failed_rows(first) == failed_rows(again) == []
    assert sum(map(len, first)) == sum(map(len, again)) == 200 * ROWS
    for earlier, later in zip(first, again, strict=True):
        assert all(row.stale for row in later.succeeded.values())
        for bucket_id, row in earlier.succeeded.items():
            assert later.succeeded[bucket_id].age > row.age
        assert all(row.error is not None for row in later.succeeded.values())
    # The API is back, and so are newer values.
    async with asyncio.timeout(30):
        while (await cache.status.lookup(pages[0][0])).error is not None:
            await asyncio.sleep(0.01)


async def test_the_first_of_fifty_visitors_who_leaves_takes_nothing_from_the_others(
    sandbox: Sandbox, client: FlashbackClient
) -> None:
    cache = client.cached()
    sandbox.latency = 0.2
    visitors = [asyncio.create_task(cache.status.get(sandbox.bucket_ids[0])) for _ in range(50)]
    while not sandbox.requests:
        await asyncio.sleep(0.001)
    visitors[0].cancel()
    answers = await asyncio.gather(*visitors, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert {type(answer) for answer in answers[1:]} == {BucketStatus}
    assert sandbox.requests == 1
