"""The command line on odd terminals, pipes and descriptors, and under signals."""

import asyncio
import contextlib
import io
import json
import os
import select
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.integration.command import (
    GUARD,
    needs_posix,
    process,
    sandbox_with_environment,
    spawned,
)

FULL = Path("/dev/full")
FORMS = [
    "jsonl",
    *[pytest.param(form, marks=pytest.mark.slow) for form in ("csv", "json", "table")],
]
NULL = asyncio.subprocess.DEVNULL
PIPE = 65_536  # bytes that it holds


@contextlib.contextmanager
def pipe():
    """Open a pipe and yield its two ends, for reading and for writing."""
    ends = os.pipe()
    with io.FileIO(ends[0], "r") as read, io.FileIO(ends[1], "w") as write:
        yield read, write


async def filled(write):
    """Wait until a pipe is full, so that its other writer has to wait; then leave it to that."""
    async with asyncio.timeout(GUARD):
        while select.select([], [write], [], 0)[1]:
            await asyncio.sleep(0.01)
    write.close()


@needs_posix
@pytest.mark.parametrize("form", FORMS)
async def test_a_reader_that_closes_the_pipe_ends_it_quietly(form):
    async with sandbox_with_environment(buckets=100) as (_, env):
        read, write = os.pipe()
        arguments = ("status", "--all", "-o", form, "--quiet")
        async with process(*arguments, env=env, stdout=write) as child:
            os.close(write)
            os.close(read)
            _, err = await child.communicate()
    assert (child.returncode, err) == (0, b"")


@needs_posix
async def test_output_that_cannot_be_written_is_one_line():
    if not FULL.exists():
        pytest.skip("needs /dev/full")
    async with sandbox_with_environment(buckets=1) as (_, env):
        for form in ("jsonl", "json", "table"):
            with FULL.open("wb") as full:
                result = await spawned("status", "--all", "-o", form, env=env, stdout=full)
            assert (result.code, result.err) == (2, "error: No space left on device\n")


@needs_posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
async def test_an_interrupt_while_it_waits_for_standard_input_is_exit_code_130(number):
    async with (
        sandbox_with_environment(buckets=1) as (sandbox, env),
        process("status", sandbox.bucket_ids[0], "-", env=env) as child,
    ):
        await child.stdout.readline()  # it runs, and now waits for more
        child.send_signal(number)
        assert await child.stderr.read() == b"interrupted\n"
        assert await child.wait() == 130


@needs_posix
@pytest.mark.parametrize("blocking", [pytest.param(True, marks=pytest.mark.slow), False])
@pytest.mark.parametrize("form", FORMS)
async def test_an_interrupt_while_nobody_reads_its_output_is_exit_code_130(form, blocking):
    async with sandbox_with_environment(buckets=400, nodes=10) as (_, env):
        with pipe() as (_read, write):
            os.set_blocking(write.fileno(), blocking)
            async with process("status", "--all", "-o", form, env=env, stdout=write) as child:
                await filled(write)
                child.send_signal(signal.SIGINT)
                assert await child.wait() == 130
                assert await child.stderr.read() == b"interrupted\n"


@needs_posix
@pytest.mark.parametrize("unbuffered", ["", pytest.param("1", marks=pytest.mark.slow)])
@pytest.mark.parametrize("form", FORMS)
async def test_a_non_blocking_output_is_written_whole_however_slow_its_reader(form, unbuffered):
    async with sandbox_with_environment(buckets=300, nodes=12) as (sandbox, env):
        env["PYTHONUNBUFFERED"] = unbuffered
        arguments = ("status", "--all", "-o", form, "-q")
        with pipe() as (read, write):
            os.set_blocking(write.fileno(), False)
            async with process(*arguments, env=env, stdout=write) as child:
                await filled(write)
                data = (await asyncio.to_thread(read.read)).decode()
                assert await child.wait() == 0
                assert await child.stderr.read() == b""
    assert len(data) > 2 * PIPE
    assert all(bucket_id in data for bucket_id in sandbox.bucket_ids)
    assert form != "json" or len(json.loads(data)) == 300
    assert data.count(sandbox.bucket_ids[0]) == (12 if form == "csv" else 1)


@needs_posix
async def test_messages_are_written_whole_to_a_non_blocking_standard_error():
    async with sandbox_with_environment(buckets=1) as (_, env):
        ids = [f"gone-{n}" for n in range(1_000)]
        with pipe() as (read, write):
            os.set_blocking(write.fileno(), False)
            async with process("status", *ids, "-vv", env=env, stderr=write, stdout=NULL) as child:
                await filled(write)
                data = (await asyncio.to_thread(read.read)).decode()
                assert await child.wait() == 4
    assert data.count("DEBUG status.get: failed in ") == 1_000
    assert data.endswith("error: nothing succeeded: 1,000 buckets failed\n")


