"""The DNS lookup of the client's own session."""

import asyncio

import aiohttp
import pytest

from flashback_async.net.aiohttp_session import CURRENT, Dropped, InFlight, own_session
from flashback_async.values import Attempt
from tests.unit.support import now


async def test_a_look_up_that_takes_too_long_is_given_up(monkeypatch):
    class Hangs:
        async def resolve(self, host, port, family):
            await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(aiohttp, "DefaultResolver", Hangs)
    CURRENT.set(Attempt(5.0))
    async with own_session({}, 3.0, InFlight()) as session:
        began = now()
        with pytest.raises(TimeoutError):
            await session.get("https://api.test")
        assert now() - began == 3


async def test_a_look_up_is_that_of_aiohttp(monkeypatch):
    found = []

    class Resolves(aiohttp.DefaultResolver):
        async def resolve(self, *args):
            found.extend(await super().resolve(*args))
            raise OSError("enough")

    monkeypatch.setattr(aiohttp, "DefaultResolver", Resolves)
    CURRENT.set(Attempt(5.0))
    async with own_session({}, 3.0, InFlight()) as session:
        with pytest.raises(Dropped):
            await session.get("http://localhost:8080")
    assert {(place["hostname"], place["port"]) for place in found} == {("localhost", 8080)}
