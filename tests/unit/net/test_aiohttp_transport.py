"""The transport without sockets: the translation of aiohttp's errors."""

import asyncio
import errno
import socket
import ssl
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import BadHttpMessage, ContentEncodingError, LineTooLong

from flashback_async.errors import (
    CertificateError,
    ClientClosedError,
    ConnectError,
    ConnectionLostError,
    DecodeError,
    ProtocolError,
    RequestTimeoutError,
)
from flashback_async.net import aiohttp_session as sessions
from flashback_async.net.aiohttp_transport import AiohttpTransport
from flashback_async.net.headers import own_headers
from flashback_async.values import Attempt, Request, Retry, Secret
from tests.unit.support import TOKEN

SECRET = Secret(TOKEN)
KEY = ConnectionKey(
    **dict.fromkeys(ConnectionKey._fields)
    | {"host": "api.test", "port": 443, "ssl": True, "is_ssl": True}
)
ASK = Request("status.get", "GET", "/bucket/b/status", "b")


def make(base_url="https://api.test", proxy=None, session=None):
    return AiohttpTransport(
        base_url,
        headers=own_headers("aiohttp", aiohttp.__version__),
        longest_lookup=5.0,
        max_response_bytes=1000,
        proxy=proxy and Secret(proxy),
        ssl_context=None,
        session=session,
    )


def failure(error, *, transport=None, **progress):
    attempt = Attempt(5.0)
    vars(attempt).update(progress)
    return (transport or make())._failure(error, attempt, SECRET)


def caused(error, cause):
    error.__cause__ = cause
    return error


def connector_error(cause, kind=aiohttp.ClientConnectorError):
    return kind(KEY, cause)


def verification_error():
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    return error


# Connecting.


@pytest.mark.parametrize(
    ("error", "kind", "retry", "says"),
    [
        (
            connector_error(ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")),
            ConnectError,
            Retry.TRANSIENT,
            "no connection to api.test:443: connection refused [ECONNREFUSED]",
        ),
        (
            connector_error(OSError(errno.EHOSTUNREACH, "No route to host")),
            ConnectError,
            Retry.TRANSIENT,
            "no connection to api.test:443: no route to host [EHOSTUNREACH]",
        ),
        (
            connector_error(OSError("no number\n")),
            ConnectError,
            Retry.TRANSIENT,
            r"no connection to api.test:443: OSError: 'no number\n'",
        ),
        (
            connector_error(OSError(errno.EMFILE, "Too many open files")),
            ConnectError,
            Retry.NEVER,
            "too many open files [EMFILE]",
        ),
        (
            connector_error(OSError(errno.ENFILE, "Too many open files in system")),
            ConnectError,
            Retry.NEVER,
            "[ENFILE]",
        ),
        (
            connector_error(
                socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
                aiohttp.ClientConnectorDNSError,
            ),
            ConnectError,
            Retry.TRANSIENT,
            "the name of api.test:443 could not be resolved: gaierror: 'Name or service not known'",
        ),
        (
            connector_error(verification_error(), aiohttp.ClientConnectorCertificateError),
            CertificateError,
            Retry.NEVER,
            "the certificate of api.test:443 was not accepted: "
            "SSLCertVerificationError: 'certificate has expired'",
        ),
        (
            connector_error(ssl.SSLError(1, "wrong version"), aiohttp.ClientConnectorSSLError),
            ConnectError,
            Retry.TRANSIENT,
            "the TLS handshake with api.test:443 failed: SSLError: 'wrong version'",
        ),
        (
            connector_error(ConnectionResetError(errno.ECONNRESET, "reset")),
            ConnectError,
            Retry.TRANSIENT,
            "the TLS handshake with api.test:443 failed",
        ),
    ],
)
def test_a_connection_that_is_not_made_is_told_by_its_reason(error, kind, retry, says):
    failed = failure(error)
    assert type(failed.error) is kind
    assert failed.retry is retry
    assert says in str(failed.error)
    assert failed.error.__cause__ is None


def test_without_tls_there_is_no_handshake_to_fail():
    error = connector_error(ConnectionResetError(errno.ECONNRESET, "reset"))
    failed = failure(error, transport=make("http://127.0.0.1:8080"))
    assert "no connection to 127.0.0.1:8080" in str(failed.error)


def test_a_connect_timeout_names_the_seconds_and_the_server():
    for error in (aiohttp.ConnectionTimeoutError(), TimeoutError()):
        failed = failure(error)
        assert type(failed.error) is RequestTimeoutError
        assert failed.retry is Retry.TRANSIENT
        assert str(failed.error) == "connect timeout 5.0 s to api.test:443"


def test_a_proxy_is_named_without_its_credentials():
    behind = make(proxy="http://user:hunter2@[2001:db8::1]:3128")
    refused = aiohttp.ClientProxyConnectionError(
        KEY._replace(host="2001:db8::1", port=3128),  # aiohttp names the proxy itself
        ConnectionRefusedError(errno.ECONNREFUSED, "x"),
    )
    denied = aiohttp.ClientHttpProxyError(None, (), status=407, message="Proxy Auth Required")
    for error in (refused, denied):
        failed = failure(error, transport=behind)
        assert type(failed.error) is ConnectError
        assert failed.retry is Retry.NEVER
        assert "the proxy [2001:db8::1]:3128" in str(failed.error)
        assert "hunter2" not in str(failed.error)
    assert "407" in str(failure(denied, transport=behind).error)


# Losing a connection.


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (aiohttp.ServerDisconnectedError(), "closed before response"),
        (aiohttp.ClientOSError(errno.ECONNRESET, "Connection reset by peer"), "reset before"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "reset before response"),
        (aiohttp.ClientOSError(errno.EPIPE, "Broken pipe"), "closed before response"),
        (aiohttp.ClientConnectionError("Connector is closed."), "closed before response"),
        (sessions.Dropped(aiohttp.ServerDisconnectedError()), "closed before response"),
    ],
)
@pytest.mark.parametrize("reused", [False, True])
def test_a_lost_connection_is_stale_only_where_it_was_used_before(error, says, reused):
    failed = failure(error, phase="headers", reused=reused)
    assert type(failed.error) is ConnectionLostError
    assert failed.retry is (Retry.STALE if reused else Retry.TRANSIENT)
    assert says in str(failed.error)


