"""The two forms of a history: they hold the same, and touch nothing that is not theirs."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from flashback_async import ConfigurationError, DailyNodeStats, InvalidArgumentError
from flashback_async.history import NodeDay, history_status, read_history
from flashback_async.history import store as stores
from flashback_async.history.lock import lock_file
from flashback_async.history.rows import KeptDay, values_of
from flashback_async.history.store import open_reader, open_store
from flashback_async.history.target import target_at

AT = datetime(2026, 1, 9, 1, 2, 3, 4, tzinfo=UTC)
HOST = "*-us-east-1-aws.flashback.tech"
FULL = DailyNodeStats("10.0.0.1", HOST, 99.5, 2.25, "1.2", "ONLINE", AT, 4.0)
BARE = DailyNodeStats()

forms = pytest.mark.parametrize("form", ["sqlite", "parquet"])
needs_posix = pytest.mark.skipif(os.name == "nt", reason="limits and rights of POSIX")


def day(number):
    return date(2026, 1, number)


def about(number, rows=0, ids="x", failed=0):
    return KeptDay(day(number), rows, 1, failed, ids, AT)


def keep(path, form, number, nodes=(FULL, BARE), ids="x", failed=0):
    with open_store(target_at(path), form) as store:
        store.begin(day(number))
        for bucket_id in ("b", "a"):
            store.add([values_of(bucket_id, day(number), nodes)])
        store.finish(about(number, 2 * len(nodes), ids, failed))


def contents(folder):
    """Return every file below a folder with a hash of its bytes."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@forms
def test_days_are_read_back_as_they_were_kept(tmp_path, form):
    path = tmp_path / "history"
    keep(path, form, 5)
    keep(path, form, 3, nodes=())
    found = list(read_history(path))
    assert [on for on, _ in found] == [day(3), day(5)]
    assert found[0][1] == []
    full = ("10.0.0.1", HOST, "us-east-1", "aws", 99.5, 2.25, "1.2", "ONLINE", AT, 4.0)
    assert found[1][1] == [
        NodeDay("a", day(5), 0, *full),
        NodeDay("a", day(5), 1),
        NodeDay("b", day(5), 0, *full),
        NodeDay("b", day(5), 1),
    ]
    assert found[1][1][0].last_updated.tzinfo is UTC


@forms
@pytest.mark.parametrize(
    ("first", "last", "numbers"),
    [
        (None, None, [1, 2, 4]),
        ("2026-01-02", None, [2, 4]),
        (None, datetime(2026, 1, 2, 23, tzinfo=UTC), [1, 2]),
        (day(3), day(3), []),
        (day(4), date(2030, 1, 1), [4]),
    ],
)
def test_a_part_of_the_days_can_be_read(tmp_path, form, first, last, numbers):
    for number in (4, 1, 2):
        keep(tmp_path / "history", form, number)
    found = read_history(str(tmp_path / "history"), first, last)
    assert [on for on, _ in found] == [day(n) for n in numbers]


@forms
def test_the_status_names_gaps_and_days_with_other_ids(tmp_path, form):
    for number, ids, failed in ((7, "new", 0), (2, "old", 1), (4, "new", 0)):
        keep(tmp_path / "history", form, number, ids=ids, failed=failed)
    status = history_status(tmp_path / "history")
    assert status.format == form
    assert status.days == [day(2), day(4), day(7)]
    assert status.gaps == [day(3), day(5), day(6)]
    assert (status.rows, status.buckets, status.last_kept_at) == (12, 1, AT)
    assert (status.incomplete, status.other_ids) == ([day(2)], [day(2)])


@forms
def test_a_history_without_days_is_one(tmp_path, form):
    with open_store(target_at(tmp_path / "history"), form) as store:
        assert store.kept() == []
    assert list(read_history(tmp_path / "history")) == []
    status = history_status(tmp_path / "history")
    assert (status.days, status.gaps, status.buckets, status.last_kept_at) == ([], [], None, None)


@forms
def test_what_is_discarded_or_not_finished_leaves_the_old_day(tmp_path, form):
    path = tmp_path / "history"
    keep(path, form, 5, nodes=(FULL,))
    with open_store(target_at(path), form) as store:
        store.begin(day(5))
        store.add([values_of("new", day(5), [BARE])])
        assert [len(rows) for _, rows in read_history(path)] == [2]
        store.discard()
        store.discard()
        store.begin(day(5))
        store.add([values_of("new", day(5), [BARE])])
    assert [[row.bucket_id for row in rows] for _, rows in read_history(path)] == [["a", "b"]]
    with open_store(target_at(path), form) as store:
        store.begin(day(5))
        store.add([values_of("new", day(5), [BARE])])
        store.finish(about(5, 1))
    assert [[row.bucket_id for row in rows] for _, rows in read_history(path)] == [["new"]]
    assert not list(tmp_path.glob(".*.unfinished"))


