"""The direct transport over real sockets and TLS."""

import asyncio
import contextlib
import socket
import ssl

import pytest

from flashback_async import FlashbackClient, Observer, RetryPolicy
from flashback_async.api.wire import decode_status
from flashback_async.errors import (
    CertificateError,
    ConnectError,
    ConnectionLostError,
    DecodeError,
)
from flashback_async.net.connecting import default_context
from flashback_async.net.direct import DirectTransport
from flashback_async.values import Attempt, NoAnswer, Request, Response, Retry, Secret
from tests.faults.harness import network, server, tls
from tests.faults.harness.answers import ok_status, response, status_body
from tests.faults.harness.network import FakeResolver
from tests.faults.harness.server import ScriptedServer

SECRET = Secret("a-token-of-the-tests")
GET = Request("status.get", "GET", "/bucket/b/status", "b")
GUARD = 30.0  # real seconds after which a test fails instead of hanging
OK = ok_status("b")
BODY = OK.partition(b"\r\n\r\n")[2]


@contextlib.asynccontextmanager
async def direct(base_url, *, context=None):
    """Yield a transport, and close it."""
    transport = DirectTransport(
        base_url,
        headers={"User-Agent": "tests"},
        longest_lookup=GUARD,
        max_response_bytes=2**20,
        ssl_context=context or tls.client(),
    )
    transport.open()
    try:
        async with asyncio.timeout(GUARD):
            yield transport
    finally:
        await transport.close()


def new_attempt(**options):
    return Attempt(GUARD, **options)


async def exchange(transport, attempt=None):
    return await transport.send(GET, SECRET, attempt or new_attempt())


async def is_answered(transport):
    reply = await exchange(transport)
    assert isinstance(reply, Response), reply
    return reply.status == 200 and reply.body == BODY


def failed(reply, kind, says=""):
    assert isinstance(reply, NoAnswer)
    assert type(reply.error) is kind
    assert says in str(reply.error)
    return reply


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def context(request):
    """The context of the server."""
    return tls.server() if request.param else None


async def test_exchanges_share_a_connection(context):
    async with ScriptedServer(tls=context) as served, direct(served.url) as transport:
        for _ in range(3):
            assert await is_answered(transport)
        assert len(served.connections) == 1


async def test_closing_waits_for_every_socket(context):
    sockets = network.record_sockets()
    async with ScriptedServer(*[server.together(5)] * 5, tls=context) as served:
        async with direct(served.url) as transport:
            await asyncio.gather(*(exchange(transport) for _ in range(5)))
            assert all(sock.fileno() != -1 for sock in sockets)
        assert [sock.fileno() for sock in sockets] == [-1] * 5


async def test_closing_ends_an_exchange_that_runs():
    async with ScriptedServer(server.hang) as served, direct(served.url) as transport:
        running = asyncio.create_task(exchange(transport))
        while not served.requests:
            await asyncio.sleep(0.001)
        await transport.close()
        failed(await running, ConnectionLostError)


async def test_a_forced_end_reaches_the_server(context):
    async with ScriptedServer(tls=context) as served, direct(served.url) as transport:
        first, second = new_attempt(), new_attempt()
        await exchange(transport, first)
        first.connection.force_close()
        await exchange(transport, second)
        assert first.connection is not second.connection
        assert not second.reused
        while served.open_connections > 1:
            await asyncio.sleep(0.001)


async def test_a_forced_end_lets_another_exchange_end_first(context):
    go_on = asyncio.Event()

    async def held(conn, request):
        await go_on.wait()
        await conn.send(OK)

    async with (
        ScriptedServer(server.healthy, held, tls=context) as served,
        direct(served.url) as transport,
    ):
        first, second = new_attempt(), new_attempt()
        await exchange(transport, first)
        running = asyncio.create_task(exchange(transport, second))
        while len(served.requests) < 2:
            await asyncio.sleep(0.001)
        assert second.reused
        first.connection.force_close()
        go_on.set()
        assert (await running).body == BODY
        while served.open_connections:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("how", [server.Conn.close, server.Conn.reset])
async def test_a_connection_that_the_server_ends_at_once_is_lost(how):
    async def greet(conn):
        how(conn)

    async with ScriptedServer(greet=greet) as served, direct(served.url) as transport:
        reply = await exchange(transport)
        assert type(reply.error) in {ConnectionLostError, ConnectError}
        assert reply.retry is Retry.TRANSIENT


@pytest.mark.parametrize("turn", range(0, 30, 3))
async def test_a_cancellation_in_any_turn_leaves_no_connection_half_used(context, turn):
    sockets = network.record_sockets()
    async with ScriptedServer(tls=context) as served:
        async with direct(served.url) as transport:
            running = asyncio.create_task(exchange(transport))
            for _ in range(turn):
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert await is_answered(transport)
        assert all(sock.fileno() == -1 for sock in sockets)


# TLS.


async def cut(conn, _):
    """Close the connection without the alert that ends TLS."""
    conn.writer.transport.abort()


