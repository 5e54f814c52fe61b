"""The listings that tell a watch which buckets there are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from flashback_async.clock import Clock
from flashback_async.errors import InvalidArgumentError

logger = logging.getLogger("flashback_async")

ListIds: TypeAlias = Callable[[], Awaitable[Iterable[str]]]


class Listing:
    """A look at which buckets there are, now and then.

    ``listed`` is called with the ids of each successful one. A failed one changes nothing.
    Errors of the ``lasting`` classes end the listing.
    """

    def __init__(
        self,
        list_ids: ListIds,
        listed: Callable[[set[str]], object],
        clock: Clock,
        *,
        refresh: float,
        retry: float,
        lasting: tuple[type[Exception], ...],
    ) -> None:
        self._list_ids = list_ids
        self._listed = listed
        self._clock = clock
        self._refresh = refresh
        self._retry = retry
        self._lasting = lasting

    async def look(self) -> None:
        """List the buckets again and again, for ever."""
        while True:
            ids = await self._list()
            if _is_cancelled():  # which the caller's function has swallowed
                raise asyncio.CancelledError
            if ids is not None:
                self._listed(ids)
            await self._clock.sleep(self._retry if ids is None else self._refresh)

    async def _list(self) -> set[str] | None:
        """Return the ids of the buckets; None if the listing failed, which is logged."""
        try:
            return checked_ids(await self._list_ids())
        except self._lasting:
            raise
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            failure: BaseException = error  # the function was cancelled from elsewhere
        except Exception as error:
            failure = error
        text = "watch: the buckets could not be listed, and are listed again in %g s: %s: %s"
        logger.warning(text, self._retry, type(failure).__name__, failure)
        return None


def checked_ids(ids: object) -> set[str]:
    """Return ids as a set.

    Raises:
        InvalidArgumentError: They are not an iterable of text.
    """
    if isinstance(ids, str | bytes | bytearray) or not isinstance(ids, Iterable):
        raise InvalidArgumentError(
            f"bucket_ids must return an iterable of ids, not {type(ids).__name__}"
        )
    listed = list(ids)
    for bucket_id in listed:
        if not isinstance(bucket_id, str):
            raise InvalidArgumentError(f"an id must be text, not {type(bucket_id).__name__}")
    return set(listed)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
