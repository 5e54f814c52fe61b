"""Exports that are killed: what is finished stays, is whole, and is not asked for again."""

import asyncio
import random
import signal
import sqlite3
import sys
from contextlib import closing, suppress
from datetime import date

import pyarrow.parquet as pq
import pytest

from flashback_async import day_range
from flashback_async.history import history_status, read_history
from flashback_async.sandbox import Sandbox
from tests.integration.command import GUARD, needs_posix

FIRST, LAST = date(2026, 1, 1), date(2026, 1, 20)
DAYS = day_range(FIRST, LAST)
PROGRAM = """
import asyncio, sys
from flashback_async import FlashbackClient
from flashback_async.history import export_days

async def main():
    token, url, path, form, *ids = sys.argv[1:]
    async with FlashbackClient(token, base_url=url) as client:
        print("ready", flush=True)
        report = await export_days(client, ids, "2026-01-01", "2026-01-20", path, format=form)
        assert report.ok, report

asyncio.run(main())
"""

pytestmark = [needs_posix, pytest.mark.slow]


async def started(sandbox, path, form):
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM),
        *(sandbox.token, sandbox.base_url, path, form, *sandbox.bucket_ids),
        stdout=asyncio.subprocess.PIPE,
    )
    assert await child.stdout.readline() == b"ready\n"
    return child


def finished(path):
    """Return the finished days; everything that readers would find is readable and whole."""
    if not path.exists():
        return set()
    if path.is_file():
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            [(lines,)] = database.execute("SELECT count(DISTINCT day) FROM node_days")
            [(days,)] = database.execute("SELECT count(*) FROM days")
            assert lines == days
    for file in path.rglob("*.parquet") if path.is_dir() else ():
        assert file.name == "nodes.parquet"
        assert pq.read_table(file, partitioning=None).num_rows
    return set(history_status(path).days)


def rows_of(path):
    return [row for _, rows in read_history(path) for row in rows]


async def killed(child):
    """Kill a run at a random moment, and return whether it had not ended by then."""
    try:
        await asyncio.wait_for(child.wait(), random.uniform(0, 0.5))
    except TimeoutError:
        with suppress(ProcessLookupError):
            child.kill()
    return await child.wait() == -signal.SIGKILL


async def survive(folder, form, kills):
    """Kill exports at random moments, and begin anew when one has come to its end before."""
    random.seed(kills)
    kept, count = [], 0
    async with Sandbox(buckets=30) as sandbox, asyncio.timeout(GUARD + 5 * kills):
        while count < kills or not kept:
            path = folder / f"{len(kept)}.{form}"
            before = finished(path)
            sandbox.log.clear()
            child = await started(sandbox, path, form)
            if count < kills and await killed(child):
                count += 1
            assert await child.wait() in (0, -signal.SIGKILL)
            missing = (len(DAYS) - len(before)) * len(sandbox.bucket_ids)
            assert before <= finished(path)
            assert len(sandbox.log) <= missing
            if child.returncode == 0:
                assert len(sandbox.log) == missing
                assert finished(path) == {*DAYS}
                kept.append(rows_of(path))
                assert not list(folder.glob(".*.new*"))
                assert not list(folder.glob(".*.unfinished"))
    assert len(kept[0]) == len(DAYS) * 30 * 3
    assert all(rows == kept[0] for rows in kept)
    return count, len(kept)


@pytest.mark.parametrize("form", ["sqlite", "parquet"])
async def test_a_run_after_kills_keeps_exactly_the_right_rows_and_asks_no_day_twice(tmp_path, form):
    assert await survive(tmp_path, form, kills=6) >= (6, 1)
