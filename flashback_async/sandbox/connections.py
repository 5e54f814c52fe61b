"""The server's listener and its connections, all of which can be closed at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from flashback_async.sandbox.api import MAX_TARGET

# aiohttp reports malformed HTTP as an error. It is the caller's mistake, so the report goes to the
# handlers that an application has set up, and never to its standard error.
_logger = logging.getLogger("flashback_async.sandbox")
_logger.addHandler(logging.NullHandler())

_BACKLOG = 1_024  # connections that wait to be accepted: a crowd of clients connects at once
_A_TIMER = 1e-6  # seconds; asyncio.sleep(0) would set none


class Connections(web.Server):
    """A low-level aiohttp server that listens once and closes everything at once.

    aiohttp's own runner waits for requests in flight and for peers that do not read their answer.
    """

    def __init__(self, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        """Keep the function that answers each request."""
        super().__init__(
            handle,
            handler_cancellation=True,  # no work for a caller that has disconnected
            access_log=None,
            logger=_logger,
            # Well above our own limit, so that ours applies, with the documented body.
            max_line_size=4 * MAX_TARGET,
        )
        self._transports: dict[web.RequestHandler, asyncio.Transport] = {}
        self._listener: asyncio.Server | None = None
        self._closing = False

    async def listen(self, host: str, port: int) -> int:
        """Start to listen and return the port; an error or a cancellation leaves nothing open.

        Raises:
            OSError: The port is taken.
        """
        loop = asyncio.get_running_loop()
        # The loop's own way to do both at once keeps listening if it is cancelled in between.
        self._listener = await loop.create_server(
            self, host, port, backlog=_BACKLOG, start_serving=False
        )
        try:
            await self._listener.start_serving()
        except BaseException:
            await self.close()
            raise
        bound_port: int = self._listener.sockets[0].getsockname()[1]
        return bound_port

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Record a new connection; abort it if the server is closing."""
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

    async def close(self) -> None:
        """Close the listener, abort every connection, and wait for their tasks to end.

        A cancellation ends the wait alone: by then everything is closed.
        """
        assert self._listener is not None  # noqa: S101 - `listen` has set it
        try:
            # asyncio accepts a connection in two steps. Closing the listener between them loses
            # the connection's socket. A timer expires after the first step, and the task that
            # waits for it resumes after the second.
            await asyncio.sleep(_A_TIMER)
        finally:
            self._listener.close()
            self._closing = True
            for transport in self._transports.values():
                transport.abort()
        # Aborting cancels the connections' tasks, which end within a few iterations of the loop.
        # One iteration at least: it delivers a connection that the loop has just accepted.
        while True:
            await asyncio.sleep(0)
            if not self._transports and not self.connections:
                break
        await self._listener.wait_closed()
