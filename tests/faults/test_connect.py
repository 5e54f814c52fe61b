"""Faults while a connection is made."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import aiohttp
import pytest

from flashback_async import (
    CertificateError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    FlashbackClient,
    RequestTimeoutError,
    RetryPolicy,
    Timeout,
)
from tests import inside
from tests.faults.harness import network, server, tls
from tests.faults.harness.answers import response
from tests.faults.harness.fault import Fault
from tests.faults.harness.network import FakeResolver

IMPATIENT = Timeout(connect=0.1)

linux = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere full queues and 127.0.0.2 are another matter"
)


async def test_C01_refused(fault: Fault):
    await fault.serve(listening=False)
    client = fault.client()
    await fault.error(
        client.bucket_stats.list(["bucket-1"]),
        ConnectError,
        attempts=3,
        says=(f"127.0.0.1:{fault.server.port}", "refused", "3 requests"),
        never="bucketId",
    )
    fault.retried(transient=2)
    fault.wire(0, connections=0)


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"), id="C02_no_such_name"
        ),
        pytest.param(
            socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
            id="C03_temporary",
        ),
    ],
)
async def test_C02_C03_name_cannot_be_resolved(fault: Fault, failure: socket.gaierror):
    await fault.serve()
    resolver = FakeResolver(failure, failure, failure)
    client = fault.client(base_url=f"http://api.localhost:{fault.server.port}")
    error = await fault.error(client.status.get("bucket-1"), ConnectError, attempts=3)
    # The whole of it: no name that the resolver tried besides.
    peer = f"api.localhost:{fault.server.port}"
    assert error.args == (
        f"the name of {peer} could not be resolved: gaierror: '{failure.strerror}'",
    )
    assert resolver.names == ["api.localhost"] * 3
    fault.retried(transient=2)
    fault.wire(0, connections=0)


async def test_C03_temporary_failure_of_the_resolver_is_survived(
    fault: Fault,
):
    await fault.serve()
    FakeResolver(socket.gaierror(socket.EAI_AGAIN, "again"))
    client = fault.client(base_url=f"http://api.localhost:{fault.server.port}")
    await fault.result(client.status.get("bucket-1"))
    fault.retried(transient=1, refunded=True)
    fault.wire(1, after="reused")


async def test_C04_name_look_up_hangs(fault: Fault):
    await fault.serve()
    resolver = FakeResolver(None, None, None)
    client = fault.client(base_url=f"http://api.localhost:{fault.server.port}", timeout=IMPATIENT)
    await fault.error(
        client.status.get("bucket-1"),
        RequestTimeoutError,
        attempts=3,
        says=("connect timeout 0.1 s", f"api.localhost:{fault.server.port}"),
    )
    # On a busy machine an attempt's time may run out before its look-up begins.
    await fault.until(lambda: resolver.cancelled == len(resolver.names))
    assert 1 <= resolver.cancelled <= 3
    fault.retried(transient=2)
    fault.wire(0, connections=0)


@linux
async def test_C05_connection_is_never_accepted(fault: Fault):
    await fault.serve(listening=False)
    client = fault.client(timeout=IMPATIENT)
    await fault.server.stop()
    with network.full_backlog("127.0.0.1", fault.server.port):
        await fault.error(
            client.status.get("bucket-1"),
            RequestTimeoutError,
            attempts=3,
            says=f"connect timeout 0.1 s to 127.0.0.1:{fault.server.port}",
        )
    fault.retried(transient=2)
    fault.wire(0, connections=0)


def hangs(port: int) -> AbstractContextManager[object]:
    return network.full_backlog("127.0.0.2", port)


def refuses(_: int) -> AbstractContextManager[object]:
    return nullcontext()  # nobody listens at the other address


@linux
@pytest.mark.parametrize("dead", [hangs, refuses])
async def test_C06_one_of_two_addresses_is_dead(
    fault: Fault, dead: Callable[[int], AbstractContextManager[object]]
):
    await fault.serve()
    sockets = network.record_sockets()
    FakeResolver(["127.0.0.2", "127.0.0.1"])
    # Well below the time after which the first address alone would have been given up.
    client = fault.client(
        base_url=f"http://api.localhost:{fault.server.port}", timeout=Timeout(connect=2.0)
    )
    with dead(fault.server.port):
        await fault.result(client.status.get("bucket-1"))
    assert [sock.fileno() == -1 for sock in sockets] == [True, False]
    fault.retried()
    fault.wire(1, connections=1, after="reused")


@pytest.mark.parametrize(
    ("certificate", "says"),
    [
        pytest.param(tls.self_signed, "self-signed certificate", id="C07_self_signed"),
        pytest.param(tls.unknown, "unable to get local issuer", id="C07_unknown_authority"),
        pytest.param(lambda: tls.server("other.example"), "api.localhost", id="C08_other_host"),
        pytest.param(tls.expired, "expired", id="C09_expired"),
    ],
)
async def test_C07_C08_C09_certificate_is_not_accepted(
    fault: Fault,
    certificate: Callable[[], ssl.SSLContext],
    says: str,
):
    await fault.serve(tls=certificate())
    FakeResolver()
    client = fault.client(base_url=f"https://api.localhost:{fault.server.port}")
    await fault.error(
        client.status.get("bucket-1"),
        CertificateError,
        attempts=1,
        says=("certificate", f"api.localhost:{fault.server.port}", says),
        never=("disable", "verify=", "ssl=False", "check_hostname", "CERT_NONE"),
    )
    fault.retried()
    fault.wire(0)


async def test_C10_server_knows_only_outdated_tls(fault: Fault):
    await fault.serve(tls=tls.outdated())
    client = fault.client()
    await fault.error(
        client.status.get("bucket-1"),
        ConnectError,
        attempts=3,
        says=("TLS handshake", f"127.0.0.1:{fault.server.port}"),
    )
    fault.retried(transient=2)
    fault.wire(0)


async def answers_in_clear_text(conn: server.Conn) -> None:
    await conn.reader.read(2**16)
    await conn.send(response(400, b"The plain HTTP request was sent to HTTPS port"))
    conn.close()


async def closes_after_hello(conn: server.Conn) -> None:
    await conn.reader.read(2**16)
    conn.close()


async def resets_after_hello(conn: server.Conn) -> None:
    await conn.reader.read(2**16)
    conn.reset()


async def is_mute(conn: server.Conn) -> None:
    await conn.gone()


async def hangs_after_half_a_record(conn: server.Conn) -> None:
    await conn.reader.read(2**16)
    await conn.send(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76")
    await conn.gone()


@pytest.mark.parametrize(
    "greet",
    [
        pytest.param(answers_in_clear_text, id="C11_http"),
        pytest.param(closes_after_hello, id="C12_closed"),
        pytest.param(resets_after_hello, id="C12_reset"),
    ],
)
async def test_C11_C12_handshake_fails(fault: Fault, greet: server.Greeting):
    await fault.serve(greet=greet)
    client = fault.client(base_url=f"https://127.0.0.1:{fault.server.port}")
    await fault.error(
        client.status.get("bucket-1"),
        ConnectError,
        attempts=3,
        says=("TLS handshake", f"127.0.0.1:{fault.server.port}"),
    )
    fault.retried(transient=2)
    fault.wire(0, connections=3)


@pytest.mark.parametrize(
    "greet",
    [
        pytest.param(is_mute, id="C11_mute"),
        pytest.param(hangs_after_half_a_record, id="C13_half_a_handshake"),
    ],
)
async def test_C11_C13_handshake_hangs(fault: Fault, greet: server.Greeting):
    await fault.serve(greet=greet)
    client = fault.client(base_url=f"https://127.0.0.1:{fault.server.port}", timeout=IMPATIENT)
    await fault.error(
        client.status.get("bucket-1"),
        RequestTimeoutError,
        attempts=3,
        says=("connect timeout 0.1 s", f"127.0.0.1:{fault.server.port}"),
    )
    fault.retried(transient=2)
    fault.wire(0, connections=3)


async def test_C14_plain_http_to_another_host(fault: Fault):
    with pytest.raises(ConfigurationError) as caught:
        FlashbackClient(fault.token, base_url="http://api.example")
    fault.check(
        caught.value, ConfigurationError, says=("https required", "allow_insecure_http=True")
    )
    permitted = fault.client(base_url="http://api.example", allow_insecure_http=True)
    assert inside.loop_state(permitted) is None  # no session before the first call


async def test_C15_no_descriptor_left(fault: Fault):
    await fault.serve()
    client = fault.client()
    with network.no_descriptors():
        await fault.error(client.status.get("bucket-1"), ConnectError, attempts=1, says="EMFILE")
    fault.retried()
    fault.wire(0, connections=0)


@pytest.mark.parametrize("listening", [False, True], ids=["refused", "407"])
async def test_C16_proxy_does_not_connect(fault: Fault, listening: bool):
    await fault.serve(tls=tls.server())
    proxy = await fault.serve(then=response(407, b"log in first"), listening=listening)
    # The canary is the password too, so that its secrecy is checked as the token's is.
    client = fault.client(proxy=f"http://user-7:{fault.token}@127.0.0.1:{proxy.port}")
    await fault.error(
        client.status.get("bucket-1"),
        ConnectError,
        attempts=1,
        says=("proxy", f"127.0.0.1:{proxy.port}", "407" if listening else "refused"),
        never="user-7",
    )
    assert [request.method for request in proxy.requests] == ["CONNECT"] * listening
    fault.retried()
    fault.wire(0, connections=0)
    proxy.then = tunnel
    await proxy.start()


async def tunnel(conn: server.Conn, request: server.Request) -> None:
    """Open a tunnel as a proxy does for CONNECT."""
    host, _, port = request.target.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await conn.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(2**16):
            sink.write(data)
        sink.close()

    try:
        await asyncio.gather(copy(conn.reader, writer), copy(reader, conn.writer))
    finally:
        writer.close()


@pytest.mark.parametrize("login", ["", "user-7:hunter2@"], ids=["open", "with_credentials"])
@pytest.mark.parametrize("how", ["argument", "environment", "borrowed", "session's"])
async def test_C17_no_byte_of_the_token_reaches_a_proxy(
    fault: Fault, how: str, login: str, monkeypatch: pytest.MonkeyPatch
):
    await fault.serve(tls=tls.server("api.example", "127.0.0.1"))
    received = bytearray()
    refusing = await asyncio.start_server(partial(keep_all, received), "127.0.0.1", 0)
    port = refusing.sockets[0].getsockname()[1]
    url = f"http://{login}127.0.0.1:{port}"
    options: dict[str, object] = {"base_url": "https://api.example", "retry": RetryPolicy.none()}
    session = None
    if how == "environment":
        monkeypatch.setenv("HTTPS_PROXY", url)
    elif how == "session's":
        session = aiohttp.ClientSession(proxy=url)
    else:
        options["proxy"] = url
        session = aiohttp.ClientSession() if how == "borrowed" else None
    client = fault.client(**options, session=session)
    for call in (client.status.get("bucket-1"), client.node_stats.get("bucket-1", "2026-01-02")):
        await fault.error(call, ConnectError, says=("proxy", "403"), never="hunter2")
    assert received.count(b"CONNECT api.example:443") == 2
    assert (b"Basic " in received) is bool(login)
    assert b"Bearer" not in received
    assert fault.token.encode() not in received
    await client.close()
    if session is not None:
        await session.close()
    refusing.close()
    fault.clients.clear()
    fault.wire(0)


async def keep_all(
    received: bytearray, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Refuse to open a tunnel, and record every byte that a client sends nevertheless."""
    received += await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    received += await reader.read()
    writer.close()


