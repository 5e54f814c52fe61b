"""The settings of a watch, checked when they are made."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import attrs
from attrs import field, frozen

from flashback_async.bulk.fanout import check_concurrency
from flashback_async.errors import InvalidArgumentError, show
from flashback_async.watch.schedule import STEP

_LONGEST = 1e9  # seconds, some thirty years


def seconds(name: str, value: object, low: float = STEP) -> None:
    """Check a length of time.

    Raises:
        InvalidArgumentError: It is not a number from ``low`` to 1e9.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgumentError(f"{name} must be seconds, not {show(value)}")
    if not low <= value <= _LONGEST:
        raise InvalidArgumentError(f"{name} must be from {low:g} to 1e9 s, not {show(value)}")


def count(name: str, value: object) -> None:
    """Check a count.

    Raises:
        InvalidArgumentError: It is not a whole number of at least 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgumentError(
            f"{name} must be a whole number of at least 1, not {show(value)}"
        )


def _by(check: Callable[[str, object], None]) -> Callable[..., None]:
    def validate(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        check(attribute.name, value)

    return validate


def _check_path(name: str, value: object) -> None:
    if value is None:
        return
    try:
        path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
        if isinstance(path, str) and path and b"\0" not in os.fsencode(path):
            return
    except UnicodeEncodeError:
        pass  # no file has such a name
    raise InvalidArgumentError(f"{name} must be the path of a file, not {show(value)}")


def _check_calls(_: str, value: object) -> None:
    if value is not None:
        check_concurrency(value)


@frozen
class Settings:
    """The numbers of a watch, as ``client.status.watch`` describes them."""

    interval: float = field(validator=_by(seconds))
    fall: int = field(validator=_by(count))
    rise: int = field(validator=_by(count))
    unknown_after: int = field(validator=_by(count))
    refresh: float = field(validator=_by(seconds))
    concurrency: int | None = field(validator=_by(_check_calls))
    state: str | os.PathLike[str] | None = field(validator=_by(_check_path))
