"""Frozen classes of attrs at the price of mutable ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs

M = TypeVar("M", bound=attrs.AttrsInstance)


def mutable_twin(kind: type[M]) -> Callable[..., M]:
    """Give a class of the same layout as a frozen one, whose instances are filled directly.

    attrs sets each value of a frozen instance through ``object.__setattr__``, which costs twice
    as much as all the rest of making it. An instance of the twin becomes one of the frozen class,
    for good, when that is assigned to its ``__class__``. Python permits this between classes of
    one layout; attrs' slot for weak references would be in the way.
    """
    # The class itself, with its fields in order; typed as what its instances are going to be.
    fields = {field.name: attrs.field() for field in attrs.fields(kind)}
    bases = getattr(kind, "__orig_bases__", (object,))
    return attrs.make_class(f"_{kind.__name__}", fields, bases, slots=True, weakref_slot=False)
