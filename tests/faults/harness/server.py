"""A server that does exactly what a script says and records every request.

A script is a list of steps, one for each request in the order of arrival. A step is the bytes to
send, an ``async def step(conn, request)``, or a list of steps to take one after the other.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import sys
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from tests.faults.harness.answers import ok_node_stats, ok_stats, ok_status

_LINGER_0 = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class Request(NamedTuple):
    """A request as received; ``number`` counts those of the server, from 1."""

    number: int
    conn: Conn
    at: float
    raw: bytes
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:  # the headers hold the token, which a traceback must not show
        return f"<request {self.number}: {self.method} {self.target}>"


class Conn:
    """The server's end of one connection; ``number`` counts them from 1."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.requests = 0

    @property
    def closed(self) -> bool:
        return self.writer.transport.is_closing()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def trickle(self, data: bytes, pause: float = 0.0, size: int = 1) -> None:
        """Send a few bytes at a time, each part in its own packet."""
        for start in range(0, len(data), size):
            await self.send(data[start : start + size])
            await asyncio.sleep(pause)

    def close(self) -> None:
        """Send what is buffered, then FIN."""
        self.writer.close()

    def half_close(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        """Send RST and drop what is buffered."""
        self.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0
        )
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Send nothing until the client closes the connection."""
        while await self.reader.read(2**16):
            pass


Step = bytes | Callable[[Conn, Request], Awaitable[None]] | list["Step"]
Greeting = Callable[[Conn], Awaitable[None]]


async def close(conn: Conn, _: Request) -> None:
    conn.close()


async def reset(conn: Conn, _: Request) -> None:
    await asyncio.sleep(0.01)  # so that the client reads the earlier bytes first
    conn.reset()


async def hang(conn: Conn, _: Request) -> None:
    await conn.gone()


async def healthy(conn: Conn, request: Request) -> None:
    """Answer as the API does, about the bucket that was asked for."""
    await conn.send(good_answer(request))


async def vanish(conn: Conn, _: Request) -> None:
    """Read and send nothing more, as a host that lost power."""
    conn.writer.transport.pause_reading()
    await asyncio.Event().wait()


def together(count: int, then: Step = healthy) -> Step:
    """Hold requests until ``count`` of them are in flight, then continue with all of them."""
    arrived: list[Request] = []
    complete = asyncio.Event()

    async def step(_: Conn, request: Request) -> None:
        arrived.append(request)
        if len(arrived) == count:
            complete.set()
        await complete.wait()
        await take(then, request)

    return step


def trickle(data: bytes, pause: float = 0.0, size: int = 1) -> Step:
    return lambda conn, _: conn.trickle(data, pause, size)


def pause(seconds: float) -> Step:
    return lambda _, __: asyncio.sleep(seconds)


def good_answer(request: Request) -> bytes:
    url = urlsplit(request.target)
    parts = url.path.split("/")
    if parts[-1] == "status":
        return ok_status(unquote(parts[-2]))
    if request.method == "POST":
        return ok_node_stats()
    asked = parse_qs(url.query).get("bucketId", ["bucket-1,bucket-2"])
    return ok_stats(asked[0].split(","))


class ScriptedServer:
    """A server on loopback; after the end of its script, every request gets the step ``then``.

    Args:
        script: What to do for the first request, the second, and so on.
        then: What to do for all further ones.
        greet: What to do with a connection before any request is read.
        tls: The context of a TLS server.
        now: The clock that requests are stamped with.
    """

    def __init__(
        self,
        *script: Step,
        then: Step = healthy,
        greet: Greeting | None = None,
        tls: ssl.SSLContext | None = None,
        now: Callable[[], float] | None = None,
        host: str = "127.0.0.1",
        backlog: int = 2048,
    ) -> None:
        self.script = list(script)
        self.then = then
        self.greet = greet
        self.tls = tls
        self.host = host
        self.requests: list[Request] = []
        self.connections: list[Conn] = []
        self.tasks: set[asyncio.Task[object]] = set()
        self.errors: list[BaseException] = []
        self._now = now or asyncio.get_running_loop().time
        self._backlog = backlog
        self._server: asyncio.Server | None = None
        # Bound at once, so that the port is kept: until it listens, connections are refused.
        self._socket: socket.socket | None = self._bind(0)
        self.port: int = self._socket.getsockname()[1]

    @property
    def url(self) -> str:
        scheme = "http" if self.tls is None else "https"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        return () if self._server is None else tuple(self._server.sockets)

    @property
    def open_connections(self) -> int:
        return sum(not conn.closed for conn in self.connections)

    @property
    def targets(self) -> list[str]:
        return [request.target for request in self.requests]

    async def __aenter__(self) -> ScriptedServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; after a stop, on the same port again."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve,
                sock=self._socket or self._bind(self.port),
                ssl=self.tls,
                limit=2**22,
                backlog=self._backlog,
            )
            self._socket = None

    async def stop(self, *, reset: bool = False) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for conn in self.connections:
            if not conn.closed:
                conn.reset() if reset else conn.writer.transport.abort()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the sockets close in the next iteration of the loop

    async def restart(self, *, reset: bool = False) -> None:
        await self.stop(reset=reset)
        await self.start()

    async def become_healthy(self, tls: ssl.SSLContext | None) -> None:
        """Answer everything as the API does from now on."""
        self.script, self.then, self.greet = [], healthy, None
        if self.tls is not tls:
            await self.stop()
            self.tls = tls
        await self.start()

    def _bind(self, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        bound = socket.socket(family)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((self.host, port))
        bound.setblocking(False)
        return bound

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        conn = Conn(len(self.connections) + 1, reader, writer)
        self.connections.append(conn)
        try:
            if self.greet is not None:
                await self.greet(conn)
            while not conn.closed and (request := await self._receive(conn)):
                n = request.number
                await take(self.script[n - 1] if n <= len(self.script) else self.then, request)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass  # the client has closed the connection
        except asyncio.CancelledError:
            writer.transport.abort()
        except Exception as error:  # reported at the end of the test
            self.errors.append(error)
        finally:
            writer.close()
            self.tasks.discard(task)

    async def _receive(self, conn: Conn) -> Request | None:
        try:
            head = await conn.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await conn.reader.readexactly(int(headers.get("content-length", 0)))
        conn.requests += 1
        number = len(self.requests) + 1
        request = Request(number, conn, self._now(), head + body, method, target, headers, body)
        self.requests.append(request)
        return request


async def take(step: Step, request: Request) -> None:
    if isinstance(step, bytes):
        await request.conn.send(step)
    elif isinstance(step, list):
        for one in step:
            await take(one, request)
    else:
        await step(request.conn, request)