@forms
def test_only_one_at_a_time_may_write(tmp_path, form):
    path = tmp_path / "history"
    (tmp_path / "link").symlink_to(path)
    with open_store(target_at(path), form):
        for name in (path, tmp_path / "link"):
            with pytest.raises(ConfigurationError, match="is in use by another export"):
                open_store(target_at(name), form).__enter__()
    assert lock_file(path).name == ".history.lock"
    with open_store(target_at(path), form):
        pass


@forms
def test_leftovers_of_a_killed_run_are_removed_and_those_of_others_are_not(tmp_path, form):
    path = tmp_path / "history"
    mine = [".history.new", ".history.new-journal", ".history.new-wal"]
    if form == "parquet":
        mine = [".history.2026-01-05.unfinished"]
    others = [".history.2026.2026-01-05.unfinished", ".other.new", ".xhistory.new"]
    for name in (*mine, *others):
        (tmp_path / name).write_bytes(b"half")
    keep(path, form, 5)
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {"history", ".history.lock", *others}


def foreign_text(path):
    path.write_text("mine")


def foreign_database(path):
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE days (day)")
        database.commit()


def newer_database(path):
    keep(path, "sqlite", 1)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
        database.execute("PRAGMA journal_mode = DELETE")


def folder_with_a_note(path):
    path.mkdir()
    (path / "notes.txt").write_text("mine")


def folder_of_days_with_a_note(path):
    keep(path, "parquet", 1)
    (path / "day=2026-01-01" / "notes.txt").write_text("mine")


def folder_of_another(path):
    (path / "day=2026-01-01").mkdir(parents=True)
    pq.write_table(pa.table({"x": [1]}), path / "day=2026-01-01" / "nodes.parquet")


def damaged_folder(path):
    (path / "day=2026-01-01").mkdir(parents=True)
    (path / "day=2026-01-01" / "nodes.parquet").write_bytes(b"PAR1 half")


def folder_of_no_day(path):
    (path / "day=2026-02-30").mkdir(parents=True)
    (path / "day=2026-02-30" / "nodes.parquet").write_bytes(b"")


def file_in_place_of_a_folder(path):
    keep(path, "sqlite", 1)


@pytest.mark.parametrize(
    ("make", "form", "problem"),
    [
        (foreign_text, "sqlite", "is not a history"),
        (foreign_text, "parquet", "needs a folder"),
        (foreign_database, "sqlite", "is not a history"),
        (newer_database, "sqlite", "newer version"),
        (folder_with_a_note, "parquet", "is not a history: it holds 'notes.txt'"),
        (folder_with_a_note, "sqlite", "needs a file"),
        (folder_of_days_with_a_note, "parquet", "it holds 'day=2026-01-01/notes.txt'"),
        (folder_of_another, "parquet", "no export wrote 'day=2026-01-01/nodes.parquet'"),
        (damaged_folder, "parquet", "a damaged file, 'day=2026-01-01/nodes.parquet'"),
        (folder_of_no_day, "parquet", "it holds 'day=2026-02-30'"),
        (file_in_place_of_a_folder, "parquet", "needs a folder"),
    ],
)
def test_what_is_no_history_of_the_form_is_refused_and_not_touched(tmp_path, make, form, problem):
    path = tmp_path / "mine"
    make(path)
    lock_file(path).unlink(missing_ok=True)
    before = contents(tmp_path)
    with pytest.raises(ConfigurationError, match=f"^path: the (file|folder) .*{problem}"):
        open_store(target_at(path), form).__enter__()
    if make is not file_in_place_of_a_folder:
        with pytest.raises(ConfigurationError, match=r"^path: the (file|folder) "):
            read_history(path)
        with pytest.raises(ConfigurationError, match=r"^path: the (file|folder) "):
            history_status(path)
    assert contents(tmp_path) == before


def test_a_damaged_database_is_refused(tmp_path):
    path = tmp_path / "history"
    keep(path, "sqlite", 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    with pytest.raises(ConfigurationError, match="cannot be used: "):
        list(read_history(path))


LOCKED = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0x40000000 + 2)  # SQLite's shared lock
    except OSError:
        print("locked")