async def test_a_body_with_a_length_that_tls_is_cut_under_is_lost():
    step = [OK[:-5], server.pause(0.02), cut]
    async with ScriptedServer(step, tls=tls.server()) as served, direct(served.url) as transport:
        attempt = new_attempt()
        says = f"after {len(BODY) - 5} of {len(BODY)} bytes of the body"
        reply = failed(await exchange(transport, attempt), ConnectionLostError, says)
        assert reply.retry is Retry.TRANSIENT
        assert await is_answered(transport)


async def test_a_body_without_a_length_that_tls_is_cut_under_is_no_data():
    part = response(body=status_body("b"), length=None)[:-5]
    async with (
        ScriptedServer([part, server.pause(0.02), cut], tls=tls.server()) as served,
        direct(served.url) as transport,
    ):
        reply = await exchange(transport)
        assert reply.body == BODY[:-5]  # asyncio does not tell; what is cut is no JSON
        with pytest.raises(DecodeError):
            decode_status(reply.body, "b")


async def test_a_certificate_of_another_host_is_not_accepted():
    async with (
        ScriptedServer(tls=tls.server("other.example")) as served,
        direct(served.url) as transport,
    ):
        reply = failed(await exchange(transport), CertificateError, "127.0.0.1")
        assert reply.retry is Retry.NEVER
        assert served.requests == []


async def test_the_name_of_the_certificate_is_that_of_the_host_and_not_its_address():
    FakeResolver()
    async with ScriptedServer(tls=tls.server("api.example")) as served:
        async with direct(f"https://api.example.:{served.port}") as transport:
            assert await is_answered(transport)
        assert served.requests[0].headers["host"] == f"api.example:{served.port}"
        async with direct(f"https://api.other:{served.port}") as transport:
            failed(await exchange(transport), CertificateError, "api.other")


def speaking(make, *protocols):
    """Return a context of our certificate authority that offers, or chooses from, protocols."""
    context = make()
    context.set_alpn_protocols(list(protocols))
    return context


def new_client_context():
    return tls.client.__wrapped__()


def new_server_context():
    return tls.server.__wrapped__("127.0.0.1")


@pytest.mark.parametrize(
    ("offered", "known", "chosen"),
    [
        (["http/1.1"], ["h2", "http/1.1"], "http/1.1"),
        (["h2", "http/1.1"], ["http/1.1"], "http/1.1"),
        (["http/1.1"], ["h2"], None),
        (["h2", "http/1.1"], ["h2"], "h2"),
    ],
)
async def test_a_server_that_chooses_http_2_is_not_spoken_to(offered, known, chosen):
    ours = speaking(new_client_context, *offered)
    async with (
        ScriptedServer(tls=speaking(new_server_context, *known)) as served,
        direct(served.url, context=ours) as transport,
    ):
        if chosen == "h2":
            reply = failed(await exchange(transport), ConnectError, "the server chose h2")
            assert reply.retry is Retry.NEVER
            assert served.requests == []
        else:
            assert await is_answered(transport)


async def test_the_default_context_makes_no_server_choose_http_2(monkeypatch):
    trusting = new_client_context()
    monkeypatch.setattr(ssl, "create_default_context", lambda: trusting)
    default_context.cache_clear()
    try:
        both = speaking(new_server_context, "h2", "http/1.1")
        async with (
            ScriptedServer(tls=both) as served,
            direct(served.url, context=default_context()) as transport,
        ):
            assert await is_answered(transport)
            chosen = served.connections[0].writer.get_extra_info("ssl_object")
            assert chosen.selected_alpn_protocol() == "http/1.1"
    finally:
        default_context.cache_clear()


# Requests leave together, once nothing is unread.


