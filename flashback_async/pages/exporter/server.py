"""The HTTP server of the exporter: scrapes, and a page that links to them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

from aiohttp import web

from flashback_async import ConfigurationError
from flashback_async.pages.exporter.address import Address
from flashback_async.pages.exporter.exposition import Form
from flashback_async.pages.exporter.metrics import Scrape
from flashback_async.pages.exporter.negotiation import accepts_gzip, chosen_form
from flashback_async.pages.http_log import HTTP_LOG

logger = logging.getLogger("flashback_async")

# Seconds for requests under way when the server ends, and for a scrape in all.
_GRACE = 0.1
_MOST = 60.0

# Scrapes under way. Each may hold a whole page in memory, until its reader takes it.
_MOST_SCRAPES = 10
_RETRY_AFTER = "10"  # seconds, for a scrape too many

_GZIP = zlib.MAX_WBITS | 16
_FAST = 1  # the level of compression; the best one makes a scrape a third smaller
_INDEX = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Flashback exporter</title></head>
<body><h1>Flashback exporter</h1><p><a href="/metrics">Metrics</a></p></body></html>
"""

MakeScrape = Callable[[Form], Scrape]


@asynccontextmanager
async def serving(address: Address, make_scrape: MakeScrape) -> AsyncIterator[str]:
    """Serve scrapes for the length of an ``async with`` block; yield the URL of the server.

    Raises:
        ConfigurationError: The address cannot be listened on; the message begins with "listen".
    """
    pages = _Pages(make_scrape)
    app = web.Application()
    app.add_routes([web.get("/", pages.index), web.get("/metrics", pages.metrics)])
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=HTTP_LOG,
        shutdown_timeout=_GRACE,
        handler_cancellation=True,
    )
    await runner.setup()
    try:
        await _listen(runner, address)
        host, port = runner.addresses[0][:2]
        yield f"http://{Address(host, port)}"
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, address: Address) -> None:
    try:
        await web.TCPSite(runner, address.host, address.port).start()
    except (OSError, UnicodeError) as error:
        problem = f"listen: cannot listen on {str(address)!a}: {_reason(error)}"
        raise ConfigurationError(problem) from error


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "the host is no valid name"
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    return os.strerror(error.errno)


class _Pages:
    """What the server answers."""

    def __init__(self, make_scrape: MakeScrape) -> None:
        self._make_scrape = make_scrape
        self._under_way = 0

    async def index(self, _: web.Request) -> web.Response:
        """Answer with a link to the metrics."""
        return web.Response(text=_INDEX, content_type="text/html")

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Answer a scrape, unless too many are under way.

        One that takes longer than a minute to send is cut off.
        """
        form = chosen_form(request.headers.getall("Accept", []))
        is_packed = accepts_gzip(request.headers.getall("Accept-Encoding", []))
        headers = {"Content-Type": form.value, "Vary": "Accept, Accept-Encoding"}
        if is_packed:
            headers["Content-Encoding"] = "gzip"
        if request.method == "HEAD":
            return web.Response(headers=headers)
        if self._under_way >= _MOST_SCRAPES:
            raise web.HTTPServiceUnavailable(
                text=f"{_MOST_SCRAPES} scrapes are under way already.\n",
                headers={"Retry-After": _RETRY_AFTER},
            )
        self._under_way += 1
        try:
            scrape = self._make_scrape(form)
            for _ in scrape.slices():
                await asyncio.sleep(0)
            blocks = _packed(scrape.blocks()) if is_packed else scrape.blocks()
            return await _send(request, web.StreamResponse(headers=headers), blocks)
        finally:
            self._under_way -= 1


async def _send(
    request: web.Request, response: web.StreamResponse, blocks: Iterator[bytes]
) -> web.StreamResponse:
    """Send a response block by block; one that breaks off must not look complete."""
    transport, is_whole = request.transport, False
    try:
        async with asyncio.timeout(_MOST):
            await response.prepare(request)
            for block in blocks:
                if block:
                    await response.write(block)
                await asyncio.sleep(0)
            await response.write_eof()
        is_whole = True
    except TimeoutError:
        logger.warning("exporter: a scrape was not read within %g s and is cut off", _MOST)
    except ConnectionError:
        pass  # the scraper has gone
    finally:
        if not is_whole and transport is not None:
            transport.abort()
    return response


def _packed(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Compress the blocks of a page; most of them only add to a later one, and become empty."""
    packer = zlib.compressobj(_FAST, wbits=_GZIP)
    for block in blocks:
        yield packer.compress(block)
    yield packer.flush()
