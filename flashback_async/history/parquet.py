"""A history as a folder of Parquet files: ``day=2026-01-05/nodes.parquet``.

A file is written under another name and renamed when it is complete, so that a file with the name
``nodes.parquet`` is a finished day. What is kept about the day is in the metadata of its file. The
day itself is in the name of its folder alone: with a column of the same name, readers fail.

Everything here blocks. A store belongs into one thread.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flashback_async import FlashbackError
from flashback_async.history.disk import make_folder, sync
from flashback_async.history.rows import WIDTH, KeptDay, NodeDay, Values, time_of, time_text
from flashback_async.history.target import Target

_FILE = "nodes.parquet"
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_FOLDER = re.compile(f"day=({_DATE})")
_KEY = b"flashback_history"
_VERSION = 1

_TYPES = {
    "place": pa.int32(),
    "uptime_percent": pa.float64(),
    "avg_latency_ms": pa.float64(),
    "last_updated": pa.timestamp("us", tz="UTC"),
    "last_latency_ms": pa.float64(),
}
_DAY = NodeDay._fields.index("day")
_SCHEMA = pa.schema(
    pa.field(name, _TYPES.get(name, pa.string()), nullable=name not in ("bucket_id", "place"))
    for name in NodeDay._fields
    if name != "day"
)


class ParquetReader:
    """A folder that is read; what others write meanwhile does not disturb."""

    def __init__(self, target: Target) -> None:
        self._target = target
        check_folder(target)

    def kept(self) -> list[KeptDay]:
        """Return the finished days, the oldest first."""
        return _kept(self._target)

    def rows(self, day: date) -> list[NodeDay]:
        """Return the rows of a day, by bucket and place."""
        with _refusing(self._target):
            # Without a partitioning of its own, pyarrow would add the day of the folder's name.
            found = pq.read_table(_file_of(self._target.path, day), partitioning=None)
            table = found.select(_SCHEMA.names)
            # Without its zone, for which pyarrow would load a database of all zones.
            place = _SCHEMA.get_field_index("last_updated")
            plain = table.column(place).cast(pa.timestamp("us"))
            lists = table.set_column(place, "last_updated", plain).to_pydict()
            lists["last_updated"] = [at and at.replace(tzinfo=UTC) for at in lists["last_updated"]]
            lists["day"] = [day] * table.num_rows
            return sorted(
                map(NodeDay._make, zip(*(lists[n] for n in NodeDay._fields), strict=True)),
                key=lambda row: (row.bucket_id, row.place),
            )

    def close(self) -> None:
        """Do nothing: no file stays open."""


class ParquetStore:
    """A folder that is written to, a day at a time."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._folder = target.path
        self._day: tuple[Path, pq.ParquetWriter] | None = None
        check_folder(target)
        with _refusing(target):
            make_folder(self._folder)
            # Beside the folder: polars refuses a folder with other files in it, dot or not. But a
            # file cannot be renamed into another file system.
            is_mount = os.path.ismount(self._folder)
            self._beside = self._folder if is_mount else self._folder.parent
            mine = rf"\.{re.escape(self._folder.name)}\.{_DATE}\.unfinished"
            for old in self._beside.iterdir():
                if re.fullmatch(mine, old.name):
                    old.unlink()  # of a run that was killed

    def kept(self) -> list[KeptDay]:
        """Return the finished days, the oldest first."""
        return _kept(self._target)

    def begin(self, day: date) -> None:
        """Begin a day. Readers see what there was of it until it is finished."""
        path = self._beside / f".{self._folder.name}.{day}.unfinished"
        with _refusing(self._target):
            self._day = path, pq.ParquetWriter(path, _SCHEMA, compression="zstd")

    def add(self, parts: Iterable[Values]) -> None:
        """Add rows to the day, which come in parts."""
        _, writer = self._begun()
        table = pa.Table.from_batches(map(_batch, parts), _SCHEMA)
        with _refusing(self._target):
            writer.write_table(table)

    def finish(self, kept: KeptDay) -> None:
        """Keep the day, in place of what there was of it."""
        path, writer = self._begun()
        about = {"version": _VERSION, **kept._asdict()}
        about |= {"day": kept.day.isoformat(), "kept_at": time_text(kept.kept_at)}
        with _refusing(self._target):
            writer.add_key_value_metadata({_KEY: json.dumps(about).encode()})
            writer.close()
            sync(path)
            final = _file_of(self._folder, kept.day)
            make_folder(final.parent)
            path.replace(final)
            sync(final.parent)
        self._day = None

    def discard(self) -> None:
        """Take the day back, if one has begun."""
        if self._day is not None:
            (path, writer), self._day = self._day, None
            with suppress(OSError, pa.ArrowException):  # such as a full disk, again
                writer.close()
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Take back a day that is not finished."""
        self.discard()

    def _begun(self) -> tuple[Path, pq.ParquetWriter]:
        assert self._day is not None  # noqa: S101 - each day begins with `begin`
        return self._day


def check_folder(target: Target) -> None:
    """Check that a folder is missing, empty, or holds nothing but days that an export wrote.

    Names that start with a dot are left out of account, as readers of such folders do.

    Raises:
        ConfigurationError: It holds something else, or a day is damaged.
    """
    with _refusing(target):
        if not target.path.exists():
            return
        for entry in sorted(target.path.iterdir()):
            if entry.name.startswith("."):
                continue
            if _day_of(entry) is None:
                raise target.refused(f"is not a history: it holds {entry.name!a}")
            for inner in sorted(entry.iterdir()):
                if inner.name != _FILE and not inner.name.startswith("."):
                    name = f"{entry.name}/{inner.name}"
                    raise target.refused(f"is not a history: it holds {name!a}")
    _kept(target)


def _kept(target: Target) -> list[KeptDay]:
    with _refusing(target):
        entries = sorted(target.path.iterdir()) if target.path.exists() else []
        return [
            _about(target, day, entry / _FILE)
            for entry in entries
            if (day := _day_of(entry)) and (entry / _FILE).exists()
        ]


def _day_of(folder: Path) -> date | None:
    """Return the day in the name of a folder; None if it is not the folder of a day."""
    found = _FOLDER.fullmatch(folder.name)
    with suppress(ValueError):  # such as the 30th of February
        if found and folder.is_dir():
            return date.fromisoformat(found[1])
    return None


def _about(target: Target, day: date, path: Path) -> KeptDay:
    """Return what is kept about a day, from the metadata of its file."""
    name = f"{path.parent.name}/{path.name}"
    try:
        text = (pq.read_metadata(path).metadata or {}).get(_KEY)
    except (pa.ArrowException, OSError) as error:
        advice = "delete it to have its day asked for again"
        raise target.refused(f"holds a damaged file, {name!a} ({advice}): {error}") from None
    if text is None:
        raise target.refused(f"is not a history: no export wrote {name!a}")
    values: dict[str, Any] = json.loads(text)
    if values.pop("version") > _VERSION:
        raise target.refused("was written by a newer version of this package")
    times = {"day": day, "kept_at": time_of(values["kept_at"])}
    return KeptDay(**values | times)


def _batch(values: Values) -> pa.RecordBatch:
    columns = [values[n::WIDTH] for n in range(WIDTH) if n != _DAY]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def _file_of(folder: Path, day: date) -> Path:
    return folder / f"day={day.isoformat()}" / _FILE


@contextmanager
def _refusing(target: Target) -> Iterator[None]:
    """Make an error of a damaged file one that names the history; a full disk is an OSError."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # pyarrow's own, about what it has read
            raise target.refused(f"is damaged: {error}") from None
        raise
    except (pa.ArrowException, ValueError, TypeError, LookupError, OverflowError) as error:
        if isinstance(error, FlashbackError):
            raise
        raise target.refused(f"is damaged: {error}") from None
