"""One connection to the API: a request leaves, and its answer arrives."""

from __future__ import annotations

import asyncio
import errno
import select
import ssl
from typing import Protocol, cast

from flashback_async.net import failures
from flashback_async.net.failures import Route
from flashback_async.net.reader import AnswerReader, Reply
from flashback_async.values import Attempt, Response, Secret

Sink = asyncio.Future[Reply]

# Windows has no ``poll``, and its event loop reads ahead of us.
_CAN_POLL = hasattr(select, "poll")


class Owner(Protocol):
    """The pool of a wire, which hears of its free moments and its end."""

    def keep(self, wire: Wire) -> None: ...

    def forget(self, wire: Wire) -> None: ...


class Wire(asyncio.Protocol):
    """A connection that carries one exchange at a time.

    ``expect`` begins an exchange and returns the future of its reply. After the reply the wire
    is free again, or it closes.
    """

    kept_in = 0  # the round of the pool in which the wire became free
    descriptor = -1  # of the socket, if it can be polled for unread bytes
    _was_used = False
    _may_be_reused = True
    is_lost = False
    _is_open = False
    _has_sent = False  # in the current exchange
    _error: Exception | None = None  # with which the connection was lost
    _unasked = b""  # what the server sent before the first request
    _sink: Sink | None = None

    def __init__(self, route: Route, max_response_bytes: int, owner: Owner) -> None:
        self._route = route
        self._max_response_bytes = max_response_bytes
        self._reader = AnswerReader(max_response_bytes)
        self._owner = owner

    # The connection, as the event loop reports it.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        socket = transport.get_extra_info("socket")
        if _CAN_POLL and socket is not None:
            self.descriptor = socket.fileno()

    def data_received(self, data: bytes) -> None:
        if not self._has_sent:
            self._refuse_unasked(data)
            return
        reply = self._reader.feed(data)
        if reply is not None:
            self._finish(reply)

    def _refuse_unasked(self, data: bytes) -> None:
        """Close the connection because the server speaks although it was not asked."""
        self._is_open = False
        if not self._was_used:
            self._unasked = data
        if self._sink is not None:
            self._finish(self._lost())
        self.drop()

    def eof_received(self) -> None:
        """Use the connection no more; the event loop closes it."""
        self._is_open = False

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost, self._is_open, self._error = True, False, error
        if self._sink is not None:
            self._reader.note_progress()
            self._finish((self._reader.end() if error is None else None) or self._lost())
        self._reader.close()
        self._owner.forget(self)

    def _lost(self) -> Reply:
        """Return the reply of an exchange whose connection was lost."""
        error = self._error
        if self._unasked:
            return self._greeting()
        if self._was_used and not self._has_sent:
            return failures.RECALLED
        reset = isinstance(error, OSError) and error.errno == errno.ECONNRESET
        began = self._reader.has_begun
        return failures.lost(error, self._attempt, self._route, began=began, reset=reset)

    def _greeting(self) -> Reply:
        """Return the reply of a server that spoke before it was asked.

        One that is full may refuse a connection so. Other answers would be about a request.
        """
        reader = AnswerReader(self._max_response_bytes)
        reader.expect(self._attempt, self._secret)
        reply = reader.feed(self._unasked) or reader.end()
        reader.close()
        if reply is None:
            return failures.begun_unasked()
        if isinstance(reply, Response) and (reply.status >= 500 or reply.status in (408, 429)):
            return reply
        return failures.unasked(self._unasked, self._secret)

    # What the pool and the call do with it.

    @property
    def is_usable(self) -> bool:
        return self._is_open and not self._transport.is_closing()

    @property
    def tls(self) -> ssl.SSLObject | None:
        return cast("ssl.SSLObject | None", self._transport.get_extra_info("ssl_object"))

    def force_close(self) -> None:
        """Keep the connection from being used again, after the exchange that it carries now."""
        self._may_be_reused = False
        if self._sink is None:
            self.drop()

    def drop(self) -> None:
        """Close the connection at once."""
        self._is_open = False
        self._transport.abort()

    # One exchange.

    def expect(self, attempt: Attempt, secret: Secret) -> Sink:
        """Return the future of the reply to the request that is to be sent.

        It is done at once if the connection has been lost.
        """
        attempt.phase, attempt.connection, attempt.reused = "headers", self, self._was_used
        self._attempt, self._secret = attempt, secret
        self._reader.expect(attempt, secret)
        self._has_sent = False
        self._sink = sink = self._loop.create_future()
        if not self._is_open:
            self._finish(self._lost())
        return sink

    def send(self, request: bytes) -> None:
        self._was_used = self._has_sent = True
        self._transport.write(request)

    def give_up(self, sink: Sink) -> None:
        """End an exchange, if it is still this one; the wire is free if nothing was sent."""
        if self._sink is not sink:
            return
        self._sink = None
        if self._has_sent:
            self._reader.note_progress()
            self.drop()
        else:
            self._free_or_drop(may_be_reused=self._may_be_reused)

    def _finish(self, reply: Reply) -> None:
        """Pass on the reply, and free or close the connection."""
        sink, self._sink = self._sink, None
        self._has_sent = False
        self._free_or_drop(may_be_reused=self._reader.is_reusable and self._may_be_reused)
        if sink is not None and not sink.done():  # else its task was cancelled
            sink.set_result(reply)

    def _free_or_drop(self, *, may_be_reused: bool) -> None:
        if may_be_reused and self._is_open:
            self._owner.keep(self)
        else:
            self.drop()