@pytest.mark.parametrize("reused", [False, True])
def test_a_tls_alert_on_a_new_connection_is_a_failed_handshake(reused):
    alert = ssl.SSLError(1, "[SSL: TLSV1_ALERT_INTERNAL_ERROR] tlsv1 alert internal error")
    error = caused(aiohttp.ClientOSError(*alert.args), alert)
    failed = failure(error, phase="headers", reused=reused)
    assert type(failed.error) is (ConnectionLostError if reused else ConnectError)
    assert failed.retry is (Retry.STALE if reused else Retry.TRANSIENT)
    if not reused:
        assert "the TLS handshake with api.test:443 failed" in str(failed.error)
        assert "ALERT_INTERNAL_ERROR" in str(failed.error)


def test_an_alert_that_asks_for_a_certificate_is_final():
    alert = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] alert certificate required")
    failed = failure(caused(aiohttp.ClientOSError(*alert.args), alert), phase="headers")
    assert type(failed.error) is ConnectError
    assert failed.retry is Retry.NEVER
    assert "wants a client certificate" in str(failed.error)


def test_a_connection_lost_in_the_middle_of_the_head_is_not_stale():
    began = aiohttp.ServerDisconnectedError(SimpleNamespace(status=200))
    assert failure(began, phase="headers", reused=True).retry is Retry.TRANSIENT


@pytest.mark.parametrize(
    ("attempt", "says"),
    [
        ({"received": 5, "expected": 100}, "after 5 of 100 bytes of the body"),
        ({"received": 5}, "after 5 bytes of the body"),
    ],
)
def test_a_connection_lost_in_the_body_tells_how_far_it_came(attempt, says):
    short = aiohttp.ClientPayloadError("payload is not completed")
    cause = aiohttp.http_exceptions.ContentLengthError("Not enough data to satisfy")
    reset = aiohttp.ClientPayloadError("ConnectionResetError(104, 'Connection reset by peer')")
    cases = [
        (caused(short, cause), "closed"),
        (caused(reset, ConnectionResetError(104, "x")), "reset"),
    ]
    for error, how in cases:
        failed = failure(error, phase="body", reused=True, **attempt)
        assert type(failed.error) is ConnectionLostError
        assert f"was {how} {says}" in str(failed.error)
        assert failed.retry is Retry.TRANSIENT


# What is no HTTP.


def response_error(cause):
    return caused(aiohttp.ClientResponseError(None, (), status=400, message="x"), cause)


