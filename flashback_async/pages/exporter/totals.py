"""The traffic counters of buckets, asked for now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import NamedTuple

from flashback_async import (
    AuthenticationError,
    BucketStats,
    ClientClosedError,
    EventLoopError,
    FlashbackClient,
    FlashbackError,
    NotFoundError,
)

logger = logging.getLogger("flashback_async")

_SOON = 15.0  # seconds until counters that could not be read are asked for again; then twice that

# Errors with which no later request can succeed.
_LASTING = (AuthenticationError, ClientClosedError, EventLoopError)


class _Failure(NamedTuple):
    """Why counters could not be read."""

    whose: str
    error: FlashbackError


class Totals:
    """The counters of buckets as they were last reported.

    Counters that cannot be read stay as they were, and are asked for again sooner: after 15 s at
    first, then after twice as long each time.

    Attributes:
        by_bucket: The counters by the id of their bucket.
    """

    def __init__(
        self, client: FlashbackClient, bucket_ids: Sequence[str] | None, every: float
    ) -> None:
        self.by_bucket: dict[str, BucketStats] = {}
        self._client = client
        self._bucket_ids = bucket_ids
        self._every = every

    async def poll(self) -> None:
        """Ask for the counters again and again, for ever.

        Raises:
            AuthenticationError: The token was rejected.
            ClientClosedError: The client was closed.
            EventLoopError: The client belongs to another event loop or process.
        """
        soon = _SOON
        while True:
            failure = await self._ask()
            if failure is None:
                wait, soon = self._every, _SOON
            else:
                wait = min(self._every, soon)
                soon = 2 * wait
                _warn(failure, wait)
            await asyncio.sleep(wait)

    async def _ask(self) -> _Failure | None:
        """Ask for all counters once; return why some could not be read, if any."""
        try:
            if self._bucket_ids is not None:
                return await self._ask_for(self._bucket_ids)
            listed = await self._client.bucket_stats.list()
        except _LASTING:
            raise
        except FlashbackError as error:
            return _Failure("", error)
        self.by_bucket = {stats.bucket_id: stats for stats in listed}
        return None

    async def _ask_for(self, bucket_ids: Sequence[str]) -> _Failure | None:
        report = await self._client.bucket_stats.get_many(bucket_ids)
        self.by_bucket.update(report.succeeded)
        failed = []
        for bucket_id, error in report.failed.items():
            if isinstance(error, _LASTING):
                raise error
            if isinstance(error, NotFoundError):
                self.by_bucket.pop(bucket_id, None)
            else:
                failed.append(error)
        if not failed:
            return None
        return _Failure(f" of {len(failed)} of {len(report)} buckets", failed[0])


def _warn(failure: _Failure, wait: float) -> None:
    text = "exporter: the counters%s could not be read, and are asked for again in %g s: %s: %s"
    logger.warning(text, failure.whose, wait, type(failure.error).__name__, failure.error)
