"""The state file of a watch: an SQLite database that one watch has to itself.

Everything here blocks, and belongs into one thread.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flashback_async.errors import ConfigurationError
from flashback_async.watch.buckets import Bucket
from flashback_async.watch.outbox import Batch, Pending
from flashback_async.watch.rows import bucket_from, change_from, change_row, encode

_MAGIC = b"SQLite format 3\0"
_APPLICATION = int.from_bytes(b"FBwt", "big")
_VERSION = 1
_LOG_PAGES = 100
# Where SQLite's header has the version and the application that the file belongs to.
_VERSION_AT, _APPLICATION_AT, _HEADER = 60, 68, 100

_TABLES = (
    "CREATE TABLE bucket (id TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE pending (position INTEGER PRIMARY KEY, change TEXT NOT NULL)",
)

# The files that watches of this process have open. Reading the header of one of them again would
# drop SQLite's locks, which belong to the process.
_open: set[Path] = set()
_opening = threading.Lock()


class Store:
    """An open state file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._name = os.fspath(path)
        self._path = Path(os.path.realpath(self._name))
        with _opening:
            if self._is_open():
                raise self._refused("is in use by another watch of this process")
            self._check_file()
            self._database = self._connect()
            _open.add(self._path)

    def load(self) -> tuple[list[tuple[Bucket, bool]], list[Pending]]:
        """Return what the file holds.

        Raises:
            ConfigurationError: It is damaged.
        """
        with self._refusing():
            rows = self._database.execute("SELECT row FROM bucket").fetchall()
            changes = self._database.execute("SELECT * FROM pending ORDER BY position").fetchall()
            buckets = [bucket_from(row) for (row,) in rows]
            return buckets, [Pending(place, change_from(text)) for place, text in changes]

    def write(self, batch: Batch) -> None:
        """Write a batch as a whole or not at all.

        Raises:
            sqlite3.Error: It could not be written, such as to a full disk.
        """
        database = self._database
        kept = [(_key(i), encode(row)) for i, row in batch.rows if row is not None]
        dropped = [(_key(i),) for i, row in batch.rows if row is None]
        done = [(place,) for place in batch.done]
        new = [(place, encode(change_row(change))) for place, change in batch.new]
        database.execute("BEGIN IMMEDIATE")
        try:
            database.executemany("INSERT OR REPLACE INTO bucket VALUES (?, ?)", kept)
            database.executemany("DELETE FROM bucket WHERE id = ?", dropped)
            database.executemany("DELETE FROM pending WHERE position = ?", done)
            database.executemany("INSERT INTO pending VALUES (?, ?)", new)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file, which another watch may then open."""
        try:
            self._database.close()
        finally:
            _open.discard(self._path)

    def _is_open(self) -> bool:
        """Return whether a watch of this process has the file, perhaps by another name."""
        if self._path in _open:
            return True
        for other in _open:
            with suppress(OSError):  # one of the two does not exist
                if self._path.samefile(other):
                    return True
        return False

    def _check_file(self) -> None:
        """Check, without SQLite, that the file is missing, empty, or was written by a watch."""
        try:
            mode = self._path.stat().st_mode
        except FileNotFoundError:
            if not self._path.parent.is_dir():
                raise self._refused("is in a folder that does not exist") from None
            return
        except OSError as error:
            raise self._refused(f"cannot be opened: {error.strerror}") from None
        if not stat.S_ISREG(mode):
            raise self._refused("is not a file" if not stat.S_ISDIR(mode) else "is a directory")
        try:
            with self._path.open("rb") as file:
                header = file.read(_HEADER)
        except OSError as error:
            raise self._refused(f"cannot be read: {error.strerror}") from None
        if not header:
            return
        if not header.startswith(_MAGIC) or _number(header, _APPLICATION_AT) != _APPLICATION:
            raise self._refused("was not written by a watch")
        if _number(header, _VERSION_AT) > _VERSION:
            raise self._refused("was written by a newer version of this package")

    def _connect(self) -> sqlite3.Connection:
        with self._refusing():
            is_new = not self._path.exists()
            database = sqlite3.connect(self._path, timeout=0, isolation_level=None)
            try:
                _set_up(database)
            except BaseException as error:
                database.close()
                if is_new and not _is_busy(error):
                    self._path.unlink(missing_ok=True)
                raise
            return database

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Make an error of SQLite, or of what a damaged row holds, one that names the file."""
        try:
            yield
        except sqlite3.Error as error:
            if _is_busy(error):
                raise self._refused("is in use by another watch") from None
            raise self._refused(f"cannot be used: {error}") from None
        except (ValueError, TypeError, LookupError):
            raise self._refused("is damaged") from None

    def _refused(self, problem: str) -> ConfigurationError:
        return ConfigurationError(f"state: the file {self._name!a} {problem}")


def _set_up(database: sqlite3.Connection) -> None:
    """Take the file for this connection alone, and create what a new one lacks."""
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    # The header of a new file is written before there is a log beside it, which may lag behind.
    if database.execute("PRAGMA user_version").fetchone() == (0,):
        database.execute("BEGIN EXCLUSIVE")
        for statement in _TABLES:
            database.execute(statement)
        database.execute(f"PRAGMA application_id = {_APPLICATION}")
        database.execute(f"PRAGMA user_version = {_VERSION}")
        database.execute("COMMIT")
    for table in ("bucket", "pending"):
        database.execute(f"SELECT * FROM {table} LIMIT 0")  # noqa: S608 - before anything is changed
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    # The log beside the file stays small.
    database.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    database.execute(f"PRAGMA journal_size_limit = {_LOG_PAGES * 4096}")
    database.execute("BEGIN IMMEDIATE")
    database.execute("COMMIT")


def _is_busy(error: BaseException) -> bool:
    """Return whether another process has the file."""
    code = getattr(error, "sqlite_errorcode", None)
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _key(bucket_id: str) -> str:
    """Return an id as text that SQLite takes: any id, lone surrogates included."""
    return ascii(bucket_id)


def _number(header: bytes, place: int) -> int:
    return int.from_bytes(header[place : place + 4], "big")
