"""The command line, in this process or as one of its own, against a sandbox over sockets."""

import asyncio
import contextlib
import io
import json
import os
import signal
import sys
from types import SimpleNamespace
from unittest import mock

import pytest

from flashback_async.cli import app
from flashback_async.sandbox import Sandbox

COMMAND = (sys.executable, "-m", "flashback_async")
GUARD = 30  # seconds, against a process that hangs
UNKNOWN = "00000000-0000-4000-8000-000000000000"

needs_posix = pytest.mark.skipif(os.name == "nt", reason="signals and closed descriptors of POSIX")


@contextlib.asynccontextmanager
async def sandbox_with_environment(*args, **options):
    async with Sandbox(*args, **options) as sandbox:
        yield sandbox, environment(sandbox)


def environment(sandbox=None, **more):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("FLASHBACK_")}
    for switch in ("COLUMNS", "PYTHONUNBUFFERED"):  # which would hide what is left in a buffer
        inherited.pop(switch, None)
    if sandbox is not None:
        more = {"FLASHBACK_TOKEN": sandbox.token, "FLASHBACK_BASE_URL": sandbox.base_url} | more
    return inherited | {"PYTHONWARNINGS": "error"} | more


@contextlib.contextmanager
def heeding_ctrl_c():
    """Start processes that Ctrl-C ends, even if the tests themselves run in the background.

    A shell lets its background jobs ignore Ctrl-C, and their children inherit that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.asynccontextmanager
async def process(*arguments, env, **streams):
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE)
    with heeding_ctrl_c():
        child = await asyncio.create_subprocess_exec(
            *COMMAND, *arguments, env=env, **pipes | streams
        )
    try:
        async with asyncio.timeout(GUARD):
            yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def flashback(*arguments, env, stdin=b""):
    """Run the command in a thread of this process; return the exit code and what it wrote.

    It costs a tenth of a process. A test of signals, descriptors or the start needs `spawned`.

    Args:
        arguments: Those of the command.
        env: The environment.
        stdin: Bytes, or an open binary file.
    """
    given = io.BytesIO(stdin) if isinstance(stdin, bytes) else stdin
    streams = {
        "stdin": io.TextIOWrapper(given, "utf-8"),
        "stdout": io.TextIOWrapper(io.BytesIO(), "utf-8"),
        "stderr": io.TextIOWrapper(io.BytesIO(), "utf-8"),
    }
    with mock.patch.dict(os.environ, env, clear=True), mock.patch.multiple(sys, **streams):
        code = await asyncio.wait_for(asyncio.to_thread(app.run, arguments), GUARD)
        streams["stdin"].detach()  # a file stays open: a thread may still read it
        return result_of(code, *map(written_to, (sys.stdout, sys.stderr)))


def written_to(stream):
    stream.flush()
    return stream.buffer.getvalue()


def result_of(code, out, err):
    out, err = out.decode(), err.decode()
    return SimpleNamespace(code=code, out=out, err=err, lines=out.splitlines())


async def spawned(*arguments, env, stdin=b"", **streams):
    """Run the command as a process of its own; return the exit code and what it wrote.

    Args:
        arguments: Those of the command.
        env: The environment.
        stdin: Bytes for a pipe, or an open file.
        streams: What takes the place of other pipes.
    """
    if not isinstance(stdin, bytes):
        streams, stdin = {"stdin": stdin, **streams}, None
    async with process(*arguments, env=env, **streams) as child:
        out, err = await child.communicate(stdin)
        return result_of(child.returncode, out or b"", err or b"")


def records(result):
    return {record["bucket_id"]: record for record in map(json.loads, result.lines)}
