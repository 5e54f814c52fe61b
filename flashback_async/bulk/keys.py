"""The keys of a run: one source, plain or async, that the workers read in turn."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Generic, TypeVar

from flashback_async.errors import InvalidArgumentError
from flashback_async.run import Run

K = TypeVar("K")


class ReadsAhead(AsyncIterator[K]):
    """An async source that reads more from its own source than it has returned."""

    @abstractmethod
    def left_over(self) -> Iterable[K]:
        """Return the keys that were read but not returned."""


class Keys(Generic[K]):
    """The keys of a run, each with its place.

    Once the run is halted, an async source is not read further.
    """

    def __init__(self, source: Iterable[K] | AsyncIterable[K], run: Run) -> None:
        self.plain: Iterator[K] | None = None
        self.error: Exception | None = None  # what the source raised
        self._async: AsyncIterator[K] | None = None
        if isinstance(source, AsyncIterable):
            self._async = aiter(source)
        elif isinstance(source, Iterable):
            self.plain = iter(source)
        else:
            raise InvalidArgumentError(f"keys must be iterable, not {type(source).__name__}")
        self._run = run
        self._count = 0
        self._exhausted = False
        self._turn = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._stopped = False

    def next(self, source: Iterator[K]) -> tuple[int, K] | None:
        """Return the next key of the plain source; None after its end."""
        if self._exhausted:
            return None
        try:
            key = next(source)
        except StopIteration:
            self._exhausted = True
            return None
        except Exception as error:
            self._exhausted, self.error = True, error
            return None
        self._count += 1
        return self._count - 1, key

    async def read(self) -> tuple[int, K] | None:
        """Return the next key of the async source; None after its end or the run's.

        One worker reads at a time; the others wait for their turn.
        """
        async with self._turn:
            if self._exhausted or self._async is None or self._run.error is not None:
                return None
            self._reader = asyncio.current_task()
            try:
                key = await anext(self._async)
            except StopAsyncIteration:
                self._exhausted = True
                return None
            except asyncio.CancelledError:
                if not self._stopped:
                    raise
                return None
            except Exception as error:
                self._exhausted, self.error = True, error
                return None
            finally:
                self._reader = None
        self._count += 1
        return self._count - 1, key

    def stop(self) -> None:
        """End a worker's wait for the next key of the async source."""
        self._stopped = True
        if self._reader is not None:
            self._reader.cancel()

    def rest(self) -> Iterator[tuple[int, K]]:
        """Return the keys that a halted run has not sent: of an async source, only those read."""
        while self.plain is not None and (item := self.next(self.plain)) is not None:
            yield item
        if isinstance(self._async, ReadsAhead):
            yield from enumerate(self._async.left_over(), self._count)
