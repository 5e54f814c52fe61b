"""``flashback report`` against a sandbox: what it writes, what it leaves alone, how it exits."""

import os
import sqlite3
import stat
import sys
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest

from flashback_async import FlashbackClient
from flashback_async.cli import files
from flashback_async.history import export_days
from tests.integration.command import (
    UNKNOWN,
    environment,
    flashback,
    needs_posix,
    sandbox_with_environment,
)
from tests.pages import parsed

EARLIER = "an earlier report"


def headline(path):
    return parsed(path.read_text(encoding="utf-8")).one("h1").text


def yesterdays(number):
    last = datetime.now(UTC).date() - timedelta(days=2)
    return last - timedelta(days=number - 1), last


async def keep(sandbox, path, days=3):
    async with FlashbackClient(sandbox.token, base_url=sandbox.base_url) as client:
        await export_days(client, sandbox.bucket_ids, *yesterdays(days), path)


async def test_all_buckets_are_in_the_file(tmp_path):
    out = tmp_path / "report.html"
    out.write_text(EARLIER)
    async with sandbox_with_environment(buckets=12, healthy=True) as (sandbox, env):
        down = sandbox.bucket_ids[3]
        sandbox.set_state(down, sandbox.node_ips(down)[0], "OFFLINE")
        result = await flashback("report", "--all", "--out", str(out), env=env)
    assert (result.code, result.out) == (0, "")
    assert result.err.startswith(f"wrote {out} (")
    assert result.err.endswith("a report on 12 buckets\n")
    page = parsed(out.read_text(encoding="utf-8"))
    assert page.one("h1").text == "1 of 12 buckets has a node that is not ONLINE"
    assert page.one("section", aria_labelledby="problems").one("th", "id").text == down
    assert list(tmp_path.iterdir()) == [out]


async def test_buckets_that_fail_are_in_it_with_their_reason(tmp_path):
    out = tmp_path / "report.html"
    async with sandbox_with_environment(buckets=2, healthy=True) as (sandbox, env):
        arguments = ("report", "-", UNKNOWN, "--out", str(out))
        ids = f"{sandbox.bucket_ids[0]}\n".encode()
        result = await flashback(*arguments, env=env, stdin=ids)
    assert result.code == 1
    assert result.err.endswith("1 of 2 buckets failed\n")
    found = parsed(out.read_text(encoding="utf-8")).one("section", aria_labelledby="silent")
    assert found.one("summary").text.startswith("404 ")
    assert found.one("p", "ids").text == UNKNOWN


async def test_a_report_is_written_even_if_nothing_succeeded(tmp_path):
    out = tmp_path / "report.html"
    out.write_text(EARLIER)
    async with sandbox_with_environment(buckets=1) as (_, env):
        result = await flashback("report", UNKNOWN, "--out", str(out), env=env)
    assert result.code == 4
    assert "nothing succeeded" in result.err
    assert headline(out) == "The bucket did not answer"


@pytest.mark.parametrize("ids", ["--all", UNKNOWN])
async def test_with_a_rejected_token_an_earlier_report_stays(ids, tmp_path):
    out = tmp_path / "report.html"
    out.write_text(EARLIER)
    async with sandbox_with_environment(buckets=1) as (_, env):
        env |= {"FLASHBACK_TOKEN": "wrong-token"}
        result = await flashback("report", ids, "--out", str(out), env=env)
    assert result.code == 3
    assert "wrote" not in result.err
    assert out.read_text() == EARLIER


async def test_what_a_deadline_cut_off_is_in_the_report(tmp_path):
    out = tmp_path / "report.html"
    async with sandbox_with_environment(buckets=3, latency=10) as (sandbox, env):
        ids = sandbox.bucket_ids
        arguments = ("report", *ids, "--deadline", "0.2", "--out", str(out))
        result = await flashback(*arguments, env=env)
    assert result.code == 5
    assert headline(out) == "None of 3 buckets answered"


async def test_a_report_can_go_to_standard_output():
    async with sandbox_with_environment(buckets=2, healthy=True) as (_, env):
        result = await flashback("report", "--all", "--out", "-", env=env)
    assert (result.code, result.err) == (0, "")
    assert parsed(result.out).one("h1").text == "Every node of 2 buckets is ONLINE"


async def test_with_a_history_it_has_a_calendar(tmp_path):
    out, kept = tmp_path / "report.html", tmp_path / "history.sqlite"
    async with sandbox_with_environment(buckets=4) as (sandbox, env):
        await keep(sandbox, kept)
        arguments = ("--history", str(kept), "--out", str(out))
        every = await flashback("report", "--all", *arguments, env=env)
        whole = parsed(out.read_text(encoding="utf-8"))
        one = await flashback("report", sandbox.bucket_ids[1], *arguments, env=env)
        single = parsed(out.read_text(encoding="utf-8"))
        ids = set(sandbox.bucket_ids)
    assert (every.code, one.code) == (0, 0)
    first, last = yesterdays(3)
    calendar = whole.one("table", "calendar")
    assert {row.one("th").text for row in calendar.one("tbody").all("tr")} == ids
    assert f"3 days kept, {first.day} " in whole.one("section", aria_labelledby="calendar").text
    # Of the history, only what was asked for is shown.
    (row,) = single.one("table", "calendar").one("tbody").all("tr")
    assert row.one("th").text == sandbox.bucket_ids[1]
    assert last < date.today() + timedelta(days=1)  # noqa: DTZ011 - whatever the zone


