"""``flashback watch``: changes in a pipe and on a terminal, until it is stopped."""

import asyncio
import contextlib
import json
import os
import re
import signal
import struct
import sys

import pytest

from flashback_async.cli import app
from flashback_async.sandbox import Fault
from tests.integration.command import (
    GUARD,
    environment,
    flashback,
    needs_posix,
    process,
    sandbox_with_environment,
)

QUICK = ("--interval", "0.1")
STOPS = pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM],
    ids=["Ctrl-C", "SIGTERM"],
)


async def change_from(child):
    return json.loads(await child.stdout.readline())


async def stopped(child, number=signal.SIGTERM):
    """Stop a watch; return what it still wrote to standard error. It has a second for that."""
    child.send_signal(number)
    async with asyncio.timeout(GUARD):
        assert await child.wait() == 0
    return (await child.stderr.read()).decode() if child.stderr else ""


def set_first(sandbox, state):
    bucket_id = sandbox.bucket_ids[0]
    ip = sandbox.node_ips(bucket_id)[0]
    sandbox.set_state(bucket_id, ip, state)
    return bucket_id, ip


# In a pipe.


@needs_posix
@STOPS
async def test_each_change_is_a_line_until_it_is_stopped(number):
    async with (
        sandbox_with_environment(buckets=2, nodes=1, healthy=True) as (sandbox, env),
        process("watch", "--all", *QUICK, env=env) as child,
    ):
        found = [await change_from(child) for _ in range(2)]
        assert {change["kind"] for change in found} == {"APPEARED"}
        assert {change["bucket_id"] for change in found} == set(sandbox.bucket_ids)
        for state, before in (("OFFLINE", "ONLINE"), ("ONLINE", "OFFLINE")):
            subject = set_first(sandbox, state)
            change = await change_from(child)
            assert (change["bucket_id"], change["ip"]) == subject
            assert (change["kind"], change["before"], change["after"]) == ("STATE", before, state)
        assert await stopped(child, number) == ""
        assert await child.stdout.read() == b""


@needs_posix
async def test_ids_come_from_arguments_and_from_all_of_standard_input():
    async with sandbox_with_environment(buckets=3, nodes=1, healthy=True) as (sandbox, env):
        first, second, _ = sandbox.bucket_ids
        async with process("watch", first, "-", *QUICK, env=env) as child:
            child.stdin.write(f"# mine\n{second}\n{first}\n".encode())
            await child.stdin.drain()
            assert sandbox.requests == 0  # a watch needs the whole list
            child.stdin.write_eof()
            found = [await change_from(child) for _ in range(2)]
            assert {change["bucket_id"] for change in found} == {first, second}
            assert await stopped(child) == ""


@needs_posix
async def test_a_table_in_a_pipe_is_a_line_of_text_for_each_change():
    async with (
        sandbox_with_environment(buckets=1, nodes=1, healthy=True) as (sandbox, env),
        process("watch", "--all", *QUICK, "-o", "table", env=env) as child,
    ):
        appeared = (await child.stdout.readline()).decode()
        bucket_id, ip = set_first(sandbox, "OFFLINE")
        gone_off = (await child.stdout.readline()).decode()
        await stopped(child)
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    about = rf"{time}  {bucket_id}  {re.escape(ip)}  "
    assert re.fullmatch(f"{about}appeared, ONLINE\n", appeared)
    assert re.fullmatch(f"{about}ONLINE -> OFFLINE\n", gone_off)


@pytest.mark.slow
@needs_posix
async def test_fall_and_rise_are_those_of_the_options():
    async with (
        sandbox_with_environment(buckets=1, nodes=1, healthy=True) as (sandbox, env),
        process("watch", "--all", *QUICK, "--fall", "3", "--rise", "1", env=env) as child,
    ):
        await change_from(child)
        asked = sandbox.requests
        set_first(sandbox, "OFFLINE")
        await change_from(child)
        assert sandbox.requests - asked >= 3
        set_first(sandbox, "ONLINE")
        assert (await change_from(child))["after"] == "ONLINE"
        await stopped(child)


