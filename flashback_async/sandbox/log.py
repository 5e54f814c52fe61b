"""The log of the requests that the sandbox has received."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import overload

from attrs import define, frozen

from flashback_async.sandbox.faults import Fault

_KEPT = 100_000


@frozen
class Seen:
    """One request that the sandbox received.

    Attributes:
        method: The HTTP method.
        path: The path as sent, with its query.
        operation: The API's operation, such as ``status.get``; None for any other path.
        bucket_id: The bucket in the path, decoded; None for a list.
        status: The status of the answer; None if no answer was given, or none yet.
        at: When it arrived, in seconds of the monotonic clock.
        fault: The fault of a script that struck it, or None.
    """

    method: str
    path: str
    operation: str | None
    bucket_id: str | None
    status: int | None
    at: float
    fault: Fault | None


@define(eq=False)
class Exchange:
    """A request, and what becomes of it."""

    method: str
    path: str
    operation: str | None
    bucket_id: str | None
    bucket_ids: tuple[str, ...]  # every bucket that it names, in lower case
    at: float
    number: int
    status: int | None = None
    fault: Fault | None = None

    def seen(self) -> Seen:
        """Return the request as it is now."""
        return Seen(
            self.method,
            self.path,
            self.operation,
            self.bucket_id,
            self.status,
            self.at,
            self.fault,
        )


class Log(Sequence[Seen]):
    """The last 100,000 requests in the order of their arrival; a loop over it sees a snapshot."""

    def __init__(self) -> None:
        self._exchanges: deque[Exchange] = deque(maxlen=_KEPT)

    def __len__(self) -> int:
        return len(self._exchanges)

    @overload
    def __getitem__(self, index: int) -> Seen: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Seen, ...]: ...
    def __getitem__(self, index: int | slice) -> Seen | tuple[Seen, ...]:
        return self._snapshot()[index]

    def __iter__(self) -> Iterator[Seen]:
        return iter(self._snapshot())

    def __repr__(self) -> str:
        return f"<Log of {len(self)} requests>"

    def clear(self) -> None:
        """Forget every request; ``Sandbox.requests`` goes on counting."""
        self._exchanges.clear()

    def add(self, exchange: Exchange) -> None:
        """Add a request that has just arrived."""
        self._exchanges.append(exchange)

    def _snapshot(self) -> tuple[Seen, ...]:
        # Copied first: a copy is one step, which no other thread can interrupt.
        return tuple(exchange.seen() for exchange in self._exchanges.copy())
