"""What each form of a history can do, and the choice of the form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from typing import NamedTuple, Protocol

from flashback_async import ConfigurationError
from flashback_async.history.lock import locked
from flashback_async.history.rows import KeptDay, NodeDay, Values
from flashback_async.history.sqlite import SqliteReader, SqliteStore, check_for_writing
from flashback_async.history.target import Format, Target, format_on_disk


class Reader(Protocol):
    """A history that is read."""

    def kept(self) -> list[KeptDay]:
        """Return the finished days, the oldest first."""
        ...

    def rows(self, day: date) -> list[NodeDay]:
        """Return the rows of a finished day, by bucket and place."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Store(Protocol):
    """A history that is written to: `begin` a day, `add` its rows, and `finish` it."""

    def kept(self) -> list[KeptDay]:
        """Return the finished days, the oldest first."""
        ...

    def begin(self, day: date) -> None:
        """Begin a day; what was kept of it stays until it is finished."""
        ...

    def add(self, parts: Iterable[Values]) -> None:
        """Add rows to the day, which come in parts."""
        ...

    def finish(self, kept: KeptDay) -> None:
        """Keep the day as a whole."""
        ...

    def discard(self) -> None:
        """Take the day back."""
        ...

    def close(self) -> None:
        """Close it; a day that is not finished is taken back."""
        ...


class _Form(NamedTuple):
    """What makes up a form of a history."""

    check: Callable[[Target], None]
    reader: Callable[[Target], Reader]
    store: Callable[[Target], Store]


def open_reader(target: Target) -> tuple[Format, Reader]:
    """Return the form of a history, and the history to read.

    Raises:
        ConfigurationError: There is none, or it cannot be read.
    """
    form = format_on_disk(target)
    if form is None:
        raise ConfigurationError(f"path: there is no history at {target.name!a}")
    return form, _form(form, "path").reader(target)


@contextmanager
def open_store(target: Target, form: Format) -> Iterator[Store]:
    """Open a history to write to, or make one; no other export can while it is open.

    Raises:
        ConfigurationError: Something else lies there, another export writes to it, or it cannot
            be written to. Nothing was changed.
    """
    if format_on_disk(target) not in (None, form):
        needed = "file" if form == "sqlite" else "folder"
        raise target.refused(f"is in the way: the format {form!a} needs a {needed}")
    found = _form(form, "format")
    found.check(target)  # before a lock file is made beside something else
    with locked(target), closing(found.store(target)) as store:
        yield store


def _form(form: Format, argument: str) -> _Form:
    """Return what makes up a form; ``argument`` is the one that asks for it, for an error."""
    if form == "sqlite":
        return _Form(check_for_writing, SqliteReader, SqliteStore)
    try:
        from flashback_async.history.parquet import ParquetReader, ParquetStore, check_folder
    except ImportError:
        raise ConfigurationError(
            f'{argument}: Parquet needs pyarrow: pip install "flashback-async[parquet]"'
        ) from None
    return _Form(check_folder, ParquetReader, ParquetStore)
