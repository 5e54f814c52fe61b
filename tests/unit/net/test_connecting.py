"""Lookups, and what becomes of a connection that cannot be made."""

import asyncio
import errno
import socket
import ssl

import pytest

from flashback_async.errors import ConnectError, RequestTimeoutError
from flashback_async.net import connecting
from flashback_async.net.connecting import Connector, Lookups, default_context
from flashback_async.net.failures import Route
from flashback_async.values import NoAnswer, Retry
from tests.unit.support import now, turns

UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def info(address):
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))


class Resolver:
    """The resolver of the running loop; it answers when it is told to, or at once."""

    def __init__(self, *addresses):
        self.addresses = list(addresses)
        self.error = None
        self.begun = self.cancelled = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        asyncio.get_running_loop().getaddrinfo = self.getaddrinfo

    async def getaddrinfo(self, host, port, *, type, flags):
        assert (host, port, type) == ("api.test", 443, socket.SOCK_STREAM)
        self.begun += 1
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return [info(address) for address in self.addresses]


def lookups(longest=5.0):
    return Lookups("api.test", 443, longest)


def first(addresses):
    return addresses[0][4][0]


async def test_lookups_at_one_time_are_one():
    resolver = Resolver("10.0.0.1")
    resolver.may_answer.clear()
    found = lookups()
    waiting = [asyncio.create_task(found.addresses()) for _ in range(5)]
    await turns()
    resolver.may_answer.set()
    assert [first(await task) for task in waiting] == ["10.0.0.1"] * 5
    assert resolver.begun == 1


async def test_addresses_are_kept_for_ten_seconds():
    resolver = Resolver("10.0.0.1")
    found = lookups()
    await found.addresses()
    resolver.addresses = ["10.0.0.9"]
    await asyncio.sleep(10.0)
    assert first(await found.addresses()) == "10.0.0.1"
    await asyncio.sleep(0.1)
    assert first(await found.addresses()) == "10.0.0.9"
    assert resolver.begun == 2


async def test_connections_are_spread_over_the_addresses():
    Resolver("10.0.0.1", "10.0.0.2", "10.0.0.3")
    found = lookups()
    orders = [[address[4][0] for address in await found.addresses()] for _ in range(4)]
    assert orders[0] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert orders[1] == ["10.0.0.2", "10.0.0.3", "10.0.0.1"]
    assert orders[3] == orders[0]


async def test_connections_that_waited_for_one_lookup_are_spread_too():
    Resolver("10.0.0.1", "10.0.0.2")
    found = lookups()
    together = await asyncio.gather(*(found.addresses() for _ in range(4)))
    assert [first(addresses) for addresses in together] == ["10.0.0.1", "10.0.0.2"] * 2


async def test_a_failed_lookup_fails_all_that_wait_and_is_not_kept():
    resolver = Resolver("10.0.0.1")
    resolver.error = UNKNOWN
    found = lookups()
    results = await asyncio.gather(*(found.addresses() for _ in range(3)), return_exceptions=True)
    assert results == [UNKNOWN] * 3
    resolver.error = None
    assert first(await found.addresses()) == "10.0.0.1"
    assert resolver.begun == 2


async def test_a_lookup_ends_if_nobody_waits_for_it_any_more():
    resolver = Resolver("10.0.0.1")
    resolver.may_answer.clear()
    found = lookups()
    one, other = (asyncio.create_task(found.addresses()) for _ in range(2))
    await turns()
    one.cancel()
    await turns()
    assert resolver.cancelled == 0
    other.cancel()
    await turns()
    assert resolver.cancelled == 1
    resolver.may_answer.set()
    assert first(await found.addresses()) == "10.0.0.1"


@pytest.mark.parametrize("later", range(4))
async def test_a_lookup_that_is_being_ended_is_not_joined(later):
    resolver = Resolver("10.0.0.1")
    resolver.may_answer.clear()
    found = lookups()
    first_task = asyncio.create_task(found.addresses())
    await turns()
    first_task.cancel()
    await turns(later)
    second = asyncio.create_task(found.addresses())
    await turns()
    resolver.may_answer.set()
    assert first(await second) == "10.0.0.1"


