"""The state file of a watch: what it keeps over restarts, and which files are left alone."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from flashback_async import Change, ChangeKind, ConfigurationError, FlashbackError, ServerError
from flashback_async.watch import store
from flashback_async.watch.buckets import new_bucket
from flashback_async.watch.outbox import Batch
from flashback_async.watch.rows import change_from, change_row, encode, row_of
from tests.unit.support import no
from tests.unit.watch.conftest import text_of
from tests.unit.watch.test_watch import after

sleep = asyncio.sleep


@pytest.fixture
def state(tmp_path):
    return tmp_path / "watch.state"


def copied(state, tmp_path):
    """Return a copy of the file and its log, as a kill at this moment would leave them."""
    folder = tmp_path / "killed"
    folder.mkdir(exist_ok=True)
    for part in state.parent.glob(f"{state.name}*"):
        shutil.copy(part, folder)
    return folder / state.name


def held(state):
    """Return the rows of the tables in a file that no watch has open."""
    with sqlite3.connect(state) as database:
        rows = database.execute("SELECT * FROM bucket").fetchall()
        pending = database.execute("SELECT * FROM pending").fetchall()
    database.close()
    return rows, pending


async def test_a_later_watch_goes_on_and_reports_only_what_has_changed(make, state):
    api, bench = make("a", "b")
    async with bench:
        async with bench.status.watch(["a", "b"], interval=1, state=state) as watch:
            first = [await anext(watch), await anext(watch)]
        assert held(state)[1] == []
        await sleep(3600)
        async with bench.status.watch(["a", "b"], interval=1, state=str(state)) as watch:
            assert watch.view["a"].nodes[0].state == "ONLINE"
            await sleep(5)
            assert watch.stats.waiting == 0
            api.nodes["a"]["10.0.0.1"] = "OFFLINE"
            change = await anext(watch)
    assert text_of(change) == "a 10.0.0.1 STATE ONLINE OFFLINE"
    assert change.since == next(c for c in first if c.bucket_id == "a").at


async def test_counters_go_on_over_a_restart(make, state):
    api, bench = make("a")
    async with bench:
        async with bench.status.watch(["a"], interval=1, fall=3, state=state) as watch:
            await anext(watch)
            api.nodes["a"]["10.0.0.1"] = "OFFLINE"
            await sleep(2.1)
        async with bench.status.watch(["a"], interval=1, fall=3, state=state) as watch:
            asked = len(api.asked)
            assert await after(watch, 1) == ["a 10.0.0.1 STATE ONLINE OFFLINE"]
            assert len(api.asked) - asked <= 2


@pytest.mark.parametrize("is_killed", [True, False])
async def test_what_was_handed_out_and_not_done_comes_again_as_it_was(
    make, state, tmp_path, is_killed
):
    api, bench = make("a")
    async with bench:
        with pytest.raises(ZeroDivisionError):
            async with bench.status.watch(["a"], interval=1, fall=1, rise=1, state=state) as watch:
                await anext(watch)
                api.nodes["a"]["10.0.0.1"] = "OFFLINE"
                change = await anext(watch)
                left = copied(state, tmp_path)
                1 / 0  # noqa: B018 - the handler fails
        if is_killed:
            state = left
        api.nodes["a"]["10.0.0.1"] = "ONLINE"  # all is well by then
        async with bench.status.watch(["a"], interval=1, fall=1, rise=1, state=state) as watch:
            again = await anext(watch)
            assert again == change
            assert await after(watch, 1) == ["a 10.0.0.1 STATE OFFLINE ONLINE"]


async def test_what_is_merged_behind_a_change_that_is_not_done_is_counted_over_restarts(
    make, state
):
    api, bench = make("a")
    async with bench:
        with pytest.raises(ZeroDivisionError):
            async with bench.status.watch(["a"], interval=1, fall=1, rise=1, state=state) as watch:
                await anext(watch)
                api.nodes["a"]["10.0.0.1"] = "OFFLINE"
                await anext(watch)
                1 / 0  # noqa: B018 - the handler fails
        for state_now in ("DISCONNECTED", "ONLINE", "DISCONNECTED"):
            api.nodes["a"]["10.0.0.1"] = state_now
            async with bench.status.watch(["a"], interval=1, fall=1, rise=1, state=state) as watch:
                await watch.ready()
        async with bench.status.watch(["a"], interval=1, fall=1, rise=1, state=state) as watch:
            assert await after(watch, 1) == ["a 10.0.0.1 STATE ONLINE OFFLINE"]
            change = await anext(watch)
            assert (change.before, change.after, change.merged) == ("OFFLINE", "DISCONNECTED", 2)


async def test_a_change_is_in_the_file_before_it_is_handed_out(make, state, tmp_path):
    _, bench = make("a", "b", "c")
    async with bench, bench.status.watch(["a", "b", "c"], interval=1, state=state) as watch:
        for _ in range(3):
            change = await anext(watch)
            (pending,) = [p for p in held(copied(state, tmp_path))[1] if change.bucket_id in p[1]]
            assert "APPEARED" in pending[1]


async def test_what_was_done_does_not_come_again_after_a_kill_a_second_later(make, state, tmp_path):
    _, bench = make("a")
    async with bench:
        async with bench.status.watch(["a"], interval=1, state=state) as watch:
            await anext(watch)
            waiting = asyncio.create_task(anext(watch))
            await sleep(2)
            left = copied(state, tmp_path)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        async with bench.status.watch(["a"], interval=1, state=left) as watch:
            await sleep(3)
            assert watch.stats.waiting == 0


async def test_a_bucket_that_the_fixed_list_does_not_hold_any_more_is_gone_at_once(make, state):
    _, bench = make("a", "b")
    async with bench:
        async with bench.status.watch(["a", "b"], interval=1, state=state) as watch:
            await after(watch, 2)
        async with bench.status.watch(["a"], interval=1, state=state) as watch:
            assert await after(watch, 2) == ["b 10.0.0.1 GONE ONLINE", "b - GONE"]
        assert [key for key, _ in held(state)[0]] == ["'a'"]


async def test_known_buckets_are_polled_while_the_listing_fails(make, state):
    api, bench = make("a")
    async with bench:
        async with bench.status.watch(interval=1, state=state) as watch:
            await anext(watch)
        api.refusals["list"] = no(500)
        api.nodes["a"]["10.0.0.1"] = "OFFLINE"
        async with bench.status.watch(interval=1, state=state) as watch:
            assert await after(watch, 1) == ["a 10.0.0.1 STATE ONLINE OFFLINE"]


async def test_an_unknown_bucket_and_its_error_are_kept(make, state):
    api, bench = make("a")
    api.refusals[""] = no(503, "closed for today", x_request_id="r1")
    async with bench:
        with pytest.raises(ZeroDivisionError):
            async with bench.status.watch(["a"], interval=1, state=state) as watch:
                change = await anext(watch)
                1 / 0  # noqa: B018 - the handler fails
        async with bench.status.watch(["a"], interval=1, state=state) as watch:
            again = await anext(watch)
            assert type(again.error) is type(change.error)
            assert str(again.error) == str(change.error)
            assert vars(again.error) == vars(change.error)
            await sleep(5)
            assert watch.stats.waiting == 0
            api.refusals.clear()
            assert await after(watch, 2) == ["a - KNOWN", "a 10.0.0.1 APPEARED ONLINE"]


async def test_a_quiet_watch_writes_nothing(make, state):
    _, bench = make("a", "b", "c")
    async with bench, bench.status.watch(interval=1, state=state) as watch:
        await after(watch, 3)
        task = asyncio.create_task(anext(watch))
        await sleep(3)
        log = state.with_name(f"{state.name}-wal")
        before = log.stat().st_size, log.stat().st_mtime_ns
        await sleep(3600)
        assert (log.stat().st_size, log.stat().st_mtime_ns) == before
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.slow
async def test_a_busy_file_does_not_grow(make, state):
    ids = [f"b{n:03}" for n in range(200)]
    api, bench = make(*ids)
    async with bench, bench.status.watch(ids, interval=5, fall=1, rise=1, state=state) as watch:
        sizes = []
        for minute in range(60):
            for n, bucket_id in enumerate(ids):
                bad = (n + minute) % 3 == 0
                api.nodes[bucket_id]["10.0.0.1"] = "OFFLINE" if bad else "ONLINE"
            async with asyncio.timeout(60):
                while True:
                    try:
                        await asyncio.wait_for(anext(watch), 10)
                    except TimeoutError:
                        break
            sizes.append(sum(path.stat().st_size for path in state.parent.iterdir()))
    assert max(sizes[30:]) <= max(sizes[:30]) * 1.1
    assert state.stat().st_size < 400 * 1024


# A file that cannot be written.


async def test_a_failing_write_is_logged_once_and_delivery_goes_on(
    make, state, monkeypatch, caplog
):
    caplog.set_level("INFO", "flashback_async")
    api, bench = make("a")
    write, fails = store.Store.write, False

    def maybe(self, batch):
        if fails:
            raise sqlite3.OperationalError("database or disk is full")
        write(self, batch)

    monkeypatch.setattr(store.Store, "write", maybe)
    async with bench:
        async with bench.status.watch(["a"], interval=1, fall=1, rise=1, state=state) as watch:
            await anext(watch)
            fails = True
            for number in range(3):
                api.nodes["a"]["10.0.0.1"] = "ONLINE" if number % 2 else "OFFLINE"
                await asyncio.wait_for(anext(watch), 10)
            assert caplog.text.count("cannot be written") == 1
            assert "disk is full" in caplog.text
            fails = False
            task = asyncio.create_task(anext(watch))
            await sleep(3)
            assert caplog.text.count("is written again") == 1
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        async with bench.status.watch(["a"], interval=1, fall=1, rise=1, state=state) as watch:
            await sleep(3)
            assert watch.stats.waiting == 0
            assert watch.view["a"].nodes[0].state == "OFFLINE"


# Files that are left alone.


def database_of(path, application=0, version=0):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE other (x)")
        database.execute(f"PRAGMA application_id = {application}")
        database.execute(f"PRAGMA user_version = {version}")
    database.close()


def foreign(path):
    database_of(path, application=1, version=1)


def newer(path):
    database_of(path, application=store._APPLICATION, version=2)


def text_file(path):
    path.write_text("keep me\n" * 100)


def short(path):
    path.write_bytes(b"SQLite format 3\0")


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        (foreign, "was not written by a watch"),
        (newer, "was written by a newer version"),
        (text_file, "was not written by a watch"),
        (short, "was not written by a watch"),
        (os.mkdir, "is a directory"),
        (os.mkfifo, "is not a file"),
        (lambda path: path.symlink_to(path), "cannot be opened"),
    ],
)
async def test_a_file_of_others_is_refused_and_left_as_it_is(make, state, prepare, problem):
    prepare(state)
    is_file = state.is_file()
    before = state.read_bytes() if is_file else None
    _, bench = make("a")
    async with bench:
        with pytest.raises(ConfigurationError, match=f"watch.state' {problem}"):
            async with bench.status.watch(["a"], state=state):
                pass
    assert list(state.parent.iterdir()) == [state]
    if is_file:
        assert state.read_bytes() == before


async def test_a_file_with_our_mark_and_other_tables_is_left_as_it_is(make, state):
    database_of(state, application=store._APPLICATION, version=1)
    before = state.read_bytes()
    _, bench = make("a")
    async with bench:
        with pytest.raises(ConfigurationError, match="cannot be used: no such table"):
            async with bench.status.watch(["a"], state=state):
                pass
    assert state.read_bytes() == before


async def test_a_file_that_cannot_be_made_leaves_nothing_behind(make, state, monkeypatch):
    def full(database):
        database.execute("BEGIN EXCLUSIVE")
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(store, "_set_up", full)
    _, bench = make("a")
    async with bench:
        with pytest.raises(ConfigurationError, match="disk is full"):
            async with bench.status.watch(["a"], state=state):
                pass
    assert list(state.parent.iterdir()) == []


async def test_a_missing_folder_is_named(make, tmp_path):
    _, bench = make("a")
    async with bench:
        with pytest.raises(ConfigurationError, match="is in a folder that does not exist"):
            async with bench.status.watch(["a"], state=tmp_path / "no" / "file"):
                pass


async def test_an_empty_file_is_accepted(make, state):
    state.touch()
    _, bench = make("a")
    async with bench, bench.status.watch(["a"], state=state) as watch:
        await anext(watch)


async def test_a_damaged_file_is_refused(make, state):
    _, bench = make("a")
    async with bench:
        async with bench.status.watch(["a"], state=state) as watch:
            await anext(watch)
        with sqlite3.connect(state) as database:
            database.execute("UPDATE bucket SET row = '[1]'")
        database.close()
        before = state.read_bytes()
        for _ in range(2):  # it is not held after the first
            with pytest.raises(ConfigurationError, match="is damaged"):
                async with bench.status.watch(["a"], state=state):
                    pass
        with sqlite3.connect(state) as database:
            assert database.execute("SELECT row FROM bucket").fetchone() == ("[1]",)
        database.close()
        assert state.read_bytes() == before
        with state.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * 4096)
        with pytest.raises(ConfigurationError, match="cannot be used"):
            async with bench.status.watch(["a"], state=state):
                pass


async def test_watches_with_files_of_their_own_do_not_disturb_each_other(make, tmp_path):
    _, bench = make("a")
    async with (
        bench,
        bench.status.watch(["a"], state=tmp_path / "one") as one,
        bench.status.watch(["a"], state=tmp_path / "other") as other,
    ):
        assert await after(one, 1) == await after(other, 1)


@pytest.mark.parametrize("other", ["itself", "symbolic link", "hard link"])
async def test_a_second_watch_of_this_process_is_refused(make, state, tmp_path, other):
    api, bench = make("a")
    async with bench, bench.status.watch(["a"], interval=1, fall=1, state=state) as watch:
        await anext(watch)
        name = state
        if other != "itself":
            name = tmp_path / "other"
            name.symlink_to(state) if other == "symbolic link" else name.hardlink_to(state)
        with pytest.raises(ConfigurationError, match="is in use by another watch of this process"):
            async with bench.status.watch(["a"], state=name):
                pass
        # The first one still holds its lock, and writes.
        assert _lock_of(state) == "database is locked"
        api.nodes["a"]["10.0.0.1"] = "OFFLINE"
        assert await after(watch, 1) == ["a 10.0.0.1 STATE ONLINE OFFLINE"]


def _lock_of(state):
    """Return the error that another process gets."""
    code = (
        "import sqlite3, sys\n"
        "try: sqlite3.connect(sys.argv[1], timeout=0).execute('SELECT * FROM bucket').fetchall()\n"
        "except sqlite3.OperationalError as error: print(error, end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(state)], capture_output=True, text=True, check=True
    )
    return done.stdout


async def test_a_watch_of_another_process_is_refused_and_the_file_left_as_it_is(make, state):
    _, bench = make("a")
    async with bench:
        async with bench.status.watch(["a"], state=state) as watch:
            await anext(watch)
        code = (
            "import sys; from flashback_async.watch.store import Store\n"
            "store = Store(sys.argv[1]); print('open', flush=True); sys.stdin.read(); store.close()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(state)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other:
            assert other.stdout.readline() == "open\n"
            before = {path: path.read_bytes() for path in state.parent.iterdir()}
            with pytest.raises(ConfigurationError, match="is in use by another watch"):
                async with bench.status.watch(["a"], state=state):
                    pass
            assert {path: path.read_bytes() for path in state.parent.iterdir()} == before
            other.stdin.close()
        async with bench.status.watch(["a"], state=state) as watch:
            assert watch.stats.waiting == 0


async def test_a_batch_that_does_not_fit_on_the_disk_is_not_written_at_all(state):
    opened = store.Store(state)
    try:
        row = row_of(new_bucket("a", datetime.now(UTC)), is_leaving=False)
        opened.write(Batch([("a", row)], [], []))
        (pages,) = opened._database.execute("PRAGMA page_count").fetchone()
        opened._database.execute(f"PRAGMA max_page_count = {pages}")
        many = [(f"b{n}", row) for n in range(1000)]
        with pytest.raises(sqlite3.OperationalError, match="full"):
            opened.write(Batch([("a", None), *many], [], []))
        assert [bucket.bucket_id for bucket, _ in opened.load()[0]] == ["a"]
    finally:
        opened.close()


async def test_a_file_that_may_not_be_read_is_named(make, state, monkeypatch):
    state.touch()

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    _, bench = make("a")
    async with bench:
        with pytest.raises(ConfigurationError, match="cannot be read: Permission denied"):
            async with bench.status.watch(["a"], state=state):
                pass


def test_an_error_of_a_class_that_is_not_known_any_more_is_kept_as_the_base():
    error = ServerError("down", status=503)
    now = datetime.now(UTC)
    change = Change(ChangeKind.UNKNOWN, "b", None, None, None, None, now, now, 0, error)
    text = encode(change_row(change)).replace("ServerError", "OtherError")
    assert type(change_from(text).error) is FlashbackError
    with pytest.raises(TypeError, match="object has no form in a state file"):
        encode((object(),))
