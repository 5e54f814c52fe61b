"""The sending of requests: those that are ready leave together, once nothing is unread."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

from flashback_async.net.failures import RECALLED
from flashback_async.net.wire import Sink, Wire
from flashback_async.values import Request, Secret

# In larger batches, the first request would wait until the last one is ready.
_TOGETHER = 32

Unsent = tuple[Wire, Sink, Request, Secret]


class Sender:
    """The requests of a transport that leave soon.

    What an idle connection has received belongs to no answer, so it must be read before a request
    leaves. A request whose connection has unread bytes is held back until the event loop has read
    them. The others that are ready in one iteration leave together, which wakes the server and
    the network less often.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, whole: Callable[[Request, Secret], bytes]
    ) -> None:
        self._loop = loop
        self._whole = whole
        self._ready: list[Unsent] = []
        self._held: list[Unsent] = []

    def add(self, unsent: Unsent) -> None:
        """Send a request at the beginning of the next iteration, or sooner if many are ready."""
        if unsent[0].descriptor < 0:
            self._hold(unsent)
            return
        if not self._ready:
            self._loop.call_soon(self._send_ready)
        self._ready.append(unsent)
        if len(self._ready) == _TOGETHER:
            self._send_ready()

    def recall(self) -> None:
        """End every exchange whose request has not been sent."""
        for wire, sink, _, _ in (*self._ready, *self._held):
            if not sink.done():
                wire.give_up(sink)
                sink.set_result(RECALLED)

    def _send_ready(self) -> None:
        ready, self._ready = self._ready, []
        unread = _with_unread_bytes(ready)
        for unsent in ready:
            if unread and unsent[0].descriptor in unread:
                self._hold(unsent)
            else:
                self._send(unsent)

    def _hold(self, unsent: Unsent) -> None:
        """Send a request once the event loop has read what its connection has received.

        An iteration reads after the calls that were scheduled before it. So the request leaves in
        the one after the next.
        """
        self._held.append(unsent)
        self._loop.call_soon(self._loop.call_soon, self._release, unsent)

    def _release(self, unsent: Unsent) -> None:
        self._held.remove(unsent)
        self._send(unsent)

    def _send(self, unsent: Unsent) -> None:
        """Send a request if it is still wanted and its connection is not lost."""
        wire, sink, request, secret = unsent
        if sink.done():
            wire.give_up(sink)
        else:
            wire.send(self._whole(request, secret))


def _with_unread_bytes(ready: list[Unsent]) -> set[int]:
    """Return the descriptors of the connections that have unread bytes, or have ended."""
    poll = select.poll()
    for wire, _, _, _ in ready:
        poll.register(wire.descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(0)}
