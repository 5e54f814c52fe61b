"""What came of many calls: an outcome for every key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Generic, TypeVar, overload

from attrs import frozen

from flashback_async.errors import FlashbackError

K = TypeVar("K", covariant=True)
V = TypeVar("V", covariant=True)


@frozen(slots=True, weakref_slot=False)
class Outcome(Generic[K, V]):
    """Hold what came of one key: a value or an error.

    Attributes:
        index: The key's place in the input, from 0.
        key: The key as it was given.
        value: What the call gave; None where it failed (``unwrap()`` gives it without the None).
        error: Why it failed; None where it succeeded.
        elapsed: Seconds that the call took; 0 where it was never started.
    """

    index: int
    key: K
    value: V | None
    error: FlashbackError | None
    elapsed: float

    @property
    def ok(self) -> bool:
        """Tell whether the call succeeded."""
        return self.error is None

    def unwrap(self) -> V:
        """Give the value.

        Raises:
            FlashbackError: The call failed; this is its error.
        """
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value] # the type may include None


class Report(Sequence[Outcome[K, V]]):
    """Hold the outcomes of a run in the order of the input, one for every place in it."""

    def __init__(self, outcomes: Iterable[Outcome[K, V]]) -> None:
        self._outcomes = tuple(outcomes)

    @overload
    def __getitem__(self, index: int) -> Outcome[K, V]: ...

    @overload
    def __getitem__(self, index: slice) -> Report[K, V]: ...

    def __getitem__(self, index: int | slice) -> Outcome[K, V] | Report[K, V]:
        if isinstance(index, slice):
            return Report(self._outcomes[index])
        return self._outcomes[index]

    def __len__(self) -> int:
        return len(self._outcomes)

    def __repr__(self) -> str:
        failed = sum(not outcome.ok for outcome in self._outcomes)
        return f"<Report: {len(self) - failed} succeeded, {failed} failed>"

    @property
    def ok(self) -> bool:
        """Tell whether every call succeeded."""
        return all(outcome.ok for outcome in self._outcomes)

    @cached_property
    def succeeded(self) -> dict[K, V]:
        """Give the values of the keys that succeeded, in the order of the input; made once."""
        return {o.key: o.unwrap() for o in self._outcomes if o.error is None}

    @cached_property
    def failed(self) -> dict[K, FlashbackError]:
        """Give the errors of the keys that failed, in the order of the input; made once.

        A key that no dict can hold (bad input, such as a list among ids) is left out here; its
        outcome is in the report all the same.
        """
        return {o.key: o.error for o in self._outcomes if o.error is not None and can_hash(o.key)}

    def raise_for_errors(self) -> None:
        """Raise every error of the run at once; nothing happens where all succeeded.

        Raises:
            ExceptionGroup: At least one call failed; it holds their ``FlashbackError``s.
        """
        errors = [o.error for o in self._outcomes if o.error is not None]
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(self)} calls failed", errors)


def can_hash(key: object) -> bool:
    """Tell whether a key can stand in a dict: bad input among ids may be anything."""
    try:
        hash(key)
    except TypeError:
        return False
    return True
