"""Keys in flight: an equal key waits for the same result instead of another call."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from flashback_async.run import Run

T = TypeVar("T")


class Flight(Generic[T]):
    """The result of one worker's call, for which other workers wait."""

    __slots__ = ("_landed", "_result")

    _result: T

    def __init__(self) -> None:
        self._landed = asyncio.Event()

    def land(self, result: T) -> None:
        """Pass the result to every waiting worker."""
        self._result = result
        self._landed.set()

    async def result(self, run: Run) -> T:
        """Wait for the result.

        The deadline of the run cancels this wait and the flight itself, which then ends soon.
        """
        try:
            await self._landed.wait()
        except asyncio.CancelledError:
            if run.expired is None:
                raise
            await self._landed.wait()
        return self._result


class Flights(Generic[T]):
    """The keys of a run that are in flight; no more than the run has workers.

    A key that cannot be hashed (bad input among ids) has no equal.
    """

    __slots__ = ("_in_flight",)

    def __init__(self) -> None:
        # None until an equal key joins, because hardly any key has one.
        self._in_flight: dict[object, Flight[T] | None] = {}

    def join(self, key: object) -> Flight[T] | None:
        """Return the flight of an equal key; None if there is none, and the caller's begins."""
        try:
            if key not in self._in_flight:
                self._in_flight[key] = None
                return None
        except TypeError:
            return None
        flight = self._in_flight[key]
        if flight is None:
            flight = self._in_flight[key] = Flight()
        return flight

    def land(self, key: object, result: T) -> None:
        """Record the result of the caller's flight."""
        try:
            flight = self._in_flight.pop(key, None)
        except TypeError:
            return
        if flight is not None:
            flight.land(result)
