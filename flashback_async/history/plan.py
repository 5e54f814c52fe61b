"""What an export is asked to do: its arguments, checked, and the days that are due."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple, TypeAlias, cast

from flashback_async import ConfigurationError, FlashbackClient, InvalidArgumentError, day_range
from flashback_async.history.rows import KeptDay
from flashback_async.history.target import FORMATS, Format

Day: TypeAlias = date | datetime | str


class Plan(NamedTuple):
    """The days of an export.

    Attributes:
        due: The days to ask for, the newest first.
        skipped: The days that are kept already, the oldest first.
        unsettled: The days that have not ended long enough ago, the oldest first.
    """

    due: list[date]
    skipped: list[date]
    unsettled: list[date]


class Span(NamedTuple):
    """The days that an export was asked for.

    Attributes:
        days: All of them, the oldest first.
        redo: Those to ask again even if they are kept.
        settle: How long ago a day must have ended.
    """

    days: list[date]
    redo: frozenset[date]
    settle: timedelta

    def plan(self, kept: Mapping[date, KeptDay], now: datetime) -> Plan:
        """Return which days are due, if these are kept."""
        settled = [day for day in self.days if now - _end_of(day) >= self.settle]
        due = [day for day in settled if day in self.redo or day not in kept]
        return Plan(
            due[::-1],
            [day for day in self.days if day in kept and day not in due],
            [day for day in self.days if day not in settled and day not in kept],
        )


def span_of(first: Day, last: Day | None, redo: Iterable[Day], settle: object) -> Span:
    """Return the days that an export is asked for.

    Raises:
        InvalidArgumentError: One of them is no day, ``last`` is before ``first``, or ``settle``
            is not a length of time.
    """
    if not isinstance(settle, timedelta):
        raise InvalidArgumentError(f"settle must be a timedelta, not {type(settle).__name__}")
    if settle < timedelta(0):
        raise InvalidArgumentError(f"settle must not be negative, as {settle} is")
    again = frozenset(_redone(redo))
    return Span(sorted(again.union(day_range(first, last))), again, settle)


def checked_ids(bucket_ids: Iterable[str]) -> list[str]:
    """Return the ids in their order, each once.

    Raises:
        InvalidArgumentError: There are none, one of them is not text, or it is one string.
    """
    if isinstance(bucket_ids, str | bytes) or not isinstance(bucket_ids, Iterable):
        kind = type(bucket_ids).__name__
        raise InvalidArgumentError(f"bucket_ids must be an iterable of ids, not {kind}")
    ids: list[object] = list(bucket_ids)
    for bucket_id in ids:
        if not isinstance(bucket_id, str):
            kind = type(bucket_id).__name__
            raise InvalidArgumentError(f"bucket_ids must hold ids as text, not {kind}")
    if not ids:
        raise InvalidArgumentError("bucket_ids must hold at least one id")
    return list(dict.fromkeys(cast("list[str]", ids)))


def check_options(client: object, form: object, allow_failed: object, on_day: object) -> Format:
    """Check the other arguments, and return the format.

    Raises:
        ConfigurationError: There is no such format.
        InvalidArgumentError: Another argument is wrong.
    """
    if not isinstance(client, FlashbackClient):
        kind = type(client).__name__
        raise InvalidArgumentError(f"client must be a FlashbackClient, not {kind}")
    if type(allow_failed) is not int or allow_failed < 0:
        raise InvalidArgumentError(
            f"allow_failed must be a whole number of at least 0, not {allow_failed!a}"
        )
    if on_day is not None and not callable(on_day):
        raise InvalidArgumentError(f"on_day must be a function, not {type(on_day).__name__}")
    if inspect.iscoroutinefunction(on_day):
        raise InvalidArgumentError("on_day must be a plain function, not an async one")
    for known in FORMATS:
        if form == known:
            return known
    raise ConfigurationError(f'format must be "sqlite" or "parquet", not {form!a}')


def _redone(redo: Iterable[Day]) -> Iterable[date]:
    if isinstance(redo, str | date) or not isinstance(redo, Iterable):
        kind = type(redo).__name__
        raise InvalidArgumentError(f"redo must be an iterable of days, not {kind}")
    for day in redo:
        try:
            yield day_range(day, day)[0]
        except InvalidArgumentError as error:
            raise InvalidArgumentError(str(error).replace("first", "redo", 1)) from None


def _end_of(day: date) -> datetime:
    return datetime.combine(day, time.max, UTC)
