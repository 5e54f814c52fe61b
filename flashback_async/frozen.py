"""Frozen attrs classes at the price of mutable ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs

M = TypeVar("M", bound=attrs.AttrsInstance)


def fast_maker(kind: type[M]) -> Callable[..., M]:
    """Return a function that makes instances of a frozen class from all of its values, in order.

    attrs sets each value of a frozen instance through ``object.__setattr__``, which costs twice
    as much as the rest of making it. The function is a mutable class of the same layout, whose
    instances take on the frozen class once they are filled. Python permits that between classes
    of one layout only, so ``kind`` must have slots but none for weak references.
    """

    def freeze(instance: object) -> None:
        instance.__class__ = kind

    # The names and their order are those of the class; its defaults and converters are left out.
    fields = {field.name: attrs.field() for field in attrs.fields(kind)}
    return attrs.make_class(
        f"_{kind.__name__}",
        fields,
        getattr(kind, "__orig_bases__", (object,)),
        class_body={"__attrs_post_init__": freeze},
        slots=True,
        weakref_slot=False,
    )
