"""A listening socket that can be closed at any moment, without losing a connection's socket."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress

_BACKLOG = 1_024  # connections that wait to be accepted: a crowd of clients connects at once


class Listener:
    """A socket that listens, and hands over each connection that it accepts.

    asyncio's own server accepts in two steps. Closing it between them loses the connection's
    socket, and an outage closes it at any moment.
    """

    def __init__(self, bound: socket.socket, accepted: Callable[[socket.socket], None]) -> None:
        """Begin to listen in the running loop."""
        bound.listen(_BACKLOG)  # from now on, callers wait instead of being refused
        self._socket = bound
        self._accepted = accepted
        self._loop = asyncio.get_running_loop()
        self._accepting: asyncio.Task[None] | None = None
        try:
            self._loop.add_reader(bound, self._accept_all)
        except NotImplementedError:  # Windows
            self._accepting = self._loop.create_task(self._accept_in_turn())

    def close(self) -> None:
        """Stop to listen: connections are refused."""
        if self._accepting is None:
            self._loop.remove_reader(self._socket)
        else:
            self._accepting.cancel()
        self._socket.close()

    def _accept_all(self) -> None:
        with suppress(OSError):  # nobody waits any more, or there are no descriptors
            for _ in range(_BACKLOG):
                connection, _address = self._socket.accept()
                connection.setblocking(False)
                self._accepted(connection)

    async def _accept_in_turn(self) -> None:
        while True:
            connection, _address = await self._loop.sock_accept(self._socket)
            self._accepted(connection)


def bound_socket(host: str, port: int, *, listens: bool) -> socket.socket:
    """Return a socket that is bound and does not listen, so that connections are refused.

    A listener and the placeholder that keeps its port during an outage share the port. A system
    on which they cannot gives it up for that time.

    Raises:
        OSError: The port is taken.
    """
    bound = socket.socket()
    try:
        bound.setblocking(False)
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            # With this option, a placeholder would let others take the port.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, listens)
        bound.bind((host, port))
    except BaseException:
        bound.close()
        raise
    return bound


def check_free(host: str, port: int) -> None:
    """Check that nobody listens on a port; a socket that may share it would not notice.

    Raises:
        OSError: Somebody does.
    """
    with socket.socket() as probe:
        if os.name == "posix":  # elsewhere, the option permits what this looks for
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on port {port}: {error.strerror}") from None