@pytest.mark.parametrize(
    ("history", "told"),
    [("missing.sqlite", "there is no history"), ("text.sqlite", "is not a history")],
)
async def test_a_history_that_is_none_is_told_before_anything_is_asked(history, told, tmp_path):
    (tmp_path / "text.sqlite").write_text("no history at all, but a text of some length")
    out = tmp_path / "report.html"
    async with sandbox_with_environment(buckets=2) as (sandbox, env):
        arguments = ("report", "--all", "--history", str(tmp_path / history), "--out", str(out))
        result = await flashback(*arguments, env=env)
        assert sandbox.requests == 0
    assert result.code == 2
    assert result.err.startswith("error: --history: ")
    assert told in result.err
    assert not out.exists()


async def test_a_history_whose_later_days_are_damaged_is_told(tmp_path):
    kept, out = tmp_path / "history.sqlite", tmp_path / "report.html"
    async with sandbox_with_environment(buckets=2) as (sandbox, env):
        await keep(sandbox, kept)
        with closing(sqlite3.connect(kept)) as database:
            last = "(SELECT max(day) FROM days)"
            database.execute(f"UPDATE node_days SET last_updated = 'x' WHERE day = {last}")
            database.commit()
        arguments = ("report", "--all", "--history", str(kept), "--out", str(out))
        result = await flashback(*arguments, env=env)
    assert result.code == 2
    assert result.err.startswith("error: --history: the file ")
    assert result.err.endswith(" is damaged\n")
    assert not out.exists()


async def test_a_history_is_not_replaced_by_a_report_on_it(tmp_path):
    kept = tmp_path / "history.sqlite"
    async with sandbox_with_environment(buckets=2) as (sandbox, env):
        await keep(sandbox, kept, days=1)
        before = kept.read_bytes()
        arguments = ("report", "--all", "--history", str(kept), "--out", str(kept))
        result = await flashback(*arguments, env=env)
    assert result.code == 2
    assert "--out must not be the file of --history" in result.err
    assert kept.read_bytes() == before


@pytest.mark.parametrize("out", ["missing/report.html", "."])
async def test_a_file_that_cannot_be_written_is_told_before_anything_is_asked(out, tmp_path):
    async with sandbox_with_environment(buckets=2) as (sandbox, env):
        result = await flashback("report", "--all", "--out", str(tmp_path / out), env=env)
        assert sandbox.requests == 0
    assert result.code == 2
    assert str(tmp_path / out) in result.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--out", "x"), "give bucket ids"),
        (("a", "--all", "--out", "x"), "not both"),
        (("--all",), "Missing option '--out'"),
        (("--all", "--out", "x", "-o", "json"), "No such option"),
    ],
)
async def test_wrong_usage_is_told(arguments, told):
    result = await flashback("report", *arguments, env=environment())
    assert result.code == 2
    assert told in result.err


# The file.


def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(tmp_path):
    out = tmp_path / "report.html"
    out.write_text(EARLIER)
    full = OSError(28, "No space left on device")
    with mock.patch.object(os, "fsync", side_effect=full), pytest.raises(OSError, match="space"):
        files.write_whole(str(out), b"half")
    assert out.read_text() == EARLIER
    assert list(tmp_path.iterdir()) == [out]


@needs_posix
def test_the_permissions_of_an_earlier_file_stay(tmp_path):
    out = tmp_path / "report.html"
    out.write_text(EARLIER)
    out.chmod(0o640)
    files.write_whole(str(out), b"new")
    assert stat.S_IMODE(out.stat().st_mode) == 0o640
    assert out.read_bytes() == b"new"


@needs_posix
def test_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "target.html", tmp_path / "link.html"
    target.write_text(EARLIER)
    link.symlink_to(target)
    files.write_whole(str(link), b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@needs_posix
def test_a_device_is_written_to_and_not_replaced():
    before = Path(os.devnull).stat()
    files.check_writable(os.devnull)
    files.write_whole(os.devnull, b"new")
    assert Path(os.devnull).stat().st_ino == before.st_ino


def test_an_empty_name_is_told():
    with pytest.raises(OSError, match="an empty name names no file"):
        files.check_writable("")


@needs_posix
def test_a_pipe_is_written_to_by_any_of_its_names():
    read, write = os.pipe()
    try:
        name = f"/dev/fd/{write}"  # which leads to no path
        files.check_writable(name)
        files.write_whole(name, b"new")
        assert os.read(read, 10) == b"new"
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_an_error_of_a_device_names_it():
    with pytest.raises(OSError, match="/dev/full: No space left"):
        files.write_whole("/dev/full", b"new")


@needs_posix
@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root writes anywhere")
def test_a_closed_folder_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="cannot be written to"):
        files.check_writable(str(tmp_path / "report.html"))


@pytest.mark.slow
async def test_the_demo_makes_a_report_with_a_calendar(tmp_path):
    env = environment(TMPDIR=str(tmp_path), TEMP=str(tmp_path))
    with mock.patch("tempfile.tempdir", str(tmp_path)):
        result = await flashback("demo", "--report", "--buckets", "20", "--no-progress", env=env)
    assert result.code == 0
    (page,) = tmp_path.glob("*/report.html")
    assert result.lines == [page.as_uri()]
    found = parsed(page.read_text(encoding="utf-8"))
    assert "of 20 buckets" in found.one("h1").text
    assert len(found.one("table", "calendar").one("tbody").all("tr")) == 20


async def test_a_demo_is_one_of_its_kinds():
    result = await flashback("demo", "--report", "--watch", env=environment())
    assert result.code == 2
    assert "give one of" in result.err
