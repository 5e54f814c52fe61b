"""The pool of wires, over connections that exist in memory only."""

import asyncio
import socket
import ssl

import pytest

from flashback_async.errors import (
    ClientClosedError,
    ConnectError,
    ConnectionLostError,
    ProtocolError,
    RequestTimeoutError,
)
from flashback_async.net.direct import DirectTransport
from flashback_async.net.failures import RECALLED
from flashback_async.values import Attempt, NoAnswer, Request, Response, Retry, Secret
from tests.unit.support import turns

SECRET = Secret("canary-9f1c")
GET = Request("status.get", "GET", "/bucket/b/status", "b")
POST = Request("node_stats.get", "POST", "/node-stats", body=b'{"a": 1}')
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
ANSWER = Response(200, ((b"Content-Length", b"2"),), b"{}")
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"


class Connection(asyncio.Transport):
    """A connection in memory; it is lost a turn after it was closed, as a real one is."""

    def __init__(self, protocol):
        super().__init__()
        self.protocol = protocol
        self.written = []
        self.lost = False
        self._closing = False

    def write(self, data):
        if not self._closing:
            self.written.append(data)

    def is_closing(self):
        return self._closing

    def abort(self):
        self.lose()

    def lose(self, error=None):
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._lose, error)

    def _lose(self, error):
        self.lost = True
        self.protocol.connection_lost(error)

    def answer(self, data=OK):
        self.protocol.data_received(data)

    def end(self):
        """Pass on the end of the stream, after which the event loop closes the connection."""
        self.protocol.eof_received()
        self.lose()


class Net:
    """The maker of connections; ``steps`` is how many turns one takes."""

    def __init__(self, steps=1):
        self.connections = []
        self.steps = steps
        self.failure = None
        self.is_closed = False
        self.on_made = lambda connection: None

    async def connect(self, make_protocol, limit):
        await turns(self.steps)
        if self.failure is not None:
            return self.failure
        protocol = make_protocol()
        connection = Connection(protocol)
        self.connections.append(connection)
        protocol.connection_made(connection)
        self.on_made(connection)
        return protocol

    async def close(self):
        self.is_closed = True

    @property
    def written(self):
        return [len(connection.written) for connection in self.connections]

    @property
    def open(self):
        return [not connection.is_closing() for connection in self.connections]


def make(base_url="https://api.test", **net):
    """Return a transport, and the net that it connects to."""
    transport = DirectTransport(
        base_url,
        headers={"User-Agent": "tests"},
        longest_lookup=5.0,
        max_response_bytes=1000,
        ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )
    transport._connector = Net(**net)
    transport.open()
    return transport, transport._connector


class Exchange:
    """One exchange in a task of its own."""

    def __init__(self, transport, request=GET, *, fresh=False):
        self.attempt = Attempt(5.0, fresh=fresh)
        self.task = asyncio.create_task(transport.send(request, SECRET, self.attempt))

    async def reply(self):
        return await self.task


async def begun(transport, count=1, **options):
    """Return so many exchanges, whose requests have been sent."""
    exchanges = [Exchange(transport, **options) for _ in range(count)]
    await turns()
    return exchanges


async def answered(transport, net, count=1, **options):
    """Make so many exchanges at once, and leave their wires idle."""
    exchanges = await begun(transport, count, **options)
    for connection in net.connections:
        if connection.protocol._sink is not None:
            connection.answer()
    return [await exchange.reply() for exchange in exchanges]


# The pool.


async def test_the_wire_that_was_used_last_is_used_first():
    transport, net = make()
    exchanges = await begun(transport, 3)
    for n in (2, 0, 1):
        net.connections[n].answer()
    assert [await exchange.reply() for exchange in exchanges] == [ANSWER] * 3
    assert net.written == [1, 1, 1]
    assert await answered(transport, net) == [ANSWER]
    assert net.written == [1, 2, 1]
    await answered(transport, net, 2)
    assert net.written == [2, 3, 1]
    await transport.close()


