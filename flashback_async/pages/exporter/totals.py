"""The traffic counters of buckets, asked for now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

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

# Errors with which no later request can succeed.
_LASTING = (AuthenticationError, ClientClosedError, EventLoopError)


class Totals:
    """The counters of buckets as they were last reported.

    Counters that cannot be read stay as they were.

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
        while True:
            try:
                await self._ask()
            except _LASTING:
                raise
            except FlashbackError as error:
                self._warn("", error)
            await asyncio.sleep(self._every)

    async def _ask(self) -> None:
        if self._bucket_ids is None:
            listed = await self._client.bucket_stats.list()
            self.by_bucket = {stats.bucket_id: stats for stats in listed}
        else:
            await self._ask_for(self._bucket_ids)

    async def _ask_for(self, bucket_ids: Sequence[str]) -> None:
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
        if failed:
            self._warn(f" of {len(failed)} of {len(report)} buckets", failed[0])

    def _warn(self, whose: str, error: FlashbackError) -> None:
        text = "exporter: the counters%s could not be read, and are asked for again in %g s: %s: %s"
        logger.warning(text, whose, self._every, type(error).__name__, error)