@pytest.mark.slow
@needs_posix
@STOPS
async def test_it_can_be_stopped_while_it_waits_for_the_first_listing(number):
    async with (
        sandbox_with_environment(buckets=1, latency=GUARD) as (sandbox, env),
        process("watch", "--all", env=env) as child,
    ):
        while not sandbox.requests:
            await asyncio.sleep(0.01)
        assert await stopped(child, number) == ""


@needs_posix
@STOPS
async def test_it_can_be_stopped_while_it_waits_for_standard_input(number):
    async with (
        sandbox_with_environment(buckets=1) as (_, env),
        process("watch", "-", env=env) as child,
    ):
        # More than a pipe holds: the rest is taken once it reads.
        child.stdin.write(b"#" + b"x" * 200_000 + b"\n")
        await child.stdin.drain()
        assert await stopped(child, number) == ""


@pytest.mark.slow
@needs_posix
async def test_a_job_in_the_background_that_ignores_ctrl_c_ends_at_sigterm():
    async with sandbox_with_environment(buckets=1, nodes=1) as (_, env):
        line = f"trap '' INT; exec '{sys.executable}' -m flashback_async watch --all"
        child = await asyncio.create_subprocess_exec(
            "sh", "-c", line, env=env, stdout=asyncio.subprocess.PIPE
        )
        await child.stdout.readline()
        await stopped(child)


@needs_posix
@STOPS
@pytest.mark.slow
async def test_it_can_be_stopped_while_nobody_reads_its_output(number):
    read, write = os.pipe()
    async with sandbox_with_environment(buckets=100, nodes=20) as (_, env):
        await stopped_while_full(env, number, write)
    os.close(read)


async def stopped_while_full(env, number, write):
    # Quiet, because a busy machine may be too slow for so many polls, and would be warned of.
    async with process("watch", "--all", "-q", *QUICK, env=env, stdout=write) as child:
        await filled(write)
        os.close(write)
        assert await stopped(child, number) == ""


async def filled(write):
    import select

    while select.select([], [write], [], 0)[1]:
        await asyncio.sleep(0.01)


