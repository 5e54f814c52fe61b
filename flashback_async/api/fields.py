"""Rules for the values of single fields, and errors that name the place of a bad one."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from flashback_async.errors import DecodeError
from flashback_async.models import NodeState

W = TypeVar("W")
M = TypeVar("M")

STATES: dict[str | None, NodeState] = {state.value: state for state in NodeState}

_WORD = range(-(2**63), 2**64)
_AT = re.compile(r"(.*) - at `(\$.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`")


class BadField(ValueError):
    """A value of the right JSON type that its field still cannot hold."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(field, rule)
        self.field = field
        self.rule = rule

    def at(self, place: str) -> DecodeError:
        """Return the error for a field of the object at a JSON path."""
        path = f"{place}.{self.field}"
        return DecodeError(f"{path}: {self.rule}", path=path)


def count(value: int | str | None, field: str) -> int | None:
    """Return a counter, which is decimal text or a JSON integer of 64 bits."""
    if value is None:
        return None
    if isinstance(value, str):
        digits = value.removeprefix("-")  # a pattern would cost three times as much
        if digits.isdecimal() and digits.isascii() and len(digits) <= 100:
            return int(value)
        raise BadField(field, "expected decimal text of at most 100 digits, got other text")
    if value in _WORD:
        return value
    raise BadField(field, "expected an integer of 64 bits, got a larger one")


def utc(value: datetime, field: str) -> datetime:
    """Return a time in UTC, which is also the zone of a time without an offset."""
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise BadField(field, "expected a time in the years 1 to 9999, in UTC") from None


def models_of(items: list[W], make: Callable[[list[W]], list[M]], name: str) -> list[M]:
    """Return the models of a list's items.

    Raises:
        DecodeError: A field breaks its rule; the first one is named by its path.
    """
    try:
        return make(items)
    except BadField:
        failure = _first_bad(items, make, name)
    raise failure


def _first_bad(items: list[W], make: Callable[[list[W]], list[M]], name: str) -> DecodeError:
    errors = []
    for n, item in enumerate(items):
        try:
            make([item])
        except BadField as bad:
            errors.append(bad.at(f"$.{name}[{n}]"))
    return errors[0]


def missing(path: str) -> DecodeError:
    return DecodeError(f"{path} is missing", path=path)


def misfit(text: str) -> DecodeError:
    """Return the error for JSON of the wrong shape, from the parser's text and path."""
    at = _AT.fullmatch(text)
    rule, path = (at[1], at[2]) if at else (text, "$")
    absent = _MISSING.fullmatch(rule)
    if absent:
        return missing(f"{path}.{absent[1]}")
    rule = rule.replace("`", "")
    return DecodeError(f"{path}: {rule[:1].lower()}{rule[1:]}", path=path)


def malformed(text: str, body: bytes) -> DecodeError:
    """Return the error for bytes that are not JSON, from the parser's text."""
    if not body.strip():
        return DecodeError("empty body")
    if text != "Input data was truncated":
        return DecodeError(text)
    if body.rstrip().endswith(b"}"):  # the parser has the same text for half an escape
        return DecodeError("JSON is malformed: a string ends within an escaped character")
    return DecodeError(f"the JSON ended early, after {len(body)} bytes")


def moved(error: DecodeError, place: str) -> DecodeError:
    """Return an error about an object with the object's own JSON path in front of its path."""
    path = f"{place}{error.path[1:]}"
    return DecodeError(str(error).replace(error.path, path, 1), path=path)