async def test_a_lookup_takes_no_longer_than_it_may():
    resolver = Resolver()
    resolver.may_answer.clear()
    began = now()
    with pytest.raises(TimeoutError):
        await lookups(longest=3.0).addresses()
    assert now() - began == pytest.approx(3.0)
    assert resolver.cancelled == 1


async def test_closing_ends_a_lookup():
    resolver = Resolver()
    resolver.may_answer.clear()
    found = lookups()
    await found.close()
    waiting = asyncio.create_task(found.addresses())
    await turns()
    await found.close()
    assert resolver.cancelled == 1
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_address_is_not_looked_up(host):
    resolver = Resolver()
    found = Lookups(host, 443, 5.0)
    assert first(await found.addresses()) == host
    assert resolver.begun == 0


# Failures to connect.


def connector(base_url="https://api.test"):
    return Connector(base_url, Route.of(base_url, None), None, 5.0)


async def failure(one, *, limit=5.0):
    reply = await one.connect(asyncio.Protocol, limit)
    assert isinstance(reply, NoAnswer)
    return reply


def failing(monkeypatch, error):
    async def start(*_, **__):
        raise error

    monkeypatch.setattr(connecting.aiohappyeyeballs, "start_connection", start)


async def test_a_name_that_cannot_be_resolved_is_told():
    Resolver().error = UNKNOWN
    reply = await failure(connector())
    assert type(reply.error) is ConnectError
    assert reply.retry is Retry.TRANSIENT
    assert "the name of api.test:443 could not be resolved" in str(reply.error)


@pytest.mark.parametrize(
    ("error", "retry", "says"),
    [
        (OSError(errno.ECONNREFUSED, "x"), Retry.TRANSIENT, "connection refused [ECONNREFUSED]"),
        (TimeoutError(errno.ETIMEDOUT, "x"), Retry.TRANSIENT, "[ETIMEDOUT]"),
        (OSError(errno.EMFILE, "x"), Retry.NEVER, "[EMFILE]"),
        (RuntimeError("the loop has a fault"), Retry.TRANSIENT, "the loop has a fault"),
        (ssl.SSLError(1, "no protocols"), Retry.TRANSIENT, "the TLS handshake with api.test:443"),
    ],
)
async def test_a_connection_that_cannot_be_made_is_told(monkeypatch, error, retry, says):
    Resolver("10.0.0.1")
    failing(monkeypatch, error)
    reply = await failure(connector())
    assert type(reply.error) is ConnectError
    assert reply.retry is retry
    assert says in str(reply.error)


@pytest.mark.parametrize("resolves", [False, True])
async def test_a_connection_takes_no_longer_than_it_may(monkeypatch, resolves):
    resolver = Resolver("10.0.0.1")
    if not resolves:
        resolver.may_answer.clear()

    async def hang(*_, **__):
        await asyncio.Event().wait()

    monkeypatch.setattr(connecting.aiohappyeyeballs, "start_connection", hang)
    began = now()
    reply = await failure(connector(), limit=2.0)
    assert now() - began == pytest.approx(2.0)
    assert type(reply.error) is RequestTimeoutError
    assert "connect timeout 2.0 s to api.test:443" in str(reply.error)


async def test_a_cancelled_connection_is_no_failure(monkeypatch):
    Resolver().may_answer.clear()
    waiting = asyncio.create_task(connector().connect(asyncio.Protocol, 5.0))
    await turns()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_all_clients_share_one_context_which_offers_http_1_1_only(monkeypatch):
    offered = []
    original = ssl.SSLContext.set_alpn_protocols

    def record(context, protocols):
        offered.append(protocols)
        original(context, protocols)

    monkeypatch.setattr(ssl.SSLContext, "set_alpn_protocols", record)
    default_context.cache_clear()
    assert default_context() is default_context()
    assert offered == [["http/1.1"]]
    assert default_context().verify_mode is ssl.CERT_REQUIRED
    assert default_context().check_hostname


async def test_a_resolver_that_knows_no_address_is_a_failed_lookup():
    resolver = Resolver()
    with pytest.raises(socket.gaierror, match="no address"):
        await lookups().addresses()
    resolver.error = UnicodeError("label too long")
    with pytest.raises(socket.gaierror, match="label too long"):
        await lookups().addresses()