class Peer:
    """The server's end of connections, which a test reads and writes without the event loop."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections = []

    def accept(self):
        """Accept every connection that waits."""
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = self.listener.accept()
                connection.setblocking(False)
                self.connections.append(connection)

    def received(self):
        """Return how many requests have arrived since the last look, over each connection."""
        self.accept()
        counts = []
        for connection in self.connections:
            try:
                counts.append(connection.recv(2**16).count(b"\r\n\r\n"))
            except BlockingIOError:
                counts.append(0)
        return counts

    async def receives(self, requests):
        """Wait until so many requests have arrived."""
        count = 0
        while count < requests:
            await asyncio.sleep(0)
            count += sum(self.received())

    def answer(self):
        for connection in self.connections:
            connection.send(OK)

    def close(self):
        for each in (self.listener, *self.connections):
            each.close()


@contextlib.asynccontextmanager
async def idle(count):
    """Yield a transport with so many idle connections, and their peer."""
    peer = Peer()
    try:
        async with direct(peer.url) as transport:
            running = [asyncio.create_task(exchange(transport)) for _ in range(count)]
            await peer.receives(count)
            peer.answer()
            assert all(isinstance(reply, Response) for reply in await asyncio.gather(*running))
            yield transport, peer
    finally:
        peer.close()


@pytest.mark.parametrize("turn", range(6))
async def test_bytes_that_arrive_before_a_request_leaves_are_not_its_answer(turn):
    async with idle(1) as (transport, peer):
        running = asyncio.create_task(exchange(transport))
        for _ in range(turn):
            await asyncio.sleep(0)
        has_left = peer.received() == [1]
        peer.answer()
        reply = await running
        assert isinstance(reply, Response) == has_left
        if not has_left:
            assert (reply.retry, reply.sent) == (Retry.RECALLED, False)


async def test_a_connection_that_ended_while_the_loop_was_busy_carries_no_request():
    async with idle(1) as (transport, peer):
        running = asyncio.create_task(exchange(transport))
        await asyncio.sleep(0)
        peer.connections[0].shutdown(socket.SHUT_WR)
        reply = await running
        assert (reply.retry, reply.sent) == (Retry.RECALLED, False)
        assert peer.received() == [0]


def ends(connection):
    connection.shutdown(socket.SHUT_WR)


def says_more(connection):
    connection.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("act", [ends, says_more])
async def test_a_request_that_was_held_back_leaves_over_another_connection(act):
    told = []

    class Witness(Observer):
        def attempt_ended(self, fact):
            told.append((fact.attempt, fact.status, fact.error))

    peer = Peer()
    try:
        async with FlashbackClient(
            "a-token",
            base_url=peer.url,
            retry=RetryPolicy.none(),
            observer=Witness(),
            transport="direct",
        ) as client:
            first = asyncio.create_task(client.status.get("b"))
            await peer.receives(1)
            peer.answer()
            await first
            act(peer.connections[0])
            second = asyncio.create_task(client.status.get("b"))
            async with asyncio.timeout(GUARD):
                await peer.receives(1)
            peer.connections[1].send(OK)
            await second
            assert peer.received() == [0, 0]
    finally:
        peer.close()
    assert told == [(1, 200, None), (1, 200, None)]


async def test_unread_bytes_hold_back_only_the_request_of_their_connection():
    async with idle(3) as (transport, peer):
        running = [asyncio.create_task(exchange(transport)) for _ in range(3)]
        peer.connections[1].send(OK)
        await peer.receives(2)
        peer.answer()
        replies = await asyncio.gather(*running)
        assert sorted(isinstance(reply, Response) for reply in replies) == [False, True, True]


async def test_many_requests_do_not_wait_for_the_last_of_them():
    async with idle(40) as (transport, peer):
        left = []

        running = [asyncio.create_task(exchange(transport)) for _ in range(40)]
        asyncio.get_running_loop().call_soon(lambda: left.append(sum(peer.received())))
        await peer.receives(40 - 32)
        peer.answer()
        await asyncio.gather(*running)
        assert left == [32]


# Addresses.


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@ipv6
async def test_an_ipv6_address_is_connected_to():
    async with ScriptedServer(host="::1") as served, direct(served.url) as transport:
        assert await is_answered(transport)
        assert served.requests[0].headers["host"] == f"[::1]:{served.port}"


def resolve_to(*addresses):
    async def found(host, port, **_):
        return [
            (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)[:size])
            for family, address, size in addresses
        ]

    asyncio.get_running_loop().getaddrinfo = found


V4 = (socket.AF_INET, "127.0.0.1", 2)
V6 = (socket.AF_INET6, "::1", 4)


@ipv6
@pytest.mark.parametrize(("host", "dead"), [("127.0.0.1", V6), ("::1", V4)])
@pytest.mark.parametrize("dead_first", [True, False])
async def test_one_dead_family_of_addresses_is_passed_over(host, dead, dead_first):
    addresses = [dead, V4 if dead is V6 else V6]
    resolve_to(*addresses if dead_first else reversed(addresses))
    async with (
        ScriptedServer(*[server.together(2)] * 2, host=host) as served,
        direct(f"http://api.test:{served.port}") as transport,
    ):
        replies = await asyncio.gather(*(exchange(transport) for _ in range(2)))
        assert [reply.body for reply in replies] == [BODY] * 2


async def test_only_dead_addresses_are_told():
    resolve_to(V4, (socket.AF_INET, "127.0.0.2", 2))
    served = ScriptedServer()  # it does not listen
    async with served, direct(f"http://api.test:{served.port}") as transport:
        await served.stop()
        reply = failed(await exchange(transport), ConnectError, f"api.test:{served.port}")
        assert reply.retry is Retry.TRANSIENT


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_closing_ends_although_a_call_was_cancelled_in_any_turn(loop):
    new_loop = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else None

    async def cancel_in(turn, server):
        async with direct(server.url) as transport:
            asked = asyncio.create_task(exchange(transport))
            for _ in range(turn):
                await asyncio.sleep(0)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    async def main():
        for step in (server.healthy, server.hang, server.close, server.reset):
            async with ScriptedServer(then=step) as running:
                for turn in range(14):
                    await cancel_in(turn, running)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
