"""The results of many calls: an outcome for every key."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import ClassVar, Generic, Literal, NoReturn, TypeAlias, TypeVar, overload

from attrs import frozen

from flashback_async.errors import FlashbackError

K = TypeVar("K", covariant=True)
V = TypeVar("V", covariant=True)
# The same for functions, whose parameters cannot be covariant.
AnyK = TypeVar("AnyK")
AnyV = TypeVar("AnyV")


@frozen(slots=True, weakref_slot=False)
class Success(Generic[K, V]):
    """A key whose call returned a value.

    Attributes:
        index: The key's place in the input, from 0.
        key: The key as it was given.
        value: What the call returned.
        elapsed: Seconds that the call took.
        ok: Always True.
        error: Always None.
    """

    index: int
    key: K
    value: V
    elapsed: float
    ok: ClassVar[Literal[True]] = True
    error: ClassVar[None] = None

    def unwrap(self) -> V:
        """Return the value."""
        return self.value


@frozen(slots=True, weakref_slot=False)
class Failure(Generic[K]):
    """A key whose call failed or was never made.

    Attributes:
        index: The key's place in the input, from 0.
        key: The key as it was given.
        error: Why the call failed.
        elapsed: Seconds that the call took; 0 if it was never made.
        ok: Always False.
        value: Always None.
    """

    index: int
    key: K
    error: FlashbackError
    elapsed: float
    ok: ClassVar[Literal[False]] = False
    value: ClassVar[None] = None

    def unwrap(self) -> NoReturn:
        """Raise the error.

        Raises:
            FlashbackError: Always; it is ``error``.
        """
        raise self.error


Outcome: TypeAlias = Success[K, V] | Failure[K]


def repeated(outcome: Outcome[AnyK, AnyV], index: int, key: AnyK) -> Outcome[AnyK, AnyV]:
    """Return the outcome of an equal key for another place; an error is copied."""
    if outcome.error is None:
        return Success(index, key, outcome.value, outcome.elapsed)
    return Failure(index, key, copy.copy(outcome.error), outcome.elapsed)


class Report(Sequence[Outcome[K, V]]):
    """The outcomes of a run in the order of the input, one for every place in it."""

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
        """Whether every call succeeded."""
        return all(outcome.ok for outcome in self._outcomes)

    @cached_property
    def succeeded(self) -> dict[K, V]:
        """The values of the keys that succeeded, in the order of the input; built once."""
        return {o.key: o.value for o in self._outcomes if o.error is None}

    @cached_property
    def failed(self) -> dict[K, FlashbackError]:
        """The errors of the keys that failed, in the order of the input; built once.

        A key that cannot be hashed (bad input, such as a list among ids) is left out here. Its
        outcome is in the report all the same.
        """
        return {o.key: o.error for o in self._outcomes if o.error is not None and can_hash(o.key)}

    def raise_for_errors(self) -> None:
        """Raise every error of the run at once; do nothing if all calls succeeded.

        Raises:
            ExceptionGroup: At least one call failed; it holds their ``FlashbackError``s.
        """
        errors = [o.error for o in self._outcomes if o.error is not None]
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(self)} calls failed", errors)


def can_hash(key: object) -> bool:
    """Return whether a key can be hashed: bad input among ids may be of any type."""
    try:
        hash(key)
    except TypeError:
        return False
    return True
