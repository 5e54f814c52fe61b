"""What the servers of pages log: their own errors, and nothing of what strangers send."""

import asyncio
import contextlib
import logging

import aiohttp
import pytest

from flashback_async.pages.exporter.address import Address
from flashback_async.pages.exporter.server import serving
from tests.integration.command import GUARD
from tests.integration.dashboards import served

MALFORMED = {
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "a long path": b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 10_000 + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "no HTTP": b"hello\r\n\r\n",
    "a bad chunk": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a bad length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "a bad second": b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /\x00 nonsense\r\n\r\n",
}


class Broken:
    """A scrape that fails."""

    def __init__(self, form):
        raise ZeroDivisionError("ours")


@contextlib.asynccontextmanager
async def exporter():
    async with serving(Address("127.0.0.1", 0), Broken) as url:
        yield url


@contextlib.asynccontextmanager
async def dashboard():
    async with served() as (board, _, _):
        yield board.url.removesuffix("/")


SERVERS = pytest.mark.parametrize("server", [exporter, dashboard])


async def send(url, request):
    """Send bytes, and wait until the server closes the connection."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    writer.write_eof()
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@SERVERS
async def test_malformed_requests_log_nothing(server, caplog, capsys):
    async with asyncio.timeout(GUARD), server() as url:
        with caplog.at_level(logging.INFO):
            for request in MALFORMED.values():
                await send(url, request)
    assert caplog.records == []
    assert capsys.readouterr().err == ""


@SERVERS
async def test_an_error_of_ours_is_logged(server, monkeypatch, caplog):
    def fail(*_):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("flashback_async.pages.dashboard.live.Live.details", fail)
    async with server() as url, aiohttp.ClientSession() as session:
        path = "/bucket/a" if server is dashboard else "/metrics"
        async with session.get(url + path) as answer:
            assert answer.status == 500
    (record,) = caplog.records
    assert isinstance(record.exc_info[1], ZeroDivisionError)
    assert record.levelno == logging.ERROR