"""


def test_a_database_with_two_names_is_read_and_not_written_to(tmp_path):
    path, other = tmp_path / "history", tmp_path / "other"
    keep(path, "sqlite", 1)
    os.link(path, other)
    before = contents(tmp_path)
    for name in (path, other):
        with pytest.raises(ConfigurationError, match=f"{name.name}' has another name, a hard link"):
            keep(name, "sqlite", 2)
    assert contents(tmp_path) == before
    assert history_status(other).days == [day(1)]
    other.unlink()
    keep(path, "sqlite", 2)
    assert history_status(path).days == [day(1), day(2)]


@needs_posix
@forms
def test_links_that_lead_in_a_circle_are_refused_and_leave_no_lock(tmp_path, form):
    path = tmp_path / "history"
    path.symlink_to(path.name)
    with pytest.raises(ConfigurationError, match="history' cannot be opened: "):
        keep(path, form, 1)
    with pytest.raises(ConfigurationError, match="history' cannot be opened: "):
        history_status(path)
    assert list(tmp_path.iterdir()) == [path]


def change_database(path, statement):
    keep(path, "sqlite", 1)
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.commit()


def change_table(path, change):
    keep(path, "parquet", 1)
    file = path / "day=2026-01-01" / "nodes.parquet"
    with pq.ParquetFile(file) as opened:
        table = opened.read()
    pq.write_table(change(table), file)


def rename_a_column(table):
    names = [name.replace("provider", "supplier") for name in table.column_names]
    return table.rename_columns(names).replace_schema_metadata(table.schema.metadata)


def set_a_time_past_the_year_9999(table):
    place = table.column_names.index("last_updated")
    times = pa.array([2**62] * len(table), pa.timestamp("us", tz="UTC"))
    return table.set_column(place, "last_updated", times)


def keep_at_a_time_without_a_zone(table):
    about = table.schema.metadata[b"flashback_history"]
    return table.replace_schema_metadata({"flashback_history": about.replace(b'Z"', b'"')})


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (change_database, "UPDATE days SET kept_at = rtrim(kept_at, 'Z')"),
        (change_database, "UPDATE node_days SET last_updated = rtrim(last_updated, 'Z')"),
        (change_table, keep_at_a_time_without_a_zone),
        (change_table, rename_a_column),
        (change_table, set_a_time_past_the_year_9999),
    ],
)
def test_a_history_with_a_value_that_no_export_writes_is_damaged(tmp_path, change, how):
    path = tmp_path / "history"
    change(path, how)
    with pytest.raises(ConfigurationError, match="is damaged"):
        history_status(path)
        list(read_history(path))


@needs_posix
def test_reading_in_the_same_process_leaves_the_locks_of_an_export_alone(tmp_path):
    path = tmp_path / "history"
    keep(path, "sqlite", 1)
    with open_store(target_at(path), "sqlite") as store:
        store.begin(day(2))
        with pytest.raises(ConfigurationError, match="is in use by another export"):
            open_store(target_at(path), "sqlite").__enter__()
        assert len(list(read_history(path))) == 1
        assert history_status(path).days == [day(1)]
        said = subprocess.run(
            [sys.executable, "-c", LOCKED, path], capture_output=True, text=True, check=True
        )
        assert said.stdout == "locked\n"


def test_an_empty_file_or_folder_becomes_a_history(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder" / ".cache").mkdir(parents=True)
    keep(tmp_path / "file", "sqlite", 1)
    keep(tmp_path / "folder", "parquet", 1)
    for name in ("file", "folder"):
        assert len(list(read_history(tmp_path / name))) == 1


def test_the_log_of_a_removed_database_is_not_applied_to_a_new_one(tmp_path):
    path = tmp_path / "history"
    with open_store(target_at(path), "sqlite") as store:
        store.begin(day(1))
        store.finish(about(1))
        shutil.copy(f"{path}-wal", tmp_path / "log")
    path.unlink()
    shutil.copy(tmp_path / "log", f"{path}-wal")
    keep(path, "sqlite", 2)
    assert history_status(path).days == [day(2)]


@forms
def test_without_a_history_or_its_folder_the_path_is_named(tmp_path, form):
    for read in (read_history, history_status):
        with pytest.raises(ConfigurationError, match=r"there is no history at '.*nothing'"):
            read(tmp_path / "nothing")
    with pytest.raises(ConfigurationError, match="is in a folder that does not exist"):
        open_store(target_at(tmp_path / "no" / "history"), form).__enter__()
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("path", [None, 1, b"x", "", "a\0b"])
def test_a_path_is_text_or_a_path(path):
    with pytest.raises(InvalidArgumentError, match=r"^path must "):
        read_history(path)


def test_wrong_days_to_read_are_named(tmp_path):
    keep(tmp_path / "history", "sqlite", 1)
    for first, last, problem in (
        ("x", None, "^first must be"),
        (None, 7, "^last must be"),
        (day(2), day(1), "^last must not lie before first"),
    ):
        with pytest.raises(InvalidArgumentError, match=problem):
            read_history(tmp_path / "history", first, last)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "flashback_async.history.parquet", None)
    with pytest.raises(ConfigurationError, match=r"^format: .*flashback-async\[parquet\]"):
        open_store(target_at(tmp_path / "history"), "parquet").__enter__()
    (tmp_path / "kept").mkdir()
    with pytest.raises(ConfigurationError, match=r"^path: .*flashback-async\[parquet\]"):
        open_reader(target_at(tmp_path / "kept"))
    assert stores._form("sqlite", "format").store is not None
    assert contents(tmp_path) == {}


def test_the_folder_is_read_as_one_table_with_the_documented_types(tmp_path):
    for number in (1, 2):
        keep(tmp_path / "history", "parquet", number)
    table = ds.dataset(tmp_path / "history", partitioning="hive").to_table()
    columns = {field.name: str(field.type) for field in table.schema}
    kinds = {"place": "int32", "last_updated": "timestamp[us, tz=UTC]"}
    kinds |= dict.fromkeys(("uptime_percent", "avg_latency_ms", "last_latency_ms"), "double")
    assert {name: kinds.get(name, "string") for name in NodeDay._fields} == columns
    assert table.column("day").unique().to_pylist() == ["2026-01-01", "2026-01-02"]
    assert pq.read_table(tmp_path / "history").num_rows == 8
    file = tmp_path / "history" / "day=2026-01-01" / "nodes.parquet"
    assert "day" not in pq.read_schema(file).names
    assert pq.read_metadata(file).row_group(0).column(0).compression == "ZSTD"


def test_the_database_can_be_asked_in_sql(tmp_path):
    path = tmp_path / "history"
    keep(path, "sqlite", 1)
    with closing(sqlite3.connect(path)) as database:
        ask = database.execute
        assert [row[1] for row in ask("PRAGMA table_info(node_days)")] == list(NodeDay._fields)
        assert ask("SELECT * FROM region_days ORDER BY region").fetchall() == [
            ("2026-01-01", None, None, 2, None, None),
            ("2026-01-01", "us-east-1", "aws", 2, 99.5, 2.25),
        ]
        assert ask("SELECT last_updated FROM node_days LIMIT 1").fetchone() == (
            "2026-01-09T01:02:03.000004Z",
        )
        assert ask("PRAGMA journal_mode").fetchone() == ("wal",)
        assert ask("PRAGMA application_id").fetchone() == (int.from_bytes(b"FBhy", "big"),)
        assert ask("PRAGMA user_version").fetchone() == (1,)


def run_apart(program, *arguments):
    """Run a program that cannot write everywhere; coverage, which would write, is left out."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@needs_posix