async def test_a_wire_that_nobody_uses_for_a_round_is_closed_at_its_end():
    transport, net = make()
    await answered(transport, net, 2)
    for _ in range(5):
        await asyncio.sleep(5.0)
        await answered(transport, net)
    assert net.open == [False, True]
    await asyncio.sleep(7.4)
    assert net.open == [False, True]
    await asyncio.sleep(7.6)
    assert net.open == [False, False]
    assert asyncio.get_running_loop().timers == []
    assert await answered(transport, net) == [ANSWER]
    assert len(net.connections) == 3
    await transport.close()


@pytest.mark.parametrize("pause", [0.0, 1.0, 7.0, 7.5])
async def test_a_wire_is_idle_for_one_round_at_least_and_two_at_most(pause):
    transport, net = make()
    await answered(transport, net)
    await asyncio.sleep(pause)
    await answered(transport, net)
    await asyncio.sleep(7.4)
    assert net.open == [True]
    await asyncio.sleep(7.7)
    assert net.open == [False]
    await transport.close()


async def test_a_wire_in_use_outlives_the_rounds():
    transport, net = make()
    (exchange,) = await begun(transport)
    await asyncio.sleep(100.0)
    net.connections[0].answer()
    assert await exchange.reply() == ANSWER
    assert net.open == [True]
    await transport.close()


async def test_an_attempt_tells_whether_its_connection_was_used_before():
    transport, net = make()
    for expected in (False, True, True):
        (exchange,) = await begun(transport)
        assert exchange.attempt.reused is expected
        assert exchange.attempt.phase == "headers"
        net.connections[0].answer()
        await exchange.reply()
    await transport.close()


@pytest.mark.parametrize("how", ["lose", "end", "answer"])
async def test_an_idle_wire_that_is_lost_or_spoken_to_is_not_used(how):
    transport, net = make()
    await answered(transport, net)
    getattr(net.connections[0], how)()
    assert await answered(transport, net) == [ANSWER]
    assert net.written == [1, 1]
    assert net.open == [False, True]
    await transport.close()


@pytest.mark.parametrize("data", [LAST, OK + OK, OK + b"H"])
async def test_a_wire_is_not_used_after_an_answer_that_ends_it(data):
    transport, net = make()
    (exchange,) = await begun(transport)
    net.connections[0].answer(data)
    assert (await exchange.reply()).body == b"{}"
    assert net.open == [False]
    await transport.close()


