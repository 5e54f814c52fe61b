"""The DNS lookup of the client's own session."""

import asyncio

import pytest

from flashback_async.net import aiohttp_session as module
from tests.unit.support import now


async def test_a_look_up_that_nobody_waits_for_is_given_up():
    class Hangs:
        closed = False

        async def resolve(self, host, port, family):
            await asyncio.get_running_loop().create_future()

        async def close(self):
            self.closed = True

    resolver = module._Resolver(3.0)
    own, resolver._resolver = resolver._resolver, Hangs()
    began = now()
    with pytest.raises(TimeoutError):
        await resolver.resolve("api.test", 443)
    assert now() - began == 3
    await resolver.close()
    assert resolver._resolver.closed
    await own.close()


async def test_a_look_up_is_that_of_aiohttp():
    resolver = module._Resolver(3.0)
    (first, *_) = await resolver.resolve("127.0.0.1", 8080)
    assert (first["host"], first["port"]) == ("127.0.0.1", 8080)
    await resolver.close()