async def test_C17_proxy_closes_at_connect(fault: Fault):
    await fault.serve(tls=tls.server())
    proxy = await fault.serve(then=server.close)
    client = fault.client(proxy=f"http://127.0.0.1:{proxy.port}")
    await fault.error(
        client.status.get("bucket-1"),
        ConnectError,
        attempts=3,
        says=(f"the proxy 127.0.0.1:{proxy.port} closed the connection", "CONNECT"),
    )
    assert not any(fault.token.encode() in request.raw for request in proxy.requests)
    fault.retried(transient=2)
    fault.wire(0, connections=0)
    proxy.then = tunnel


@pytest.mark.parametrize("limit", ["connect", "attempt"])
async def test_C17_proxy_hangs_at_connect(fault: Fault, limit: str):
    fault.clock.run()
    await fault.serve(tls=tls.server())
    proxy = await fault.serve(then=server.hang)
    client = fault.client(proxy=f"http://127.0.0.1:{proxy.port}", timeout=Timeout(**{limit: 0.1}))
    await fault.error(
        client.status.get("bucket-1"),
        RequestTimeoutError,
        attempts=3,
        says=("connect", "0.1 s", f"through the proxy 127.0.0.1:{proxy.port}"),
    )
    fault.retried(transient=2)
    fault.wire(0, connections=0)
    proxy.then = tunnel


