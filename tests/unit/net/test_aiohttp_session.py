"""What is checked of a borrowed session, and how names are looked up for our own."""

import asyncio
from importlib.metadata import PackageNotFoundError

import aiohttp
import pytest

from flashback_async.errors import ConfigurationError
from flashback_async.net import aiohttp_session as module
from flashback_async.net.aiohttp_session import check_session
from tests.unit.support import now

# Borrowed sessions.


@pytest.mark.parametrize("session", [5, "session", object(), aiohttp.ClientSession])
def test_what_is_no_session_cannot_be_borrowed(session):
    with pytest.raises(ConfigurationError, match=r"session must be an aiohttp\.ClientSession"):
        check_session(session)


async def test_a_session_that_was_closed_cannot_be_borrowed():
    check_session(None)
    session = aiohttp.ClientSession()
    check_session(session)
    await session.close()
    with pytest.raises(ConfigurationError, match="closed"):
        check_session(session)


# What every request says of the client.


def test_where_the_package_is_not_installed_it_has_no_version(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(module, "version", missing)
    headers = module.own_headers.__wrapped__()
    assert headers["User-Agent"].startswith("flashback-async/0.0 Python/3.")


# Look-ups.


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
