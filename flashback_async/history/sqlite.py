"""A history as one SQLite database: tables ``node_days`` and ``days``, and a view by region.

Everything here blocks. A store belongs into one thread.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime
from pathlib import Path

from flashback_async.history.disk import sync
from flashback_async.history.rows import WIDTH, KeptDay, NodeDay, Values, time_of, time_text
from flashback_async.history.target import Target

_MAGIC = b"SQLite format 3\0"
_APPLICATION = int.from_bytes(b"FBhy", "big")
_VERSION = 1
# Where SQLite's header has the version and the application that the file belongs to.
_VERSION_AT, _APPLICATION_AT, _HEADER = 60, 68, 100

_PATIENCE = 30.0  # seconds for another program that writes to the file
_CACHE_KIB = 16_384

_TABLES = (
    """CREATE TABLE node_days (
        bucket_id TEXT NOT NULL,
        day TEXT NOT NULL,
        place INTEGER NOT NULL,
        ip TEXT,
        host TEXT,
        region TEXT,
        provider TEXT,
        uptime_percent REAL,
        avg_latency_ms REAL,
        version TEXT,
        state TEXT,
        last_updated TEXT,
        last_latency_ms REAL,
        PRIMARY KEY (day, bucket_id, place)
    ) WITHOUT ROWID""",
    """CREATE TABLE days (
        day TEXT NOT NULL PRIMARY KEY,
        rows INTEGER NOT NULL,
        buckets INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        ids TEXT NOT NULL,
        kept_at TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE VIEW region_days AS
        SELECT day, region, provider, count(*) AS nodes,
            avg(uptime_percent) AS uptime_percent, avg(avg_latency_ms) AS avg_latency_ms
        FROM node_days GROUP BY day, region, provider""",
)

_DAY, _UPDATED = NodeDay._fields.index("day"), NodeDay._fields.index("last_updated")
_ROW = f"({', '.join('?' * WIDTH)})"
# One statement for many rows: a thread gives the interpreter away at each, and waits to get it
# back. SQLite may allow no more than 999 parameters.
_AT_ONCE = 999 // WIDTH


# The databases that this process has open, by device and inode. To read the header of one of them
# again would drop SQLite's locks, which belong to the process.
_open: Counter[tuple[int, int]] = Counter()
_opening = threading.Lock()


class SqliteReader:
    """A database that is read; what others write meanwhile does not disturb."""

    def __init__(self, target: Target) -> None:
        self._target = target
        check_file(target)
        with _opening, _refusing(target):
            self._database = _connect_to_read(target.path)
            self._identity = _register(target.path)

    def kept(self) -> list[KeptDay]:
        """Return the finished days, the oldest first."""
        with _refusing(self._target):
            return _kept(self._database)

    def rows(self, day: date) -> list[NodeDay]:
        """Return the rows of a day, by bucket and place."""
        with _refusing(self._target):
            found = self._database.execute(
                "SELECT * FROM node_days WHERE day = ? ORDER BY bucket_id, place",
                (day.isoformat(),),
            )
            return [_row_of(values, day) for values in found]

    def close(self) -> None:
        """Close the database."""
        self._database.close()
        _forget(self._identity)


class SqliteStore:
    """A database that is written to, a day at a time."""

    def __init__(self, target: Target) -> None:
        self._target = target
        check_for_writing(target)
        with _opening, _refusing(target):
            _create(target.path)
            self._file = target.path.stat()
            self._database = _connect_to_write(target.path)
            self._identity = _register(target.path)

    def kept(self) -> list[KeptDay]:
        """Return the finished days, the oldest first."""
        with _refusing(self._target):
            return _kept(self._database)

    def begin(self, day: date) -> None:
        """Begin a day. Readers see what there was of it until it is finished."""
        with _refusing(self._target):
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("DELETE FROM node_days WHERE day = ?", (day.isoformat(),))

    def add(self, parts: Iterable[Values]) -> None:
        """Add rows to the day, which come in parts."""
        with _refusing(self._target):
            for part in parts:
                self._insert(part)

    def finish(self, kept: KeptDay) -> None:
        """Keep the day, with all of its rows or, if that fails, without any change."""
        with _refusing(self._target):
            values = (kept.day.isoformat(), *kept[1:5], time_text(kept.kept_at))
            self._database.execute("INSERT OR REPLACE INTO days VALUES (?, ?, ?, ?, ?, ?)", values)
            self._database.execute("COMMIT")
        if not os.path.samestat(self._file, self._target.path.stat()):
            raise self._target.refused("was replaced by another one during the export")

    def discard(self) -> None:
        """Take the day back, if one has begun."""
        if self._database.in_transaction:
            with _refusing(self._target):
                self._database.execute("ROLLBACK")

    def _insert(self, values: Values) -> None:
        step = _AT_ONCE * WIDTH
        for start in range(0, len(values), step):
            some = _as_stored(values[start : start + step])
            rows = ", ".join([_ROW] * (len(some) // WIDTH))
            self._database.execute(f"INSERT INTO node_days VALUES {rows}", some)  # noqa: S608 - question marks only

    def close(self) -> None:
        """Close the database; a day that is not finished is taken back."""
        try:
            with suppress(OSError):
                self.discard()
        finally:
            self._database.close()
            _forget(self._identity)


def check_for_writing(target: Target) -> None:
    """Check, without SQLite, that a file is missing, empty, or a history of one name.

    Under each of its names, a file has another lock and another log of SQLite.

    Raises:
        ConfigurationError: It is something else.
    """
    check_file(target)
    with suppress(FileNotFoundError):
        if target.path.stat().st_nlink > 1:
            raise target.refused(
                "has another name, a hard link: exports under two names would lose days "
                "(copy the file instead)"
            )


def check_file(target: Target) -> None:
    """Check, without SQLite, that a file is missing, empty, or a history.

    SQLite itself would change some of the files that it opens.

    Raises:
        ConfigurationError: It is something else.
    """
    try:
        with _opening:
            if _identity(target.path) in _open:
                return  # checked when it was opened
            header = _header(target.path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise target.refused(f"cannot be read: {error.strerror}") from None
    if not header:
        return
    if not header.startswith(_MAGIC) or _number(header, _APPLICATION_AT) != _APPLICATION:
        raise target.refused("is not a history")
    if _number(header, _VERSION_AT) > _VERSION:
        raise target.refused("was written by a newer version of this package")


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEADER)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _register(path: Path) -> tuple[int, int]:
    """Record that a database is open; return what identifies it."""
    identity = _identity(path)
    _open[identity] += 1
    return identity


def _forget(identity: tuple[int, int]) -> None:
    """Record that a database was closed once."""
    with _opening:
        _open[identity] -= 1
        if not _open[identity]:
            del _open[identity]


def _new_files(path: Path) -> list[Path]:
    """Return the name of a database that is being made, and those of its logs."""
    new = path.with_name(f".{path.name}.new")
    return [new, *(new.with_name(f"{new.name}{end}") for end in ("-journal", "-wal", "-shm"))]


def _create(path: Path) -> None:
    """Create an empty history unless there is one, under another name until it is complete."""
    for old in _new_files(path):  # of a run that was killed
        old.unlink(missing_ok=True)
    if path.exists() and path.stat().st_size:
        return
    new = _new_files(path)[0]
    database = sqlite3.connect(new, isolation_level=None)
    try:
        database.execute("BEGIN EXCLUSIVE")
        for statement in _TABLES:
            database.execute(statement)
        database.execute(f"PRAGMA application_id = {_APPLICATION}")
        database.execute(f"PRAGMA user_version = {_VERSION}")
        database.execute("COMMIT")
        database.execute("PRAGMA journal_mode = WAL")
    finally:
        database.close()
    for stale in (path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm")):
        stale.unlink(missing_ok=True)  # of a database that was removed; it would be applied here
    new.replace(path)
    sync(path.parent)


def _connect_to_write(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    except BaseException:
        database.close()
        raise
    return database


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a database for queries, also if this process may not write to it or to its folder."""
    modes = ["mode=rw", "mode=ro"]  # in this order: the second would leave its log behind
    if not path.with_name(f"{path.name}-wal").exists():
        modes.append("mode=ro&immutable=1")  # nobody writes to it, or its log would be there
    for mode in modes:
        address = f"{path.as_uri()}?{mode}"
        database = sqlite3.connect(address, uri=True, timeout=_PATIENCE, isolation_level=None)
        try:
            database.execute("PRAGMA query_only = ON")
            database.execute("SELECT count(*) FROM days")
        except BaseException as error:
            database.close()
            if mode != modes[-1] and isinstance(error, sqlite3.OperationalError):
                continue
            raise
        return database
    raise AssertionError  # the last mode returns or raises


def _kept(database: sqlite3.Connection) -> list[KeptDay]:
    return [
        KeptDay(date.fromisoformat(day), rows, buckets, failed, ids, time_of(kept_at))
        for day, rows, buckets, failed, ids, kept_at in database.execute(
            "SELECT * FROM days ORDER BY day"
        )
    ]


def _as_stored(values: Values) -> Values:
    """Return rows as SQLite takes them, with days and times as text."""
    values[_DAY::WIDTH] = [str(day) for day in values[_DAY::WIDTH]]
    values[_UPDATED::WIDTH] = [
        time_text(moment) if isinstance(moment, datetime) else None
        for moment in values[_UPDATED::WIDTH]
    ]
    return values


def _row_of(values: Sequence[object], day: date) -> NodeDay:
    bucket_id, _, *rest, updated, last_latency_ms = values
    at = None if updated is None else time_of(str(updated))
    return NodeDay._make((bucket_id, day, *rest, at, last_latency_ms))


@contextmanager
def _refusing(target: Target) -> Iterator[None]:
    """Make an error of SQLite one that names the file and says what is wrong."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target.name) from error
        if code == sqlite3.SQLITE_IOERR:
            raise OSError(errno.EIO, os.strerror(errno.EIO), target.name) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise target.refused("is in use by another program") from None
        raise target.refused(f"cannot be used: {error}") from None
    except (ValueError, TypeError):
        raise target.refused("is damaged") from None


def _number(header: bytes, place: int) -> int:
    return int.from_bytes(header[place : place + 4], "big")