@pytest.mark.parametrize("alert", [False, True], ids=["silent", "with_an_alert"])
async def test_C18_server_wants_a_client_certificate(fault: Fault, alert: bool):
    await fault.serve(tls=tls.server())
    refusing = tls.PickyServer() if alert else None
    picky = await fault.serve(tls=tls.wants_certificate())
    port = refusing.port if refusing is not None else picky.port
    client = fault.client(base_url=f"https://127.0.0.1:{port}")
    try:
        await fault.error(
            client.status.get("bucket-1"),
            ConnectError,
            attempts=1,
            says=("TLS", f"127.0.0.1:{port}", "wants a client certificate"),
        )
    finally:
        if refusing is not None:
            await asyncio.to_thread(refusing.close)
    fault.retried()
    fault.recovers = False
    fault.wire(0, connections=0)


@pytest.mark.parametrize("status", [b"", b"HTTP/1.1 5"], ids=["nothing", "part_of_a_head"])
async def test_W01_over_tls_is_a_lost_connection(fault: Fault, status: bytes):
    await fault.serve([status, server.close], [status, server.close], tls=tls.server())
    await fault.result(fault.client().status.get("bucket-1"))
    fault.retried(transient=2, refunded=True)
    fault.wire(3)


@pytest.mark.parametrize("proxy", ["http://proxy.example:3128", "https://proxy.example"])
async def test_C14_plain_http_through_a_proxy_on_another_machine(fault: Fault, proxy: str):
    with pytest.raises(ConfigurationError) as caught:
        FlashbackClient(fault.token, base_url="http://127.0.0.1:9", proxy=proxy)
    fault.check(
        caught.value, ConfigurationError, says=("https required", "allow_insecure_http=True")
    )
    for permitted in (
        fault.client(base_url="http://127.0.0.1:9", proxy=proxy, allow_insecure_http=True),
        fault.client(base_url="http://127.0.0.1:9", proxy="http://localhost:3128"),
    ):
        assert inside.loop_state(permitted) is None


