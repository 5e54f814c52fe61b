"""The places in which a secret may appear: an error, its pickle, its traceback, a log record."""

from __future__ import annotations

import copy
import logging
import pickle
import re
import traceback
from collections.abc import Iterator
from types import TracebackType

_CONTAINERS = (list, tuple, set, frozenset)


def texts_of(value: object) -> Iterator[tuple[str, str]]:
    """Return every text that a value shows, each with its place."""
    yield from _texts(value, "", {})


def _texts(value: object, at: str, seen: dict[int, object]) -> Iterator[tuple[str, str]]:
    if id(value) in seen:
        return
    seen[id(value)] = value  # kept alive, so that no other object gets its id
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, bytes | bytearray):
        yield at, bytes(value).decode("latin-1")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(key, f"{at} key", seen)
            yield from _texts(item, f"{at}[{key!r}]", seen)
    elif isinstance(value, _CONTAINERS):
        for n, item in enumerate(value):
            yield from _texts(item, f"{at}[{n}]", seen)
    elif isinstance(value, BaseException):
        yield from _texts_of_error(value, at or type(value).__name__, seen)
    elif isinstance(value, logging.LogRecord):
        yield f"{at} message", value.getMessage()
        yield f"{at} formatted", logging.Formatter().format(value)
        yield from _texts(vars(value), f"{at} record", seen)
    else:
        yield at, repr(value)


def _texts_of_error(
    error: BaseException, at: str, seen: dict[int, object]
) -> Iterator[tuple[str, str]]:
    yield f"str({at})", str(error)
    yield f"repr({at})", repr(error)
    yield from _texts(error.args, f"{at}.args", seen)
    for name, item in vars(error).items():
        yield from _texts_in_depth(item, f"{at}.{name}", seen)
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    yield f"the traceback of {at}", "".join(shown.format())
    yield from _texts_of_frames(error.__traceback__, at, seen)
    if isinstance(error, BaseExceptionGroup):
        yield from _texts(error.exceptions, f"{at}.exceptions", seen)
    for name in ("__cause__", "__context__"):
        if (other := getattr(error, name)) is not None:
            yield from _texts(other, f"{at}.{name}", seen)


def _texts_in_depth(value: object, at: str, seen: dict[int, object]) -> Iterator[tuple[str, str]]:
    """Return the texts of a value and of its attributes, at any depth."""
    yield from _texts(value, at, seen)
    for name, item in getattr(value, "__dict__", {}).items():
        yield from _texts_in_depth(item, f"{at}.{name}", seen)


def _texts_of_frames(
    trace: TracebackType | None, at: str, seen: dict[int, object]
) -> Iterator[tuple[str, str]]:
    while trace is not None:
        where = f"{at} raised in {trace.tb_frame.f_code.co_qualname}"
        for name, item in trace.tb_frame.f_locals.items():
            yield from _texts(item, f"{where}: {name}", seen)
        trace = trace.tb_next


def copies_of(error: BaseException) -> list[tuple[str, bytes]]:
    """Return an error's pickle, after a check that pickles and copies of it are equal to it."""
    data = pickle.dumps(error)
    for how, other in (
        ("pickle", pickle.loads(data)),
        ("copy", copy.copy(error)),
        ("deepcopy", copy.deepcopy(error)),
    ):
        assert type(other) is type(error), f"{how} of {error!r} is {other!r}"
        assert str(other) == str(error), f"{how} of {error!r} says {other}"
        assert vars(other) == vars(error), f"{how} of {error!r} has {vars(other)}"
    return [("pickle", data)]


def find(token: str, *values: object) -> list[str]:
    """Return where the token, or a good part of it, shows in these values."""
    parts = [token[start : start + 8] for start in range(0, len(token) - 7, 4)]
    shows = re.compile("|".join(map(re.escape, parts))).search
    return [
        f"{where}: {text[:300]}"
        for value in values
        for where, text in texts_of(value)
        if shows(text)
    ]