async def test_a_wire_is_not_used_after_a_malformed_answer():
    transport, net = make()
    (exchange,) = await begun(transport)
    net.connections[0].answer(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")
    assert type((await exchange.reply()).error) is ProtocolError
    assert net.open == [False]
    await transport.close()


# What is sent.


async def test_requests_leave_together_once_the_event_loop_has_read():
    transport, net = make(steps=0)
    exchanges = [Exchange(transport) for _ in range(3)]
    await turns(2)
    assert net.written == [0, 0, 0]
    await turns(1)
    assert net.written == [1, 1, 1]
    for connection in net.connections:
        connection.answer()
    assert [await exchange.reply() for exchange in exchanges] == [ANSWER] * 3
    await transport.close()


async def test_what_an_idle_wire_receives_as_it_is_taken_is_no_answer():
    transport, net = make()
    await answered(transport, net)
    exchange = Exchange(transport)
    await turns(1)
    net.connections[0].answer()
    reply = await exchange.reply()
    assert (reply.retry, reply.sent) == (Retry.RECALLED, False)
    assert net.written == [1]
    assert net.open == [False]
    await transport.close()


@pytest.mark.parametrize("turn", [0, 1])
async def test_a_server_that_begins_by_sending_is_no_http(turn):
    transport, net = make()
    exchange = Exchange(transport)
    if turn == 0:
        net.on_made = lambda connection: connection.answer(b"SSH-2.0-canary-9f1c\r\n")
    else:
        await turns(2)
        net.connections[0].answer(b"SSH-2.0-canary-9f1c\r\n")
    reply = await exchange.reply()
    assert type(reply.error) is ProtocolError
    assert "begins by sending 'SSH-2.0-***" in str(reply.error)
    assert reply.retry is Retry.NEVER
    assert net.written == [0]
    await transport.close()


REFUSALS = {
    "framed": b"HTTP/1.1 %s\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbusy",
    "until_the_end": b"HTTP/1.0 %s\r\nRetry-After: 1\r\n\r\nbusy",
}


async def greeted(words, turn):
    """Return the reply to a request whose server speaks when it has accepted the connection."""
    transport, net = make()
    if turn == 0:
        net.on_made = lambda connection: connection.answer(words)
    exchange = Exchange(transport)
    if turn:
        await turns(turn)
        net.connections[0].answer(words)
    reply = await exchange.reply()
    assert net.written == [0]
    assert net.open == [False]
    await transport.close()
    return reply


@pytest.mark.parametrize("turn", [0, 2])
@pytest.mark.parametrize("form", REFUSALS)
@pytest.mark.parametrize("status", [b"408 Late", b"429 Busy", b"500 Oh", b"503 Full"])
async def test_a_server_that_is_full_may_say_so_before_it_is_asked(status, form, turn):
    reply = await greeted(REFUSALS[form] % status, turn)
    assert isinstance(reply, Response)
    assert (reply.status, reply.body) == (int(status[:3]), b"busy")
    assert (b"Retry-After", b"1") in reply.headers


@pytest.mark.parametrize("turn", [0, 2])
@pytest.mark.parametrize("end", [12, -6, -2])
async def test_a_refusal_that_arrives_in_parts_may_be_another_one_next_time(end, turn):
    reply = await greeted((REFUSALS["framed"] % b"503 Full")[:end], turn)
    assert type(reply.error) is ConnectionLostError
    assert "before it was asked" in str(reply.error)
    assert reply.retry is Retry.TRANSIENT


@pytest.mark.parametrize("turn", [0, 2])
@pytest.mark.parametrize("status", [b"200 OK", b"302 Found", b"401 No", b"403 No", b"404 No"])
async def test_what_is_about_a_request_is_refused_before_there_is_one(status, turn):
    reply = await greeted(REFUSALS["framed"] % status, turn)
    assert type(reply.error) is ProtocolError
    assert "begins by sending 'HTTP/1.1" in str(reply.error)
    assert reply.retry is Retry.NEVER


async def test_a_fresh_connection_costs_the_idle_ones_which_may_be_dead_too():
    transport, net = make()
    await answered(transport, net, 3)
    (exchange,) = await begun(transport, fresh=True)
    assert net.open == [False, False, False, True]
    assert not exchange.attempt.reused
    net.connections[3].answer()
    assert await exchange.reply() == ANSWER
    await transport.close()


@pytest.mark.parametrize(
    ("base_url", "host", "path"),
    [
        ("https://api.test", "api.test", ""),
        ("https://api.test.:8443/v1", "api.test:8443", "/v1"),
        ("http://127.0.0.1:80", "127.0.0.1:80", ""),
        ("http://[::1]:8080/a%20b", "[::1]:8080", "/a%20b"),
        ("http://[::1]", "[::1]", ""),
    ],
)
async def test_a_request_has_a_whole_head(base_url, host, path):
    transport, net = make(base_url)
    await answered(transport, net)
    await answered(transport, net, request=POST)
    get, post = (data.decode().split("\r\n") for data in net.connections[0].written)
    lines = [f"Host: {host}", "User-Agent: tests", "Authorization: Bearer canary-9f1c"]
    assert get == [f"GET {path}/bucket/b/status HTTP/1.1", *lines, "", ""]
    assert post == [
        f"POST {path}/node-stats HTTP/1.1",
        *lines,
        "Content-Type: application/json",
        "Content-Length: 8",
        "",
        '{"a": 1}',
    ]
    await transport.close()


async def test_each_request_has_the_token_of_its_own_attempt():
    transport, net = make()
    for token in ("one", "two", "one"):
        task = asyncio.create_task(transport.send(GET, Secret(token), Attempt(5.0)))
        await turns()
        assert f"\r\nAuthorization: Bearer {token}\r\n" in net.connections[0].written[-1].decode()
        net.connections[0].answer()
        await task
    await transport.close()


# Lost connections.


async def test_a_failure_to_connect_is_the_reply():
    transport, net = make()
    net.failure = NoAnswer(ConnectError("nobody there"), Retry.TRANSIENT)
    (exchange,) = await begun(transport)
    assert await exchange.reply() is net.failure
    assert exchange.attempt.phase == "connect"
    await transport.close()


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("how", ["lose", "end"])
async def test_a_wire_that_is_lost_before_its_first_use_sends_nothing(count, how):
    transport, net = make()
    net.on_made = lambda connection: getattr(connection, how)()
    exchanges = await begun(transport, count)
    for exchange in exchanges:
        reply = await exchange.reply()
        assert type(reply.error) is ConnectionLostError
        assert reply.retry is Retry.TRANSIENT
    assert net.written == [0] * count
    assert not any(net.open)
    await transport.close()


@pytest.mark.parametrize("error", [None, ConnectionResetError(104, "reset")])
async def test_a_wire_that_is_lost_before_its_answer_is_stale_only_if_it_was_used(error):
    transport, net = make()
    for expected in (Retry.TRANSIENT, Retry.STALE):
        (exchange,) = await begun(transport)
        net.connections[-1].lose(error)
        reply = await exchange.reply()
        assert type(reply.error) is ConnectionLostError
        assert ("reset" if error else "closed") in str(reply.error)
        assert reply.retry is expected
        await answered(transport, net)
    await transport.close()


async def test_a_wire_that_is_lost_under_its_answer_is_not_stale():
    transport, net = make()
    await answered(transport, net)
    for data, says in ((OK[:5], "before response"), (OK[:-1], "after 1 of 2 bytes")):
        await answered(transport, net)
        (exchange,) = await begun(transport)
        assert exchange.attempt.reused
        net.connections[-1].answer(data)
        net.connections[-1].lose()
        reply = await exchange.reply()
        assert reply.retry is Retry.TRANSIENT
        assert says in str(reply.error)
    await transport.close()


async def test_the_end_of_the_connection_completes_an_answer_without_a_length():
    transport, net = make()
    (exchange,) = await begun(transport)
    net.connections[0].answer(b"HTTP/1.1 200 OK\r\n\r\n{")
    net.connections[0].answer(b"}")
    net.connections[0].end()
    assert await exchange.reply() == Response(200, (), b"{}")
    await transport.close()


# Recall.


async def test_recalled_requests_that_were_not_sent_leave_their_wires_idle():
    transport, net = make()
    await answered(transport, net, 3)
    sent = Exchange(transport)
    await turns()
    waiting = [Exchange(transport) for _ in range(2)]
    await turns(1)
    transport.recall()
    assert [await exchange.reply() for exchange in waiting] == [RECALLED] * 2
    await turns()
    assert sum(net.written) == 4
    assert not sent.task.done()
    assert net.open == [True] * 3
    assert len(transport._pool._idle) == 2
    await answered(transport, net, 2)
    assert await sent.reply() == ANSWER
    assert len(net.connections) == 3
    await transport.close()


async def test_a_wire_whose_request_was_recalled_may_serve_another_in_the_same_turn():
    transport, net = make()
    await answered(transport, net, 3)
    (sent,) = await begun(transport)
    recalled = [Exchange(transport) for _ in range(2)]
    await turns(1)
    transport.recall()
    again = [Exchange(transport) for _ in range(2)]
    await turns()
    assert [await exchange.reply() for exchange in recalled] == [RECALLED] * 2
    assert net.written == [2, 2, 2]
    for connection in net.connections:
        connection.answer()
    assert [await exchange.reply() for exchange in (sent, *again)] == [ANSWER] * 3
    await transport.close()


async def test_a_request_that_is_recalled_while_it_connects_leaves_the_new_wire_idle():
    transport, net = make(steps=5)
    exchanges = [Exchange(transport) for _ in range(2)]
    await turns(2)
    transport.recall()
    assert [await exchange.reply() for exchange in exchanges] == [RECALLED] * 2
    assert net.written == [0, 0]
    assert net.open == [True, True]
    (exchange,) = await begun(transport)
    assert not exchange.attempt.reused
    assert len(net.connections) == 2
    await transport.close()
    await exchange.reply()


async def test_a_request_that_was_sent_cannot_be_recalled():
    transport, net = make()
    exchanges = await begun(transport, 2)
    transport.recall()
    for connection in net.connections:
        connection.answer()
    assert [await exchange.reply() for exchange in exchanges] == [ANSWER] * 2
    await transport.close()


# Unread bytes that are no answer, such as the session tickets of TLS 1.3.


@pytest.fixture
def unread():
    """A socket with unread bytes, which no connection reads."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"a ticket")
        yield ours


async def held_back(transport, net, unread):
    """Return an exchange whose request is held back."""
    net.on_made = lambda connection: setattr(connection.protocol, "descriptor", unread.fileno())
    exchange = Exchange(transport)
    while not transport._sender._held:
        await turns(1)
    assert net.written == [0]
    return exchange


async def test_a_request_is_sent_once_the_loop_had_time_to_read(unread):
    transport, net = make()
    exchange = await held_back(transport, net, unread)
    await turns(1)
    assert net.written == [0]
    await turns(2)
    assert net.written == [1]
    net.connections[0].answer()
    assert await exchange.reply() == ANSWER
    await transport.close()


async def test_a_request_that_is_held_back_is_recalled(unread):
    transport, net = make()
    exchange = await held_back(transport, net, unread)
    transport.recall()
    assert await exchange.reply() is RECALLED
    await turns()
    assert (net.written, net.open, len(transport._pool._idle)) == ([0], [True], 1)
    await transport.close()


async def test_a_request_that_is_cancelled_while_held_back_leaves_its_wire_idle(unread):
    transport, net = make()
    exchange = await held_back(transport, net, unread)
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange.reply()
    await turns()
    assert (net.written, net.open, len(transport._pool._idle)) == ([0], [True], 1)
    await transport.close()


# Cancellation.


@pytest.mark.parametrize("others", [0, 2])
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("turn", range(9))
async def test_a_cancellation_in_any_turn_leaves_every_wire_idle_or_closed(turn, warm, others):
    transport, net = make(steps=3)
    if warm:
        await answered(transport, net, others + 1)
    neighbours = [Exchange(transport) for _ in range(others)]
    exchange = Exchange(transport)
    await turns(turn)
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange.reply()
    await turns()
    for connection in net.connections:
        if connection.protocol._sink is not None:
            connection.answer()
    assert [await neighbour.reply() for neighbour in neighbours] == [ANSWER] * others
    await turns()
    pool = transport._pool
    assert (transport._sender._ready, transport._sender._held) == ([], [])
    assert set(pool._idle) == pool._wires
    assert await answered(transport, net) == [ANSWER]
    await transport.close()
    assert pool._wires == set()


async def test_a_request_that_is_cancelled_before_it_is_sent_leaves_its_wire_idle():
    transport, net = make()
    await answered(transport, net, 3)
    sent, *unsent = (Exchange(transport) for _ in range(3))
    await turns(1)
    for exchange in unsent:
        exchange.task.cancel()
    await turns()
    net.connections[2].answer()
    assert await sent.reply() == ANSWER
    written, are_open = net.written, net.open
    await transport.close()
    assert written == [1, 1, 2]
    assert are_open == [True] * 3


async def test_a_request_that_is_cancelled_after_it_was_sent_costs_its_wire():
    transport, net = make()
    (exchange,) = await begun(transport)
    net.connections[0].answer(OK[:-1])
    exchange.task.cancel()
    await turns()
    assert net.open == [False]
    assert exchange.attempt.received == 1
    await transport.close()


async def test_an_answer_that_comes_with_the_cancellation_leaves_the_wire_to_others():
    transport, net = make()
    (exchange,) = await begun(transport)
    net.connections[0].answer()
    exchange.task.cancel()
    other = Exchange(transport)
    await turns()
    assert exchange.task.cancelled()
    assert net.written == [2]
    net.connections[0].answer()
    assert await other.reply() == ANSWER
    await transport.close()


async def test_an_answer_to_a_cancelled_request_is_not_passed_on():
    transport, net = make()
    (exchange,) = await begun(transport)
    exchange.task.cancel()
    net.connections[0].answer()
    with pytest.raises(asyncio.CancelledError):
        await exchange.reply()
    assert net.open == [True]
    await transport.close()


# Connections that may not be used again.


async def test_a_forced_end_closes_an_idle_wire_at_once():
    transport, net = make()
    (exchange,) = await begun(transport)
    net.connections[0].answer()
    await exchange.reply()
    exchange.attempt.connection.force_close()
    assert net.open == [False]
    await answered(transport, net)
    assert net.written == [1, 1]
    await transport.close()


async def test_a_forced_end_lets_another_exchange_on_the_wire_end_first():
    transport, net = make()
    (first,) = await begun(transport)
    net.connections[0].answer()
    await first.reply()
    (second,) = await begun(transport)
    first.attempt.connection.force_close()
    assert net.open == [True]
    net.connections[0].answer()
    assert await second.reply() == ANSWER
    assert net.open == [False]
    await transport.close()


async def test_a_forced_end_holds_although_the_next_request_on_the_wire_is_recalled():
    transport, net = make()
    await answered(transport, net)
    (running,) = await begun(transport)
    (first,) = await begun(transport)
    net.connections[1].answer()
    await first.reply()
    second = Exchange(transport)
    await turns(1)
    first.attempt.connection.force_close()
    transport.recall()
    assert await second.reply() is RECALLED
    are_open = net.open
    net.connections[0].answer()
    assert await running.reply() == ANSWER
    await transport.close()
    assert are_open == [True, False]


# The end.


async def test_closing_waits_until_every_connection_is_lost():
    transport, net = make()
    await answered(transport, net, 3)
    (exchange,) = await begun(transport)
    await transport.close()
    assert [connection.lost for connection in net.connections] == [True] * 3
    assert net.is_closed
    assert asyncio.get_running_loop().timers == []
    reply = await exchange.reply()
    assert type(reply.error) is ConnectionLostError
    await transport.close()


async def test_closing_is_the_same_the_second_time_and_at_one_time():
    transport, net = make()
    await transport.close()
    transport, net = make()
    await answered(transport, net, 2)
    await asyncio.gather(transport.close(), transport.close())
    await transport.close()
    assert net.open == [False, False]


async def test_nothing_is_sent_after_the_end():
    transport, net = make()
    await answered(transport, net)
    await transport.close()
    (exchange,) = await begun(transport)
    reply = await exchange.reply()
    assert type(reply.error) is ClientClosedError
    assert not reply.sent
    assert net.written == [1]


async def test_a_wire_that_is_freed_after_the_end_is_closed():
    transport, net = make(steps=5)
    exchanges = [Exchange(transport) for _ in range(2)]
    await turns(2)
    transport.recall()
    await transport.close()
    assert not any([(await exchange.reply()).sent for exchange in exchanges])
    assert net.open == [False, False]


async def test_an_unsent_request_is_not_lost_with_its_wire():
    transport, net = make()
    await answered(transport, net, 3)
    exchanges = [Exchange(transport) for _ in range(3)]
    await turns(1)
    await transport.close()
    for exchange in exchanges:
        reply = await exchange.reply()
        assert (reply.retry, reply.sent) == (Retry.RECALLED, False)
    assert net.written == [1, 1, 1]


async def test_a_request_that_connects_is_not_sent_after_the_end():
    transport, net = make(steps=5)
    exchange = Exchange(transport)
    await turns(2)
    await transport.close()
    await turns()
    written = net.written
    exchange.task.cancel()
    await turns()
    assert written == [0]
    assert type((await exchange.reply()).error) is ClientClosedError


async def test_a_timeout_while_it_connects_is_the_reply():
    transport, net = make()
    net.failure = NoAnswer(RequestTimeoutError("too slow"), Retry.TRANSIENT)
    assert await Exchange(transport).reply() is net.failure
    await transport.close()
