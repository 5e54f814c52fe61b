"""What the command line does when time, or the API's patience, runs out before the ids do."""

import asyncio
import contextlib
import json
import math
import os
import threading

import pytest

from tests import inside
from tests.integration.command import (
    GUARD,
    environment,
    flashback,
    needs_posix,
    records,
    sandbox_with_environment,
    spawned,
)

UNREAD = "standard input was not read to its end"
IDS = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(2_000)]
LINES = "".join(f"{bucket_id}\n" for bucket_id in IDS).encode()  # more than a pipe holds
COMMANDS = [["status"], ["stats"], ["node-stats", "--day", "2024-01-15", "--day", "2024-01-16"]]


@pytest.mark.parametrize("arguments", [("status", "a", "b"), ("status", "--all"), ("stats",)])
async def test_a_deadline_that_passes_is_exit_code_5(arguments):
    async with sandbox_with_environment(buckets=1, latency=GUARD) as (_, env):
        result = await flashback(*arguments, "--deadline", "0.2", env=env)
    assert result.code == 5
    assert result.err.startswith("error: the ")
    assert "0.2 s" in result.err


@pytest.mark.parametrize(
    "command",
    [COMMANDS[0], *[pytest.param(command, marks=pytest.mark.slow) for command in COMMANDS[1:]]],
)
@pytest.mark.parametrize("source", ["pipe", pytest.param("file", marks=pytest.mark.slow)])
async def test_every_id_of_a_finished_input_has_a_row_when_the_deadline_passes(
    command, source, tmp_path
):
    (tmp_path / "ids").write_bytes(LINES)
    arguments = (*command, "-", "--deadline", "0.2")
    async with sandbox_with_environment(buckets=1, latency=GUARD) as (_, env):
        if source == "pipe":
            result = await spawned(*arguments, env=env, stdin=LINES)
        else:
            with (tmp_path / "ids").open("rb") as stdin:
                result = await spawned(*arguments, env=env, stdin=stdin)
    rows = [json.loads(line) for line in result.lines]
    keys = [(row["bucket_id"], row.get("day")) for row in rows]
    days = [day for day in command if day.startswith("2024")] or [None]
    assert sorted(keys) == sorted((bucket_id, day) for bucket_id in IDS for day in days)
    assert {row["error"]["type"] for row in rows} == {"DeadlineExceededError"}
    assert result.code == 5
    assert result.err.startswith("error: the deadline of 0.2 s passed: ")
    assert f"{len(keys):,} of {len(keys):,} bucket" in result.err


async def test_every_id_of_a_finished_input_has_a_row_when_the_token_is_rejected():
    async with sandbox_with_environment(buckets=1) as (_, env):
        wrong = env | {"FLASHBACK_TOKEN": "wrong-token"}
        result = await flashback("status", "first", "-", "last", env=wrong, stdin=LINES)
    found = records(result)
    assert set(found) == {"first", *IDS, "last"}
    assert len(result.lines) == len(found)
    assert {record["error"]["status"] for record in found.values()} == {401}
    assert result.code == 3
    assert len(result.err.splitlines()) == 1


async def test_a_table_has_the_ids_in_the_order_of_the_input_after_a_deadline():
    async with sandbox_with_environment(buckets=1, latency=GUARD) as (_, env):
        arguments = ("status", "-", "-o", "table", "--deadline", "0.2")
        result = await flashback(*arguments, env=env, stdin=LINES)
    *failures, more, verdict = result.err.splitlines()
    named = [line.partition(":")[0] for line in failures]
    assert len(named) == 20
    assert named == sorted(named)
    assert (more, verdict) == (
        "and 1,980 more",
        "error: the deadline of 0.2 s passed: 2,000 of 2,000 buckets failed",
    )


@contextlib.contextmanager
def unfinished(reading, writing, data):
    """Yield a file that holds some data, and whose writer may write more until the test ends."""
    before = set(threading.enumerate())
    os.write(writing, data)
    with os.fdopen(reading, "rb") as file:
        yield file
        os.close(writing)
        for reader in set(threading.enumerate()) - before:
            if reader.daemon:  # the command leaves a read behind
                reader.join(GUARD)


@needs_posix
async def test_a_deadline_that_passes_while_the_next_id_is_awaited_is_exit_code_5(monkeypatch):
    inside.limit_late_ids(monkeypatch, seconds=0.05)
    async with sandbox_with_environment(buckets=1) as (sandbox, env):
        line = f"{sandbox.bucket_ids[0]}\n".encode()
        with unfinished(*os.pipe(), line) as stdin:
            result = await flashback("status", "-", "--deadline", "0.2", env=env, stdin=stdin)
    assert list(records(result)) == list(sandbox.bucket_ids)
    said, error = result.err.splitlines()
    assert said == UNREAD
    assert error.startswith("error: the deadline of 0.2 s passed")
    assert result.code == 5


@needs_posix
async def test_a_terminal_that_is_still_open_is_said_not_to_have_been_read(monkeypatch):
    import pty

    inside.limit_late_ids(monkeypatch, seconds=0.05)
    ours, theirs = pty.openpty()
    async with sandbox_with_environment(buckets=1, latency=GUARD) as (_, env):
        with unfinished(theirs, ours, b"one\ntwo\n") as stdin:
            result = await flashback("status", "-", "--deadline", "0.2", env=env, stdin=stdin)
    assert set(records(result)) == {"one", "two"}
    assert result.err.splitlines()[1:] == [
        UNREAD,
        "error: the deadline of 0.2 s passed: 2 of 2 buckets failed",
    ]
    assert result.code == 5


@pytest.mark.parametrize("arguments", [("status", "a", "b"), ("status", "--all"), ("stats",)])
async def test_a_pause_of_the_api_that_outlasts_the_deadline_is_exit_code_5(arguments):
    async with throttled() as base_url:
        env = environment(FLASHBACK_TOKEN="x", FLASHBACK_BASE_URL=base_url)
        result = await flashback(*arguments, "--deadline", "2", env=env)
    assert result.code == 5
    assert "Traceback" not in result.err


@pytest.mark.parametrize(("more", "told"), [((), True), (("--quiet",), False)])
async def test_a_run_that_was_throttled_says_to_which_rate(more, told):
    async with throttled(retry_after=0.1, times=1) as base_url:
        env = environment(FLASHBACK_TOKEN="x", FLASHBACK_BASE_URL=base_url)
        result = await flashback("status", "a", *more, env=env)
    assert result.code == 0
    assert list(records(result)) == ["a"]
    assert result.err == ("the API throttled the run, at the end to 10/s\n" if told else "")


@contextlib.asynccontextmanager
async def throttled(*, retry_after=30, times=math.inf):
    """Serve an API that asks everyone to wait, so many times; then it tells of bucket a."""
    refusals = 0

    def reply():
        nonlocal refusals
        refusals += 1
        if refusals <= times:
            head = f"HTTP/1.1 429 Too Many Requests\r\nRetry-After: {retry_after}\r\n"
            return f"{head}Content-Length: 0\r\n\r\n"
        body = '{"bucketId": "a", "nodeStatus": []}'
        return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}"

    async def answer(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(reply().encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