async def test_C02_name_of_the_proxy_cannot_be_resolved(fault: Fault):
    await fault.serve(tls=tls.server("api.example", "127.0.0.1"))
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    FakeResolver(*[unknown] * 3)
    client = fault.client(base_url="https://api.example", proxy="http://proxy.example:3128")
    await fault.error(
        client.status.get("bucket-1"),
        ConnectError,
        attempts=3,
        says="the name of the proxy proxy.example:3128 could not be resolved",
        never="api.example",
    )
    fault.retried(transient=2)
    fault.recovers = False
    fault.wire(0, connections=0)


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"])
async def test_C16_proxy_does_not_speak_http(fault: Fault, answer: bytes):
    await fault.serve(tls=tls.server())
    proxy = await fault.serve(then=answer)
    client = fault.client(proxy=f"http://127.0.0.1:{proxy.port}")
    await fault.error(
        client.status.get("bucket-1"),
        ConnectError,
        attempts=1,
        says=f"the proxy 127.0.0.1:{proxy.port} did not answer CONNECT",
    )
    fault.retried()
    fault.wire(0, connections=0)
    proxy.then = tunnel


@pytest.mark.parametrize("whose", ["client", "session"])
async def test_C17_proxy_of_a_borrowed_session_closes_at_connect(fault: Fault, whose: str):
    await fault.serve(tls=tls.server())
    proxy = await fault.serve(then=server.close)
    url = f"http://127.0.0.1:{proxy.port}"
    async with aiohttp.ClientSession(proxy=url if whose == "session" else None) as session:
        client = fault.client(session=session, proxy=url if whose == "client" else None)
        await fault.error(
            client.node_stats.get("bucket-1", "2026-01-02"),
            ConnectionLostError,  # a borrowed session does not report how far it came
            attempts=3,
            says=f"through the proxy 127.0.0.1:{proxy.port}",
        )
        await client.close()
    fault.clients.clear()
    fault.wire(0, connections=0)