@pytest.mark.slow
@needs_posix
async def test_it_can_be_stopped_while_nobody_reads_its_warnings():
    read, write = os.pipe()
    async with sandbox_with_environment(buckets=1, nodes=1) as (sandbox, env):
        # With -vv each poll is logged, until the pipe is full.
        arguments = ("watch", *sandbox.bucket_ids, *QUICK, "-vv")
        os.set_blocking(write, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(write, b"x" * 4_096)
        os.set_blocking(write, True)
        async with process(*arguments, env=env, stderr=write) as child:
            os.close(write)
            await change_from(child)
            await stopped(child)
    os.close(read)


@needs_posix
async def test_a_reader_that_closes_the_pipe_ends_it_quietly():
    read, write = os.pipe()
    async with (
        sandbox_with_environment(buckets=1) as (_, env),
        process("watch", "--all", *QUICK, env=env, stdout=write) as child,
    ):
        os.close(write)
        os.close(read)
        assert await child.wait() == 0
        assert await child.stderr.read() == b""


@needs_posix
@pytest.mark.slow
async def test_what_was_not_written_before_a_kill_comes_again(tmp_path):
    arguments = ("watch", "--all", *QUICK, "--state", str(tmp_path / "watch.state"))
    nodes = 300
    async with sandbox_with_environment(buckets=30, nodes=10, healthy=True) as (_, env):
        async with process(*arguments, env=env) as child:
            first = [await change_from(child) for _ in range(50)]
            child.kill()
            # What the pipe still holds was written; the last line may be a part of one.
            whole, _, _ = (await child.stdout.read()).rpartition(b"\n")
            first += map(json.loads, whole.splitlines())
        seen = {(change["bucket_id"], change["ip"]) for change in first}
        async with process(*arguments, env=env) as child:
            while len(seen) < nodes:
                change = await change_from(child)
                seen.add((change["bucket_id"], change["ip"]))
            await stopped(child)


@needs_posix
@pytest.mark.slow
async def test_a_second_watch_goes_on_where_the_first_one_stopped(tmp_path):
    state = ("--state", str(tmp_path / "watch.state"))
    async with sandbox_with_environment(buckets=1, nodes=1, healthy=True) as (sandbox, env):
        async with process("watch", "--all", *QUICK, *state, env=env) as child:
            await change_from(child)
            set_first(sandbox, "OFFLINE")
            await change_from(child)
            # The next change is asked for only after a line is written, and that makes it done.
            asked = sandbox.requests
            while sandbox.requests < asked + 3:
                await asyncio.sleep(0.01)
            await stopped(child)
        set_first(sandbox, "ONLINE")
        async with process("watch", "--all", *QUICK, *state, env=env) as child:
            change = await change_from(child)
            assert (change["before"], change["after"]) == ("OFFLINE", "ONLINE")
            await stopped(child)


# What is wrong.


@pytest.mark.parametrize("arguments", [("a",), ("--all",)])
async def test_a_rejected_token_is_exit_code_3(arguments):
    async with sandbox_with_environment(buckets=1) as (_, env):
        wrong = env | {"FLASHBACK_TOKEN": "wrong-token"}
        result = await flashback("watch", *arguments, *QUICK, env=wrong)
    assert (result.code, result.out) == (3, "")
    assert result.err.startswith("error: 401 Unauthorized, token rejected")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("", "give bucket ids"),
        ("a --all", "not both"),
        ("a --interval nan", "--interval"),
        ("a --interval 0.01", "error: --interval must be from 0.1 to 1e9 s"),
        ("a --fall 0", "--fall"),
        ("a --rise 0", "--rise"),
        ("a --state .", "error: --state: the file '.' is a directory"),
        ("a --state no/such/folder", "error: --state: the file "),
        ("a --deadline 5", "--deadline"),
        ("a -o csv", "csv"),
        ("no/id", "error: "),
        ("-", "standard input holds no ids"),
    ],
)
async def test_wrong_usage_is_one_line_and_exit_code_2(arguments, part):
    env = environment(FLASHBACK_TOKEN="x")
    result = await flashback("watch", *arguments.split(), env=env)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert part in result.err
    assert result.err.count("\n") == 1


async def test_a_foreign_state_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    env = environment(FLASHBACK_TOKEN="x")
    result = await flashback("watch", "a", "--state", str(path), env=env)
    assert result.code == 2
    assert result.err.startswith("error: --state: the file ")
    assert path.read_text() == "mine"


@pytest.mark.slow
@needs_posix
@pytest.mark.parametrize("option", ["", "-q"])
async def test_a_listing_that_fails_is_a_warning_unless_it_is_quiet(option):
    async with sandbox_with_environment(buckets=1, nodes=1) as (sandbox, env):
        arguments = ("watch", "--all", *QUICK, *option.split())
        with sandbox.script(Fault.status(500).first(3)):  # a call with its retries
            async with process(*arguments, env=env) as child:
                await change_from(child)  # of a later listing
                said = await stopped(child)
    if option:
        assert said == ""
    else:
        assert said.startswith("WARNING watch: the buckets could not be listed")
        assert said.count("\n") == 1


def test_its_help_names_its_options(capsys):
    assert app.run(["watch", "--help"]) == 0
    told = capsys.readouterr().out
    for option in ("--interval", "--fall", "--rise", "--state", "--max-rate", "--quiet"):
        assert option in told
    assert "--deadline" not in told
    assert "--no-progress" not in told
    assert "csv" not in told


# On a terminal.