@pytest.mark.parametrize(
    ("cause", "says"),
    [
        (BadHttpMessage("Invalid character in chunk size:\n\n  b'zz'\n    ^"), "chunk size'"),
        (LineTooLong(b"secret", 8190), "8190 bytes'"),
        (BadHttpMessage("Data after `Connection: close`:\n\n  b'x'\n    ^"), "Data after"),
        (BadHttpMessage("x" * 500), "x" * 80),
    ],
)
def test_malformed_http_is_final_and_told_by_the_rule_it_breaks(cause, says):
    failed = failure(response_error(cause), phase="headers")
    assert type(failed.error) is ProtocolError
    assert failed.retry is Retry.NEVER
    assert says in str(failed.error)
    assert "malformed HTTP: " in str(failed.error)
    assert "secret" not in str(failed.error)
    assert len(str(failed.error)) < 120


@pytest.mark.parametrize(
    ("sample", "shown"),
    [
        ("b'SSH-2.0-OpenSSH_9.6\\r\\n'", "'SSH-2.0-OpenSSH_9.6\\r\\n'"),
        ('b"it\'s not"', '"it\'s not"'),
        (repr(b"\xff" * 100), repr("\xff" * 32).replace("ÿ", "\\xff")),
        (repr(TOKEN.encode()), "'***'"),
        (repr(b"x" * 30 + TOKEN.encode()), "'" + "x" * 30 + "**'"),
    ],
)
def test_of_what_is_no_http_at_all_the_start_is_shown(sample, shown):
    cause = BadHttpMessage(f"Expected HTTP/, RTSP/ or ICE/:\n\n  {sample}\n    ^")
    failed = failure(response_error(cause), phase="headers")
    assert type(failed.error) is ProtocolError
    assert str(failed.error) == f"not HTTP: the answer starts with {shown}"


def test_of_what_is_no_http_there_may_be_nothing_to_show():
    failed = failure(response_error(BadHttpMessage("Expected HTTP/")), phase="headers")
    assert str(failed.error) == "not HTTP: the answer starts with ''"


def test_an_encoding_that_cannot_be_undone_is_an_error_of_decoding():
    cause = ContentEncodingError("Can not decode content-encoding: gzip\n")
    failed = failure(caused(aiohttp.ClientPayloadError("x"), cause), phase="body")
    assert type(failed.error) is DecodeError
    assert failed.retry is Retry.NEVER
    assert "content encoding" in str(failed.error)
    assert r"gzip\n" in str(failed.error)


# Sessions.


async def test_an_owned_session_is_made_when_it_is_opened_and_closed_with_it():
    transport = make()
    await transport.close()
    transport.open()
    session = transport._session
    assert isinstance(session, aiohttp.ClientSession)
    assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
    assert session.auth is None
    await transport.close()
    assert session.closed
    await transport.close()


@pytest.mark.parametrize("opened", [False, True])
async def test_a_transport_that_is_not_open_says_so(opened):
    transport = make()
    if opened:
        transport.open()
        await transport.close()
    failed = await transport.send(ASK, SECRET, Attempt(5.0))
    assert type(failed.error) is ClientClosedError
    assert failed.retry is Retry.NEVER


async def test_closing_closes_the_resolver_as_well(monkeypatch):
    closed = []

    class Resolver(aiohttp.ThreadedResolver):
        async def close(self):
            closed.append(self)

    monkeypatch.setattr(aiohttp, "DefaultResolver", Resolver)
    transport = make()
    transport.open()
    await transport.close()
    assert len(closed) == 1
    await transport.close()


async def test_a_borrowed_session_is_neither_made_nor_closed():
    async with aiohttp.ClientSession() as session:
        transport = make(session=session)
        transport.open()
        assert transport._session is session
        await transport.close()
        assert not session.closed


# Requests that are ready at the same time.


async def test_those_that_are_ready_together_take_their_connections_together(monkeypatch):
    under_way = []
    all_are_there = asyncio.Event()

    async def connect(self, req, traces, timeout):
        under_way.append(transport._in_flight.count)
        if len(under_way) == 3:
            all_are_there.set()
        await all_are_there.wait()
        raise aiohttp.ServerDisconnectedError

    monkeypatch.setattr(sessions, "_connect", connect)
    transport = make()
    transport.open()
    await asyncio.gather(*(transport.send(ASK, SECRET, Attempt(5.0)) for _ in range(3)))
    # One that is alone waits for nobody; of the others none came before the last was ready.
    assert under_way == [1, 3, 3]
    assert transport._in_flight.count == 0
    await transport.close()


class Handler:
    should_close = False


class Connection:
    protocol = Handler()
    transport = None
    released = 0

    def release(self):
        self.released += 1


