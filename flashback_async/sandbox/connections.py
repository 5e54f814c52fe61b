"""The server's listener and its connections, all of which can be closed and reopened at once."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web

from flashback_async.sandbox.api import MAX_TARGET
from flashback_async.sandbox.listener import Listener, bound_socket, check_free

# aiohttp reports malformed HTTP as an error. It is the caller's mistake, so the report goes to the
# handlers that an application has set up, and never to its standard error.
_logger = logging.getLogger("flashback_async.sandbox")
_logger.addHandler(logging.NullHandler())


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
        self._arriving: set[asyncio.Task[None]] = set()  # accepted connections without a transport
        self._listener: Listener | None = None  # None while the server is down or closed
        self._placeholder: socket.socket | None = None  # keeps the port while nobody listens
        self._address = ("", 0)
        self._closed = False

    def listen(self, host: str, port: int) -> int:
        """Start to listen in the running loop, and return the port.

        Raises:
            OSError: The port is taken.
        """
        if port:
            check_free(host, port)
        bound = bound_socket(host, port, listens=True)
        self._address = bound.getsockname()
        self._listener = Listener(bound, self._accepted)
        return self._address[1]

    def go_down(self) -> None:
        """Refuse connections from now on, and cut the open ones; the port stays ours."""
        if self._listener is not None:
            if os.name == "posix":
                self._placeholder = bound_socket(*self._address, listens=False)
            self._stop_listening()

    def go_up(self) -> None:
        """Accept connections again, on the same port."""
        if self._listener is None and not self._closed:
            self._listener = Listener(bound_socket(*self._address, listens=True), self._accepted)
            self._drop_placeholder()

    async def close(self) -> None:
        """Close the listener, abort every connection, and wait for their tasks to end.

        A cancellation ends the wait alone: by then everything is closed.
        """
        self._closed = True
        self._stop_listening()
        self._drop_placeholder()
        # Aborting cancels the connections' tasks, which end within a few iterations of the loop.
        while True:
            await asyncio.sleep(0)
            if not (self._transports or self.connections or self._arriving):
                break

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Record a new connection; abort it if the server is closed or down."""
        super().connection_made(handler, transport)
        self._transports[handler] = transport
        if self._listener is None:
            transport.abort()

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Forget a connection."""
        self._transports.pop(handler, None)
        super().connection_lost(handler, exc)

    def _accepted(self, connection: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._make(connection))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _make(self, connection: socket.socket) -> None:
        with suppress(OSError):  # the caller has gone already
            await asyncio.get_running_loop().connect_accepted_socket(self, connection)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for transport in self._transports.values():
            transport.abort()

    def _drop_placeholder(self) -> None:
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None