class Terminal:
    """A terminal, what it shows, and the watch that runs on it."""

    def __init__(self, child, ours, data):
        self.child = child
        self.descriptor = ours
        self._data = data

    @property
    def everything(self):
        return self._data.decode(errors="replace")

    @property
    def picture(self):
        """The lines of the last picture that is complete."""
        pictures = self.everything.split("\x1b[H")
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", pictures[-2] if len(pictures) > 2 else "")
        return [line.rstrip() for line in text.split("\n")]

    async def shows(self, pattern):
        """Wait until a picture has what a pattern describes; return the picture."""
        async with asyncio.timeout(GUARD):
            while not re.search(pattern, "\n".join(picture := self.picture)):
                await asyncio.sleep(0.02)
        return picture

    def resize(self, rows, columns):
        resize(self.descriptor, rows, columns)


def resize(descriptor, rows, columns):
    import fcntl
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@contextlib.asynccontextmanager
async def on_terminal(*arguments, env, rows=24, columns=80, term="xterm", **streams):
    import pty

    ours, theirs = pty.openpty()
    resize(ours, rows, columns)
    data, loop = bytearray(), asyncio.get_running_loop()

    def take():
        try:
            data.extend(os.read(ours, 65_536))
        except OSError:  # nobody has the terminal open any more
            loop.remove_reader(ours)

    loop.add_reader(ours, take)
    env = env | {"TERM": term, "LANG": "C.UTF-8"}
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), theirs) | streams
    try:
        async with process("watch", *arguments, env=env, **streams) as child:
            os.close(theirs)
            yield Terminal(child, ours, data)
    finally:
        loop.remove_reader(ours)
        os.close(ours)


@needs_posix
@pytest.mark.slow
@STOPS
async def test_on_a_terminal_a_table_shows_what_is_not_online_now(number):
    async with (
        sandbox_with_environment(buckets=20, nodes=3, healthy=True) as (sandbox, env),
        on_terminal("--all", *QUICK, env=env) as terminal,
    ):
        await terminal.shows(r"20 buckets · 60 ONLINE · \d\d:\d\d:\d\d\n\nNo problems.")
        bucket_id, ip = set_first(sandbox, "OFFLINE")
        picture = await terminal.shows("20 buckets · 59 ONLINE · 1 OFFLINE")
        assert any(re.match(rf"OFFLINE +\d+ s +{re.escape(ip)} +{bucket_id}", p) for p in picture)
        assert any(re.match(rf"\d\d:\d\d:\d\d +ONLINE -> OFFLINE +{ip} ", p) for p in picture)
        assert not any("appeared" in line for line in picture)
        set_first(sandbox, "ONLINE")
        picture = await terminal.shows("20 buckets · 60 ONLINE")
        assert any("OFFLINE -> ONLINE" in line for line in picture)
        terminal.child.send_signal(number)
        assert await terminal.child.wait() == 0
        ended = terminal.everything
    # The screen is as before, with the cursor, and has the last picture.
    assert ended.count("\x1b[?1049h") == ended.count("\x1b[?1049l") == 1
    after = ended.rpartition("\x1b[?1049l")[2]
    assert "60" in after
    assert ended.rindex("\x1b[?25h") > ended.rindex("\x1b[?25l")


@needs_posix
@pytest.mark.slow
async def test_the_table_is_never_larger_than_the_screen_and_counts_what_is_left_out():
    async with sandbox_with_environment(buckets=30, nodes=3, healthy=True) as (sandbox, env):
        for bucket_id in sandbox.bucket_ids:
            for ip in sandbox.node_ips(bucket_id):
                sandbox.set_state(bucket_id, ip, "DISCONNECTED")
        # Sizes that a shell has exported are those of the past.
        env |= {"COLUMNS": "80", "LINES": "24"}
        async with on_terminal("--all", *QUICK, env=env) as terminal:
            await terminal.shows("90 DISCONNECTED")
            for rows, columns in ((10, 40), (50, 200), (5, 20), (24, 80)):
                terminal.resize(rows, columns)
                picture = await terminal.shows(rf"\A([^\n]*\n){{{rows - 1}}}[^\n]*\Z")
                assert max(map(len, picture)) <= columns
                listed = sum(line.startswith("DISCONNECTED  ") for line in picture)
                more = re.search(r"^and (\d+) more$", "\n".join(picture), re.MULTILINE)
                if rows > 5:
                    assert listed + int(more[1]) == 90
            await stopped(terminal.child)


