"""The buckets that a command is about, as a list."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from flashback_async import DeadlineExceededError, FlashbackClient
from flashback_async.cli.exits import Deadline
from flashback_async.cli.ids import all_ids
from flashback_async.cli.options import Options
from flashback_async.cli.settings import make_timeout


async def chosen_ids(
    client: FlashbackClient, ids: Sequence[str] | None, options: Options, deadline: Deadline
) -> list[str]:
    """Return every id once: those of the arguments and of standard input, or of all buckets.

    Raises:
        DeadlineExceededError: The deadline passed before all of them were read.
        FlashbackError: All buckets are wanted, and they could not be listed.
    """
    if ids is None:
        timeout = make_timeout(options, deadline.left())
        listed = await client.with_options(timeout=timeout).bucket_stats.list()
        return [stats.bucket_id for stats in listed]
    try:
        async with asyncio.timeout(deadline.left()):
            return await all_ids(ids)
    except TimeoutError:
        raise DeadlineExceededError from None
