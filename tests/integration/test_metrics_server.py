"""The server of the exporter, with scrapers that do not read."""

import asyncio
import contextlib
import itertools

import aiohttp

from flashback_async.pages.exporter import server
from flashback_async.pages.exporter.address import Address
from flashback_async.pages.exporter.server import serving
from tests.integration.command import GUARD


class Endless:
    """A scrape without an end."""

    def __init__(self, form):
        self.form = form
        self.sent = 0
        self.ended = asyncio.Event()

    def slices(self):
        return iter(())

    def blocks(self):
        try:
            for block in itertools.repeat(b"# more\n" * 10_000):
                self.sent += 1
                yield block
        finally:
            self.ended.set()


@contextlib.asynccontextmanager
async def deaf_scraper(url):
    """Ask for a scrape and do not read it; yield the reader."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1_000)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        yield reader
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def endless():
    scrapes = []

    def make(form):
        scrapes.append(Endless(form))
        return scrapes[-1]

    async with asyncio.timeout(GUARD), serving(Address("127.0.0.1", 0), make) as url:
        yield url, scrapes


async def stalled(scrapes):
    """Wait until a scrape waits for its reader; return it."""
    while not scrapes or not scrapes[0].sent:
        await asyncio.sleep(0.01)
    (scrape,), before = scrapes, -1
    while scrape.sent != before:
        before = scrape.sent
        await asyncio.sleep(0.02)
    return scrape


async def test_a_scrape_that_nobody_reads_is_cut_off_and_looks_incomplete(monkeypatch, caplog):
    monkeypatch.setattr(server, "_MOST", 0.2)
    async with endless() as (url, scrapes), deaf_scraper(url) as reader:
        await stalled(scrapes)
        await scrapes[0].ended.wait()
        with contextlib.suppress(ConnectionError):
            assert not (await reader.read()).endswith(b"0\r\n\r\n")
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert answer.status == 200  # others are served
    assert [record.getMessage() for record in caplog.records] == [
        "exporter: a scrape was not read within 0.2 s and is cut off"
    ]


async def test_a_scrape_ends_quietly_when_its_reader_goes(caplog):
    async with endless() as (url, scrapes):
        async with deaf_scraper(url) as reader:
            await reader.readexactly(1_000)
        await scrapes[0].ended.wait()
    assert caplog.records == []


async def test_the_server_ends_although_a_scrape_is_under_way(caplog):
    async with contextlib.AsyncExitStack() as stack:
        async with endless() as (url, scrapes):
            await stack.enter_async_context(deaf_scraper(url))
            scrape = await stalled(scrapes)
        async with asyncio.timeout(GUARD):
            await scrape.ended.wait()
    assert caplog.records == []


async def test_a_scrape_too_many_is_refused_until_another_has_ended(monkeypatch):
    monkeypatch.setattr(server, "_MOST_SCRAPES", 2)
    async with endless() as (url, scrapes), aiohttp.ClientSession() as session:
        async with deaf_scraper(url) as first, deaf_scraper(url) as second:
            await first.readline()
            await second.readline()
            async with session.get(f"{url}/metrics") as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
                assert await answer.text() == "2 scrapes are under way already.\n"
            async with session.head(f"{url}/metrics") as answer:
                assert answer.status == 200
            assert len(scrapes) == 2
        for scrape in scrapes:
            await scrape.ended.wait()
        async with deaf_scraper(url) as third:
            assert await third.readline() == b"HTTP/1.1 200 OK\r\n"
