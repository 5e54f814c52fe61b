"""The wait for the end of tasks that were told to end."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any


async def all_ended(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Wait until all tasks have ended, even if the waiting task is cancelled meanwhile.

    Raises:
        asyncio.CancelledError: It was, as soon as they have ended.
    """
    interruption = None
    while under_way := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(under_way)
        except asyncio.CancelledError as error:
            interruption = error
    if interruption is not None:
        raise interruption