@pytest.mark.slow
def test_a_history_is_read_where_nothing_can_be_written():
    program = (
        "import os, sys\n"
        "from flashback_async.history import history_status, read_history\n"
        "list(read_history(sys.argv[1]))\n"  # imports what another user may not see
        "if os.getuid() == 0: os.setuid(65534)\n"
        "print(len(list(read_history(sys.argv[1]))), history_status(sys.argv[1]).rows)"
    )
    with tempfile.TemporaryDirectory() as name:  # another user cannot reach pytest's own
        folder = Path(name)
        keep(folder / "history", "sqlite", 1)
        (folder / "history").chmod(0o444)
        folder.chmod(0o555)
        try:
            said = run_apart(program, folder / "history")
        finally:
            folder.chmod(0o755)
    assert (said.stdout, said.stderr) == ("1 4\n", "")


FILLING = """
import random, resource, sys
from datetime import UTC, date, datetime
from flashback_async import DailyNodeStats
from flashback_async.history.rows import KeptDay, values_of
from flashback_async.history.store import open_reader, open_store
from flashback_async.history.target import target_at

path, form = sys.argv[1:]
with open_store(target_at(path), form) as store:
    for number in range(1, 29):
        day = date(2026, 1, number)
        nodes = [
            DailyNodeStats(avg_latency_ms=random.random(), last_latency_ms=random.random())
            for _ in range(3000)
        ]
        store.begin(day)
        store.add([values_of("b", day, nodes)])
        store.finish(KeptDay(day, 3000, 1, 0, "x", datetime.now(UTC)))
        if number == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
"""


@needs_posix
@pytest.mark.slow
@forms
def test_a_full_disk_is_an_os_error_and_finished_days_stay(tmp_path, form):
    path = tmp_path / "history"
    said = run_apart(FILLING, path, form)
    assert said.returncode == 1
    assert "OSError" in said.stderr.splitlines()[-1], said.stderr
    days = history_status(path).days
    assert days[:2] == [day(1), day(2)]
    assert all(len(rows) == 3000 for _, rows in read_history(path))
    assert {file.name for file in tmp_path.glob(".*")} == {".history.lock"}
    keep(path, form, 28)
    assert day(28) in history_status(path).days
