"""Frozen attrs classes that take no longer to make than mutable ones."""

from __future__ import annotations

from collections.abc import Callable
from types import new_class
from typing import Any, TypeVar

import attrs

M = TypeVar("M", bound=attrs.AttrsInstance)


def mutable_twin(kind: type[M], **members: object) -> Callable[..., Any]:
    """Return a class whose instances become those of a frozen class once they are filled.

    attrs sets each value of a frozen instance through ``object.__setattr__``, which costs twice
    as much as the rest of making it. The twin is a mutable class of the same layout. To freeze an
    instance, assign ``kind`` to its ``__class__``. Python permits that only between classes of
    one layout, so ``kind`` must have slots but none for weak references. ``members`` are those of
    the twin.
    """
    body = {"__slots__": [field.name for field in attrs.fields(kind)], **members}
    bases = getattr(kind, "__orig_bases__", (object,))
    return new_class(f"_{kind.__name__}", bases, exec_body=lambda space: space.update(body))


def fast_maker(kind: type[M]) -> Callable[..., M]:
    """Return a function that makes instances of a frozen class from all of its values, in order."""
    names = [field.name for field in attrs.fields(kind)]
    # Generated, as in attrs, because a call of a second function costs as much as two fields.
    lines = [
        f"def __init__(self, {', '.join(names)}):",
        *(f"    self.{name} = {name}" for name in names),
        "    self.__class__ = kind",
    ]
    members: dict[str, Any] = {"kind": kind}
    exec("\n".join(lines), members)  # noqa: S102 - of nothing but field names  # nosec B102
    return mutable_twin(kind, __init__=members["__init__"])