@needs_posix
@pytest.mark.slow
async def test_a_bucket_that_cannot_be_asked_is_unknown_in_the_table():
    async with (
        sandbox_with_environment(buckets=3, nodes=1, healthy=True) as (sandbox, env),
        on_terminal("--all", *QUICK, env=env, columns=200) as terminal,
    ):
        await terminal.shows("3 buckets · 3 ONLINE")
        sandbox.fail(sandbox.bucket_ids[0], status=400, times=100_000)
        picture = await terminal.shows("3 ONLINE · 1 bucket UNKNOWN")
        (line,) = (line for line in picture if line.startswith("UNKNOWN"))
        assert sandbox.bucket_ids[0] in line
        assert "BadRequestError: 400" in line
        await stopped(terminal.child)


@needs_posix
@pytest.mark.slow
async def test_warnings_are_part_of_the_table_or_go_where_standard_error_goes():
    async with sandbox_with_environment(buckets=1, nodes=1) as (sandbox, env):
        with sandbox.script(Fault.status(500).first(3)):
            async with on_terminal("--all", *QUICK, env=env) as terminal:
                picture = await terminal.shows("WARNING watch: the buckets could not be listed")
                assert len(picture) == 24
                await stopped(terminal.child)
        elsewhere = {"stderr": asyncio.subprocess.PIPE}
        with sandbox.script(Fault.status(500).first(3)):
            async with on_terminal("--all", *QUICK, env=env, **elsewhere) as terminal:
                said = await terminal.child.stderr.readline()
                assert said.startswith(b"WARNING watch: the buckets could not be listed")
                await stopped(terminal.child)
                assert "WARNING" not in terminal.everything


@needs_posix
@pytest.mark.slow
async def test_a_rejected_token_is_one_line_on_a_terminal_too():
    async with sandbox_with_environment(buckets=1) as (_, env):
        wrong = env | {"FLASHBACK_TOKEN": "wrong-token"}
        async with on_terminal("--all", env=wrong, columns=200) as terminal:
            assert await terminal.child.wait() == 3
            ended = terminal.everything
    assert ended.partition("\x1b[?1049l")[2].startswith("error: 401 Unauthorized, token rejected")
    assert ended.count("\r\n") - ended.partition("\x1b[?1049l")[0].count("\r\n") == 1


@needs_posix
@pytest.mark.parametrize("term", ["dumb", pytest.param("unknown", marks=pytest.mark.slow)])
@pytest.mark.slow
async def test_a_terminal_that_can_do_nothing_gets_a_line_for_each_change(term):
    async with (
        sandbox_with_environment(buckets=1, nodes=1, healthy=True) as (_, env),
        on_terminal("--all", *QUICK, env=env, term=term) as terminal,
    ):
        async with asyncio.timeout(GUARD):
            while not terminal.everything.endswith("  appeared, ONLINE\r\n"):
                await asyncio.sleep(0.02)
        await stopped(terminal.child)
        assert "\x1b" not in terminal.everything


@needs_posix
@pytest.mark.slow
async def test_it_can_be_stopped_while_the_terminal_is_held():
    import termios

    async with (
        sandbox_with_environment(buckets=20, nodes=3, healthy=True) as (_, env),
        on_terminal("--all", *QUICK, env=env, rows=50, columns=200) as terminal,
    ):
        await terminal.shows("60 ONLINE")
        termios.tcflow(terminal.descriptor, termios.TCOOFF)
        terminal.child.send_signal(signal.SIGTERM)
        assert await terminal.child.wait() == 0
