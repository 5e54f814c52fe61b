"""A page on this machine that shows what a watch knows, and stays up to date."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from contextlib import suppress
from types import TracebackType
from typing import Final, Self
from urllib.parse import unquote

from aiohttp import web

from flashback_async import Watch
from flashback_async.pages.dashboard import guard
from flashback_async.pages.dashboard.live import Live
from flashback_async.pages.http_log import HTTP_LOG
from flashback_async.pages.look import LOOKS, static_text

_HOST = "127.0.0.1"
_MOST_VIEWERS = 50
_RETRY_AFTER = "10"  # seconds, for a viewer too many
_SHUTDOWN = 0.2  # seconds for connections at the end
_SEND_BUFFER = 131_072  # bytes that the system keeps for a viewer; else it may be megabytes
_BUCKET: Final = "/bucket/"
# The parts of the page's script, in their order: some use an earlier one as they are read.
_SCRIPT = ("texts", "model", "panels", "cells", "bucket", "live")


class Dashboard:
    """A web server on the loopback interface whose page shows an open watch.

    Use it as an asynchronous context manager within that of the watch. It takes the changes of
    the watch, so nothing else may.

    Args:
        watch: The watch.
        interval: The seconds between two polls of a bucket that the watch was made with; the page
            shows them.
        port: The port to listen on; 0 takes a free one.
        gone_after: The seconds that a bucket may be gone before that is a problem. With a watch
            of all buckets, it should outlast the time until it lists them again.
    """

    def __init__(
        self, watch: Watch, *, interval: float, port: int = 0, gone_after: float = 0.0
    ) -> None:
        self._live = Live(watch, interval, _MOST_VIEWERS, gone_after)
        self._port = port
        self._following: asyncio.Task[None] | None = None
        self._runner = web.AppRunner(
            self._app(),
            access_log=None,
            logger=HTTP_LOG,
            handler_cancellation=True,  # a viewer that leaves ends its handler
            shutdown_timeout=_SHUTDOWN,
        )

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{_HOST}:{self._port}/"

    async def __aenter__(self) -> Self:
        """Begin to listen.

        Raises:
            OSError: The port is taken.
        """
        try:
            await self._runner.setup()
            site = web.TCPSite(self._runner, _HOST, self._port)
            await site.start()
            self._port = site.port
        except BaseException:
            await self._runner.cleanup()
            raise
        self._following = asyncio.create_task(self._live.follow())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the viewers go, and stop to listen."""
        following = self._following
        try:
            if following is not None:
                following.cancel()
                await asyncio.wait([following])
                if not following.cancelled():
                    following.exception()  # `ended` raises it to those who ask
            await self._live.stream.end(None, _SHUTDOWN)
        finally:
            await self._runner.cleanup()

    async def ended(self) -> None:
        """Wait until the watch ends.

        Raises:
            FlashbackError: What ended it, such as a rejected token.
            RuntimeError: The dashboard is not open.
        """
        if self._following is None:
            raise RuntimeError("the dashboard is not open: wait within its 'async with' block")
        await asyncio.shield(self._following)

    # What it answers.

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[guard.refuse_strangers])
        app.on_response_prepare.append(guard.add_headers)
        app.router.add_get("/", self._page)
        app.router.add_get("/events", self._events)
        app.router.add_get(f"{_BUCKET}{{id:.+}}", self._bucket)
        return app

    async def _page(self, _: web.Request) -> web.Response:
        nonce = secrets.token_urlsafe(16)
        return web.Response(
            text=_page(nonce),
            content_type="text/html",
            headers={"Content-Security-Policy": guard.policy(nonce)},
        )

    async def _bucket(self, request: web.Request) -> web.Response:
        # The path as it was sent: an id may hold slashes, and what looks like an escape.
        path = request.raw_path.partition("?")[0]
        found = self._live.details(unquote(path.partition(_BUCKET)[2]))
        if found is None:
            raise web.HTTPNotFound(text="There is no such bucket.\n")
        return web.json_response(found)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        stream, headers = self._live.stream, {"Content-Type": "text/event-stream"}
        if stream.is_full:
            raise web.HTTPServiceUnavailable(
                text=f"{_MOST_VIEWERS} others look at it already.\n",
                headers={"Retry-After": _RETRY_AFTER},
            )
        if request.method == "HEAD":
            return web.Response(headers=headers)
        response = web.StreamResponse(headers=headers)
        connection: socket.socket | None = request.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        with suppress(ConnectionError):
            await response.prepare(request)
            try:
                await stream.follow(response.write)
            except TimeoutError:
                if request.transport is not None:
                    request.transport.abort()  # what is not read cannot be ended in good order
        return response


def _page(nonce: str) -> str:
    """Return the page, with its style and script in it."""
    looks = [look._asdict() for look in LOOKS]
    parts = {
        "nonce": nonce,
        "style": static_text("look.css") + static_text("dashboard/page.css"),
        "looks": _for_script(looks),
        "script": "\n".join(static_text(f"dashboard/{name}.js") for name in _SCRIPT),
    }
    page = static_text("dashboard/page.html")
    for name, text in parts.items():
        page = page.replace(f"{{{{{name}}}}}", text)
    return page


def _for_script(value: object) -> str:
    """Return JSON that stays JSON within a script element, whatever texts it holds."""
    return json.dumps(value).replace("<", "\\u003c")
