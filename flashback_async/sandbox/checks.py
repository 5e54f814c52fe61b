"""Argument checks, whose ValueErrors name the argument and its rule."""

from __future__ import annotations

import math


def whole(name: str, value: object, least: int | None = None, most: int | None = None) -> None:
    """Raise ValueError unless the value is a whole number within the bounds."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    _bounds(name, value, least, most)


def number(name: str, value: object, least: float, most: float | None = None) -> None:
    """Raise ValueError unless the value is a finite number within the bounds."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not _is_finite(value):
        raise ValueError(f"{name} must be a finite number, not {value!r}")
    _bounds(name, value, least, most)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond the floats
        return False


def text(name: str, value: object) -> None:
    """Raise ValueError unless the value is text."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, not {value!r}")


def _bounds(name: str, value: float, least: float | None, most: float | None) -> None:
    if least is not None and value < least:
        raise ValueError(f"{name} must be {least} or more, not {value!r}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be {most} or less, not {value!r}")
