"""The server's connections: who is connected, and how to be rid of all of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from flashback_async.sandbox.api import MAX_TARGET

# aiohttp reports malformed HTTP as an error. It is the caller's, so it is told to those who listen
# and does not land on the standard error of those who do not.
_logger = logging.getLogger("flashback_async.sandbox")
_logger.addHandler(logging.NullHandler())


class Connections(web.Server):
    """A low-level aiohttp server whose connections can all be cut at once.

    aiohttp's own runner waits for calls under way and for peers that do not read their answer.
    """

    def __init__(self, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        """Take the function that answers each request."""
        super().__init__(
            handle,
            handler_cancellation=True,  # no work for a caller that has gone
            access_log=None,
            logger=_logger,
            # Well above our own limit, so that it is ours that answers, in the documented form.
            max_line_size=4 * MAX_TARGET,
        )
        self._transports: dict[web.RequestHandler, asyncio.Transport] = {}
        self._closing = False

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Note a new connection; a latecomer is cut at once."""
        super().connection_made(handler, transport)
        self._transports[handler] = transport
        if self._closing:
            transport.abort()

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Forget a connection."""
        self._transports.pop(handler, None)
        super().connection_lost(handler, exc)

    async def disconnect(self) -> None:
        """Cut every connection and wait for its task to end; the listener must be closed."""
        self._closing = True
        for transport in self._transports.values():
            transport.abort()
        # Their tasks are cancelled by the loss and end within a few turns. One turn at least: a
        # connection that the loop has just taken is handed over in it.
        while True:
            await asyncio.sleep(0)
            if not self._transports and not self.connections:
                return