@needs_posix
async def test_a_non_blocking_input_is_waited_for():
    async with sandbox_with_environment(buckets=2) as (sandbox, env):
        with pipe() as (read, write):
            os.set_blocking(read.fileno(), False)
            async with process("status", "-", env=env, stdin=read) as child:
                for bucket_id in sandbox.bucket_ids:
                    write.write(f"{bucket_id}\n".encode())
                    record = json.loads(await child.stdout.readline())
                    assert record["bucket_id"] == bucket_id
                write.close()
                assert await child.wait() == 0


@needs_posix
@pytest.mark.parametrize(
    ("closed", "arguments", "said"),
    [
        ("<&-", "status -", "error: standard input is closed"),
        (">&-", "stats", "error: standard output is closed"),
        (">&- 2>&-", "stats", ""),
        ("2>&-", "nonsense", ""),
        ("2>&-", "status --all x", ""),
    ],
)
async def test_a_standard_stream_that_is_closed_is_no_crash(closed, arguments, said):
    async with sandbox_with_environment(buckets=1) as (_, env):
        result = await in_shell(arguments, closed, env=env)
    assert result.code == 2
    assert result.err.startswith(said)
    assert result.err.count("\n") == bool(said)


@needs_posix
@pytest.mark.parametrize(
    ("form", "option"),
    [
        ("table", ""),
        *[
            pytest.param(form, option, marks=pytest.mark.slow)
            for form, option in [
                ("jsonl", "-v"),
                ("csv", ""),
                ("json", "-q"),
                ("table", "-q"),
                ("table", "-v"),
            ]
        ],
    ],
)
async def test_without_a_standard_error_the_data_is_written_all_the_same(form, option):
    async with sandbox_with_environment(buckets=3) as (sandbox, env):
        result = await in_shell(f"status {option} --all -o {form}", "2>&-", env=env)
    assert (result.code, result.err) == (0, "")
    assert all(bucket_id in result.out for bucket_id in sandbox.bucket_ids)


async def in_shell(arguments, redirection, *, env):
    child = await asyncio.create_subprocess_shell(
        f"exec '{sys.executable}' -m flashback_async {arguments} {redirection}",
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(child.communicate(), GUARD)
    return SimpleNamespace(code=child.returncode, out=out.decode(), err=err.decode())


@needs_posix
async def test_on_a_terminal_there_are_a_bar_and_colours_and_no_colours_if_not_wanted():
    async with sandbox_with_environment(buckets=50, latency=0.02) as (_, env):
        env = env | {"TERM": "xterm", "COLUMNS": "120"}
        coloured = await on_terminal("status", "--all", env=env)
        plain = await on_terminal("status", "--all", env=env | {"NO_COLOR": "1"})
    assert "\x1b[32mONLINE" in coloured
    assert "50 of 50" in coloured
    assert "50 buckets in " in coloured
    assert "ONLINE" in plain
    assert "\x1b[32m" not in plain


HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"  # the cursor


@needs_posix
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize(
    "command",
    [
        ("status", "-o", "jsonl"),
        ("node-stats", "--day", "2026-01-01", "-o", "jsonl"),
        ("report", "--out", "r.html"),
        ("history", "--from", "2026-01-01", "--out", "h"),
    ],
    ids=lambda command: command[0],
)
async def test_an_interrupt_leaves_the_terminal_as_it_was(command, number, tmp_path):
    import pty

    ours, theirs = pty.openpty()
    async with sandbox_with_environment(buckets=40, latency=0.5) as (_, env):
        env |= {"TERM": "xterm"}
        streams = {"stdin": NULL, "stdout": NULL, "stderr": theirs, "cwd": tmp_path}
        arguments = (*command, "--all", "--concurrency", "1")
        async with process(*arguments, env=env, **streams) as child:
            os.close(theirs)
            shown = b""
            while b" of 40" not in shown and b" days" not in shown:
                shown += await asyncio.to_thread(os.read, ours, 65_536)
            assert HIDE in shown
            child.send_signal(number)
            after = (await asyncio.to_thread(read_all, ours)).encode()
            assert await child.wait() == 130
    assert (shown + after).rfind(SHOW) > (shown + after).rfind(HIDE)
    assert after.endswith(b"interrupted\r\n")


async def on_terminal(*arguments, env):
    """Run the command on a terminal and return what that shows."""
    import pty

    ours, theirs = pty.openpty()
    async with process(*arguments, env=env, stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        shown = await asyncio.to_thread(read_all, ours)
        assert await child.wait() == 0
    return shown


def read_all(descriptor):
    data = bytearray()
    # A terminal that nobody has open any more says so with an error.
    with contextlib.suppress(OSError):
        while chunk := os.read(descriptor, 65_536):
            data += chunk
    os.close(descriptor)
    return data.decode()
