"""What a watch knows, sent to viewers as it changes; it knows no HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress

from flashback_async import FlashbackError, Watch
from flashback_async.pages.dashboard.details import Histories, details
from flashback_async.pages.dashboard.picture import Picture
from flashback_async.pages.dashboard.stream import Stream, event
from flashback_async.pages.estate import Estate

_IDLE, _BUSY = 1.0, 0.25  # seconds between two looks: without changes, and after the first one
_TURN = 100  # changes, or buckets, that are taken before others have their turn
_QUIET = 15.0  # seconds until a sign of life
_LATE = 1.0  # seconds behind, from which on it matters
_PATIENCE = 15.0  # seconds beyond the interval, after which answers have stopped
_RETRY = b"retry: 1000\n"  # milliseconds until a viewer that lost the connection is back
_FAREWELL = 0.3  # seconds for the last event


class Live:
    """A watch and its viewers: takes the changes, and tells the viewers.

    Viewers get these events, each with an object as its data:

    ``snapshot``
        The whole picture.
    ``delta``
        What has changed since the version before; see `Picture`.
    ``facts``
        How the watch is doing. They follow every other event. Without one, they come each 15
        seconds, and each second until every bucket was asked.
    ``end``
        Why the watch has ended.
    """

    def __init__(
        self, watch: Watch, interval: float, most_viewers: int, gone_after: float = 0.0
    ) -> None:
        self.stream = Stream(self._snapshot, most_viewers)
        self._watch = watch
        self._interval = interval
        self._estate = Estate(watch.view, gone_after)
        self._picture = Picture()
        self._histories = Histories()
        self._encoded: tuple[int, bytes] = (-1, b"")  # a version, and its snapshot
        self._answers = 0
        self._answered_at: float | None = None  # on the monotonic clock
        self._said: tuple[object, ...] = ()
        self._said_at = 0.0

    def details(self, bucket_id: str) -> dict[str, object] | None:
        """Return a bucket as an object for JSON; None if it is not watched."""
        view = self._watch.view.get(bucket_id)
        if view is None:
            return None
        changes = self._histories.of(bucket_id)
        return details(view, self._estate.trouble(bucket_id), changes)

    async def follow(self) -> None:
        """Send the viewers what changes, until the watch ends.

        Raises:
            FlashbackError: What ended it. The viewers know of it.
        """
        try:
            while True:
                await self._look()
                self._publish()
                await self._take_changes()
        except StopAsyncIteration:
            return
        except FlashbackError as error:
            await self._look()
            self._publish()
            await self.stream.end(event("end", json.dumps({"message": str(error)})), _FAREWELL)
            raise

    async def _look(self) -> None:
        """Bring the picture up to date; nothing is sent before it is whole."""
        for number, (bucket_id, view) in enumerate(self._estate.look(), 1):
            if view is None:
                self._picture.drop(bucket_id)
                self._histories.drop(bucket_id)
            else:
                self._picture.put(view, self._estate.trouble(bucket_id))
            if not number % _TURN:
                await asyncio.sleep(0)

    async def _take_changes(self) -> None:
        """Take changes until the next look is due."""
        loop, number = asyncio.get_running_loop(), 0
        began = loop.time()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(began + _IDLE) as limit:
                while True:
                    change = await anext(self._watch)
                    if self._estate.note(change):
                        self._picture.tell(change)
                        self._histories.add(change)
                    number += 1
                    if number == 1:
                        limit.reschedule(loop.time() + _BUSY)
                    if not number % _TURN:
                        await asyncio.sleep(0)

    def _publish(self) -> None:
        """Send what has changed, or else a sign of life if one is due."""
        stats = self._watch.stats
        if stats.asked - stats.failed > self._answers:
            self._answers, self._answered_at = stats.asked - stats.failed, time.monotonic()
        now = time.monotonic()
        asked = min(stats.asked, stats.buckets)
        said = (stats.buckets, asked, stats.lag > _LATE, self._answers > 0, self._is_silent)
        if self._picture.has_changed:
            delta = self._picture.delta()
            whole = None if delta is None else event("delta", delta) + self._facts()
            self.stream.publish(whole)
        elif said != self._said or now - self._said_at >= _QUIET:
            self.stream.remark(self._facts())
        else:
            return
        self._said, self._said_at = said, now

    @property
    def _is_silent(self) -> bool:
        """Whether answers have stopped to come."""
        if self._answered_at is None:
            return False
        return time.monotonic() - self._answered_at > self._interval + _PATIENCE

    def _snapshot(self) -> bytes:
        """Return the events of a viewer that knows nothing yet."""
        version, encoded = self._encoded
        if version != self._picture.version:
            encoded = _RETRY + event("snapshot", self._picture.snapshot())
            self._encoded = (self._picture.version, encoded)
        return encoded + self._facts()

    def _facts(self) -> bytes:
        """Return the event with how the watch is doing; its times are seconds since 1970.

        The last answer is that of this moment. Only while the watch is silent does it stay the
        last one until the next event.
        """
        stats, now = self._watch.stats, time.time()
        answered = None
        if self._answered_at is not None:
            answered = round(now - (time.monotonic() - self._answered_at), 1)
        facts = {
            "now": round(now, 1),
            "interval": self._interval,
            "buckets": stats.buckets,
            "asked": stats.asked,
            "failed": stats.failed,
            "lag": round(stats.lag, 1),
            "answered": answered,
            "silent": self._is_silent,
        }
        return event("facts", json.dumps(facts))
