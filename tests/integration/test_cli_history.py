"""``flashback history``: days kept, resumed, asked again and told."""

import asyncio
import json
import signal
import sqlite3
from contextlib import closing

import pytest

from flashback_async.history import history_status, read_history
from tests.integration.command import (
    UNKNOWN,
    environment,
    flashback,
    needs_posix,
    process,
    sandbox_with_environment,
)

SPAN = ("--from", "2026-01-01", "--to", "2026-01-03")


@pytest.fixture
async def setting():
    async with sandbox_with_environment(buckets=3, nodes=2) as (sandbox, env):
        yield sandbox, env


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history"


@pytest.mark.parametrize("form", ["sqlite", "parquet"])
async def test_days_are_kept_and_asked_for_once(setting, path, form):
    sandbox, env = setting
    done = await flashback("history", "--all", *SPAN, "--format", form, "--out", str(path), env=env)
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("3 days kept, 18 rows, in ")
    sandbox.log.clear()
    # The second run finds out in which form the days are kept.
    again = await flashback("history", "--all", *SPAN, "--out", str(path), env=env)
    assert (again.code, again.err.splitlines()[0]) == (0, "3 days kept before")
    assert [seen.operation for seen in sandbox.log] == ["bucket_stats.list"]
    assert history_status(path).format == form


async def test_the_status_needs_no_token_and_is_text_or_json(setting, path):
    _, env = setting
    await flashback("history", "--all", *SPAN, "--out", str(path), env=env)
    await flashback("history", UNKNOWN, "--redo", "2026-01-05", "--out", str(path), env=env)
    plain = environment()
    told = await flashback("history", "--status", "--out", str(path), env=plain)
    status = json.loads(told.out)
    assert status.pop("last_kept_at").endswith("Z")
    assert (told.code, told.err) == (0, "")
    assert status == {
        "format": "sqlite",
        "days": ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-05"],
        "gaps": ["2026-01-04"],
        "rows": 18,
        "buckets": 1,
        "incomplete": [],
        "other_ids": ["2026-01-01", "2026-01-02", "2026-01-03"],
    }
    told = await flashback("history", "--status", "--out", str(path), "-o", "table", env=plain)
    assert "days        4: 2026-01-01 to 2026-01-03, 2026-01-05\n" in told.out
    assert "other ids   3: 2026-01-01 to 2026-01-03\n" in told.out


async def test_the_summary_names_what_was_not_asked_and_what_has_no_rows(setting, path):
    sandbox, env = setting
    first = sandbox.bucket_ids[0]
    await flashback("history", first, *SPAN, "--out", str(path), env=env)
    ids = f"{first}\n{UNKNOWN}\n".encode()
    done = await flashback("history", "-", *SPAN, "--out", str(path), env=env, stdin=ids)
    assert done.code == 0
    assert "asked with other bucket ids before: 2026-01-01 to 2026-01-03 (--redo" in done.err
    recent = ("--from", "yesterday", "--to", "today", "--settle", "8760")
    done = await flashback("history", first, *recent, "--out", str(path), env=env)
    assert done.code == 0
    assert "left out, because they have not ended, or only just: " in done.err
    done = await flashback(
        *("history", first, UNKNOWN, "--redo", "2026-01-02", "--redo", "2026-01-04"),
        *("--out", str(path)),
        env=env,
    )
    assert done.code == 0
    assert f"1 bucket without rows on some days: {UNKNOWN}: NotFoundError: 404" in done.err
    assert "2 days kept, 4 rows" in done.err


async def test_days_that_are_not_kept_decide_the_exit_code(setting, path):
    sandbox, env = setting
    bad = sandbox.bucket_ids[1]
    sandbox.fail(bad, 400, times=100)
    command = ("history", "--all", "--out", str(path))
    done = await flashback(*command, *SPAN, env=env)
    assert done.code == 4
    assert "2026-01-02 not kept: 1 bucket failed: " + bad in done.err
    assert done.lines == []
    assert done.err.splitlines()[-1].startswith("error: 3 of 3 days not kept; 0 days kept")
    done = await flashback(*command, *SPAN, "--allow-failed", "1", "-q", env=env)
    assert (done.code, done.err) == (0, "")
    assert len(history_status(path).incomplete) == 3


async def test_a_rejected_token_is_exit_code_3_and_finished_days_stay(setting, path):
    sandbox, env = setting
    await flashback("history", "--all", *SPAN, "--out", str(path), env=env)
    done = await flashback(
        *("history", sandbox.bucket_ids[0], "--redo", "2026-01-03", "--out", str(path)),
        env=env | {"FLASHBACK_TOKEN": "wrong"},
    )
    assert done.code == 3
    assert len(list(read_history(path))) == 3


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--all", "--out", "x"), "give --from DAY, --redo DAY, or --status"),
        (("--all", *SPAN), "Missing option '--out'"),
        (("--from", "2026-01-01", "--out", "x"), "give bucket ids, "),
        (("--all", "--status", "--out", "x"), "neither bucket ids nor --all with --status"),
        (("--status", "--out", "x"), "--out: there is no history at "),
        (("--all", "--from", "soon", "--out", "x"), "day must be a UTC day"),
        (("a", "--from", "2026-01-02", "--to", "2026-01-01", "--out", "x"), "--to must not lie"),
        (("a", "--from", "today", "--out", "x"), "--to must not lie before --from: "),
        (("-", "--from", "yesterday", "--out", "x"), "standard input holds no ids"),
        (("a", "--from", "yesterday", "--out", "no/x"), "--out: the file 'no/x' is in a folder"),
        (("a", "--from", "yesterday", "--out", "foreign"), "'foreign' is not a history"),
        (("a", "--from", "yesterday", "--out", "foreign", "--format", "parquet"), "needs a folder"),
        (("a", "--from", "yesterday", "--out", "folder"), "it holds 'theirs'"),
        (("", "--from", "yesterday", "--out", "x"), "bucket_id must "),
        (("a", "--from", "yesterday", "--out", "x", "--settle", "-1"), "--settle"),
        (("a", "--from", "yesterday", "--out", "x", "--settle", "nan"), "--settle"),
        (("a", "--from", "yesterday", "--out", "-"), "not standard output"),
        (("--status", "--redo", "today", "--out", "x"), "--status goes with --out and --output"),
    ],
)
async def test_what_is_wrong_names_the_option(tmp_path, monkeypatch, arguments, problem):
    env = environment(FLASHBACK_TOKEN="x", FLASHBACK_BASE_URL="http://127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign").write_text("mine")
    (tmp_path / "folder" / "theirs").mkdir(parents=True)
    done = await flashback("history", *arguments, env=env)
    assert (done.code, done.out) == (2, "")
    assert problem in done.err
    assert (tmp_path / "foreign").read_text() == "mine"


@needs_posix
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
async def test_an_interrupt_leaves_finished_days(setting, path, number):
    sandbox, env = setting
    await flashback("history", "--all", *SPAN, "--out", str(path), env=env)
    sandbox.latency = 0.05
    command = ("history", "--all", "--from", "2025-07-01", "--to", "2026-01-03")
    async with process(*command, "--out", str(path), env=env) as child:
        while len((await asyncio.to_thread(history_status, path)).days) == 3:
            assert child.returncode is None
        child.send_signal(number)
        assert await child.wait() == 130
        assert (await child.stderr.read()).decode() == "interrupted\n"
    assert len(list(read_history(path))) > 3
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