async def test_a_request_that_is_called_back_does_not_leave(monkeypatch):
    connection = Connection()

    async def connect(self, req, traces, timeout):
        await asyncio.sleep(1)
        return connection

    monkeypatch.setattr(sessions, "_connect", connect)
    transport = make()
    transport.open()
    asked = [asyncio.create_task(transport.send(ASK, SECRET, Attempt(5.0))) for _ in range(2)]
    await asyncio.sleep(0)  # the first is being connected, the second waits for it
    transport.recall()
    assert [reply.retry for reply in await asyncio.gather(*asked)] == [Retry.RECALLED] * 2
    assert connection.released == 2
    await transport.close()


async def test_a_request_through_a_borrowed_session_is_called_back_while_it_waits_for_others():
    async with aiohttp.ClientSession(connector=Unreachable()) as session:
        transport = make(session=session)
        transport.open()
        asked = [asyncio.create_task(transport.send(ASK, SECRET, Attempt(5.0))) for _ in range(2)]
        await asyncio.sleep(0)
        transport.recall()
        assert (await asked[1]).retry is Retry.RECALLED
    assert type((await asked[0]).error) is ClientClosedError


class Unreachable(aiohttp.BaseConnector):
    """A connector that makes no connection before it is closed."""

    def __init__(self, error=aiohttp.ServerDisconnectedError):
        super().__init__()
        self.error = error

    async def connect(self, req, traces, timeout):
        while not self.closed:
            await asyncio.sleep(1)
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ServerDisconnectedError,  # aiohttp sends again, and its assertion fails
        aiohttp.ClientConnectionError,
        AttributeError,  # of None, in the place of the connector
        asyncio.CancelledError,  # in tasks that wait for a connection or a DNS lookup
    ],
)
async def test_a_borrowed_session_may_be_closed_while_requests_are_under_way(error):
    # The first one is in aiohttp's hands; the second waits for others.
    session = aiohttp.ClientSession(connector=Unreachable(error))
    transport = make(session=session)
    transport.open()
    asked = [asyncio.create_task(transport.send(ASK, SECRET, Attempt(5.0))) for _ in range(2)]
    await asyncio.sleep(0)
    await session.close()
    first, second = await asyncio.gather(*asked)
    assert [type(failed.error) for failed in (first, second)] == [ClientClosedError] * 2
    assert first.sent
    assert not second.sent


async def test_a_task_that_is_cancelled_as_its_session_is_closed_stays_cancelled():
    session = aiohttp.ClientSession(connector=Unreachable())
    transport = make(session=session)
    transport.open()
    asked = asyncio.create_task(transport.send(ASK, SECRET, Attempt(5.0)))
    await asyncio.sleep(0)
    await session.close()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked


async def test_what_a_hook_of_a_borrowed_session_raises_is_its_own():
    async def refuse(request, handler):
        raise LookupError("a hook's own")

    async with aiohttp.ClientSession(middlewares=[refuse]) as session:
        transport = make(session=session)
        transport.open()
        with pytest.raises(LookupError, match="a hook's own"):
            await transport.send(ASK, SECRET, Attempt(5.0))


async def test_of_a_borrowed_session_nobody_knows_whether_it_is_connected():
    async with aiohttp.ClientSession(connector=Unreachable()) as session:
        transport = make(session=session)
        transport.open()
        attempt = Attempt(5.0)
        asked = asyncio.create_task(transport.send(ASK, SECRET, attempt))
        await asyncio.sleep(0)
        assert attempt.phase == "connect or headers"
    await asked


# What every request says of itself.


@pytest.mark.parametrize("borrowed", [False, True])
async def test_a_request_has_the_token_and_the_common_headers(borrowed):
    session = aiohttp.ClientSession() if borrowed else None
    transport = make(session=session)
    transport.open()
    headers = transport._headers(SECRET, has_body=True)
    assert headers["Content-Type"] == "application/json"
    assert "Content-Type" not in transport._headers(SECRET, has_body=False)
    assert "Authorization" not in transport._session.headers
    every = {**transport._session.headers, **headers}
    assert every["Authorization"] == f"Bearer {TOKEN}"
    assert every["Accept"] == "application/json"
    assert every["Accept-Encoding"] == "gzip, deflate"
    assert every["User-Agent"].startswith("flashback-async/")
    await transport.close()
    if session is not None:
        await session.close()


@pytest.mark.parametrize(
    "base", ["https://api.test", "https://api.test/v1", "http://[::1]:8080/a%2Fb"]
)
@pytest.mark.parametrize(
    "target", ["/bucket/b/status", "/bucket/a%2Fb%3F/stats", "/bucket/stats?bucketId=a%2Cb%20c"]
)
def test_a_target_is_put_below_the_base_url_as_it_is(base, target):
    assert str(make(base)._url(target)) == base + target
