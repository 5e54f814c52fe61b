"""Cached reads over real sockets."""

import asyncio

from flashback_async import CachePolicy, FlashbackClient
from flashback_async.sandbox import Fault, Sandbox
from flashback_async.testing import skip_waits


async def test_skip_waits_moves_the_ages_of_a_cache():
    with skip_waits():
        async with (
            Sandbox(buckets=2, nodes=1, healthy=True) as sandbox,
            FlashbackClient(sandbox.token, base_url=sandbox.base_url) as client,
        ):
            cache = client.cached(CachePolicy(fresh=10))
            one, other = sandbox.bucket_ids
            await cache.status.get(one)
            with sandbox.script(Fault.status(429, retry_after=20).first(1)):
                await cache.status.get(other)
            found = await cache.status.lookup(one)
            assert 20 <= found.age < 25
            assert found.stale


async def test_an_own_event_loop_begins_with_an_empty_cache():
    async with Sandbox(buckets=1) as sandbox:
        client = FlashbackClient(sandbox.token, base_url=sandbox.base_url)
        cache = client.cached()

        async def read():
            await cache.status.get(sandbox.bucket_ids[0])
            return cache.stats

        first = await asyncio.to_thread(asyncio.run, read())
        second = await asyncio.to_thread(asyncio.run, read())
        assert (first.misses, second.misses, second.hits) == (1, 2, 0)
        assert sandbox.requests == 2
        await client.close()
