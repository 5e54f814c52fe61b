"""Bucket ids from the arguments and, if one of them is "-", from standard input."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Self

from flashback_async.cli.standard_input import StandardInput

STDIN = "-"


class IdStream:
    """The ids of a run, in order; those in place of a "-" are read as they are asked for.

    A run that ends early does not take them all. `late` yields the others.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = deque(arguments)
        self._stdin: StandardInput | None = None

    @property
    def unread(self) -> bool:
        """Whether standard input may hold ids that were never read."""
        return self._stdin is not None and self._stdin.unread

    @property
    def ended(self) -> bool:
        """Whether every id was taken."""
        return not self._arguments

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while self._arguments:
            if self._arguments[0] != STDIN:
                return self._arguments.popleft()
            if self._stdin is None:
                self._stdin = StandardInput()
            bucket_id = await self._stdin.read()
            if bucket_id is not None:
                return bucket_id
            self._arguments.popleft()
        raise StopAsyncIteration

    def late(self) -> AsyncIterator[str]:
        """Yield the ids that the run has not taken; an unfinished input gets little time."""
        if self._stdin is None:
            self._stdin = StandardInput()
        self._stdin.hurry()
        return self


Ids = Sequence[str] | IdStream


def ids_of(arguments: Sequence[str]) -> Ids:
    """Return the ids; a stream if some of them come from standard input."""
    return IdStream(arguments) if STDIN in arguments else arguments


async def all_ids(arguments: Sequence[str]) -> list[str]:
    """Return every id once; standard input is read to its end."""
    ids = ids_of(arguments)
    taken = [bucket_id async for bucket_id in ids] if isinstance(ids, IdStream) else ids
    return list(dict.fromkeys(taken))
