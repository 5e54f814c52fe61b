"""``flashback check`` as a monitoring system runs it: one line and an exit code, always."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flashback_async.cli import app, main
from tests.integration.command import (
    GUARD,
    UNKNOWN,
    environment,
    flashback,
    needs_posix,
    process,
    sandbox_with_environment,
    spawned,
)

LINE = re.compile(r"FLASHBACK (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+( \| [^|\n]+)?\n")
FIGURE = re.compile(r"'[^'=]+'=-?[0-9.]+(s|%|B|c)?;[0-9]*;[0-9]*;[0-9]*;[0-9]*")
CODES = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}


def verdict(result):
    """Return the verdict of a result, which is in the form that monitoring systems read."""
    match = LINE.fullmatch(result.out)
    assert match, result.out
    assert result.code == CODES[match[1]]
    return match[1]


def figures(result):
    found = {}
    for figure in result.out.partition(" | ")[2].split():
        assert FIGURE.fullmatch(figure), figure
        label, _, value = figure.partition("=")
        found[label.strip("'")] = value
    return found


async def checked(*arguments, down=0, **options):
    """Check ten buckets, of which some have a node that is OFFLINE."""
    async with sandbox_with_environment(buckets=10, healthy=True) as (sandbox, env):
        for bucket_id in sandbox.bucket_ids[:down]:
            sandbox.set_state(bucket_id, sandbox.node_ips(bucket_id)[0], "OFFLINE")
        return await flashback("check", *arguments, env=env, **options)


async def test_buckets_whose_nodes_are_all_online_are_ok():
    result = await checked("--all")
    assert verdict(result) == "OK"
    assert result.out.startswith("FLASHBACK OK - no node of 10 buckets is other than ONLINE | ")
    assert result.err == ""
    found = figures(result)
    assert found["not_online"] == "0;0;;0;10"
    assert found["nodes_not_online"] == "0;;;0;"
    assert found["not_asked"] == "0;;;0;10"
    assert found["time"].split(";")[0].endswith("s")


@pytest.mark.parametrize(
    ("options", "down", "expected"),
    [
        ("", 1, "WARNING"),
        ("-w 3", 3, "OK"),
        ("-w 3", 4, "WARNING"),
        ("-w 0 -c 2", 2, "WARNING"),
        ("--warning 0 --critical 2", 3, "CRITICAL"),
        ("-c 0", 1, "CRITICAL"),
        ("-w 9 -c 2", 3, "CRITICAL"),
        ("-w 1 -c 1", 0, "OK"),
    ],
)
async def test_more_than_the_threshold_is_a_warning_or_critical(options, down, expected):
    result = await checked("--all", *options.split(), down=down)
    assert verdict(result) == expected
    limits = dict(zip(options.split()[::2], options.split()[1::2], strict=True))
    warning = limits.get("-w", limits.get("--warning", "0"))
    critical = limits.get("-c", limits.get("--critical", ""))
    assert figures(result)["not_online"] == f"{down};{warning};{critical};0;10"


async def test_the_line_names_some_of_the_buckets():
    async with sandbox_with_environment(buckets=9, healthy=True) as (sandbox, env):
        for bucket_id in sandbox.bucket_ids[:5]:
            for ip in sandbox.node_ips(bucket_id)[:2]:
                sandbox.set_state(bucket_id, ip, "DISCONNECTED")
        result = await flashback("check", "--all", env=env)
    assert verdict(result) == "WARNING"
    first = sorted(sandbox.bucket_ids[:5])[0]
    assert f": {first} (2 DISCONNECTED), " in result.out
    assert " and 2 more | " in result.out
    assert result.out.startswith(
        "FLASHBACK WARNING - 5 of 9 buckets have nodes that are not ONLINE"
    )
    assert figures(result)["nodes_not_online"] == "10;;;0;"


@pytest.mark.parametrize(
    ("down", "options", "expected"),
    [(0, "", "UNKNOWN"), (1, "", "WARNING"), (1, "-c 0", "CRITICAL"), (1, "-w 1", "UNKNOWN")],
)
async def test_buckets_that_cannot_be_asked_count_less_than_what_is_certain(
    down, options, expected
):
    async with sandbox_with_environment(buckets=3, healthy=True) as (sandbox, env):
        for bucket_id in sandbox.bucket_ids[:down]:
            sandbox.set_state(bucket_id, sandbox.node_ips(bucket_id)[0], "OFFLINE")
        arguments = (*sandbox.bucket_ids, UNKNOWN, *options.split())
        result = await flashback("check", *arguments, env=env)
    assert verdict(result) == expected
    assert f"1 of 4 buckets could not be asked ({UNKNOWN}): NotFoundError: 404" in result.out
    assert figures(result)["not_asked"] == "1;;;0;4"


async def test_ids_from_standard_input_are_checked_once_each():
    async with sandbox_with_environment(buckets=3, healthy=True) as (sandbox, env):
        lines = "\n".join([*sandbox.bucket_ids, *sandbox.bucket_ids]).encode()
        result = await flashback("check", "-", sandbox.bucket_ids[0], env=env, stdin=lines)
    assert verdict(result) == "OK"
    assert figures(result)["not_online"] == "0;0;;0;3"


@pytest.mark.parametrize("arguments", ["--all", "-"])
async def test_no_bucket_at_all_is_unknown(arguments):
    async with sandbox_with_environment(buckets=0) as (_, env):
        result = await flashback("check", arguments, env=env)
    assert verdict(result) == "UNKNOWN"
    assert "no bucket to check" in result.out


@pytest.mark.parametrize("arguments", ["--all", "a b"])
async def test_a_deadline_that_passes_is_unknown(arguments):
    async with sandbox_with_environment(buckets=1, latency=GUARD) as (_, env):
        result = await flashback("check", *arguments.split(), "--deadline", "0.2", env=env)
    assert verdict(result) == "UNKNOWN"
    assert "0.2 s" in result.out or "DeadlineExceededError" in result.out


async def test_a_deadline_ends_the_wait_for_ids_too():
    async with (
        sandbox_with_environment(buckets=1) as (_, env),
        process("check", "-", "--deadline", "0.2", env=env) as child,
    ):
        out = (await child.stdout.read()).decode()
        assert out == "FLASHBACK UNKNOWN - the deadline of 0.2 s passed\n"
        assert await child.wait() == 3


@pytest.mark.parametrize("arguments", ["--all", "a b"])
async def test_a_rejected_token_is_unknown(arguments):
    async with sandbox_with_environment(buckets=1) as (_, env):
        wrong = env | {"FLASHBACK_TOKEN": "wrong-token"}
        result = await flashback("check", *arguments.split(), env=wrong)
    assert verdict(result) == "UNKNOWN"
    assert "401 Unauthorized, token rejected" in result.out
    assert "wrong-token" not in result.out
    assert result.err == ""


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("--nonsense", "--nonsense"),
        ("", "give bucket ids"),
        ("a --all", "not both"),
        ("a -w -1", "--warning"),
        ("a -w 1.5", "--warning"),
        ("a -c x", "--critical"),
        ("a -o json", "-o"),
        ("a --base-url ftp://x", "--base-url"),
        ("a --timeout 1e308", "three times --timeout"),
        ("a --deadline nan", "--deadline"),
    ],
)
def test_wrong_usage_is_unknown_and_not_critical(arguments, part, monkeypatch, capsys):
    monkeypatch.setenv("FLASHBACK_TOKEN", "x")
    assert app.run(["check", *arguments.split()]) == 3
    out, err = capsys.readouterr()
    assert LINE.fullmatch(out)
    assert out.startswith("FLASHBACK UNKNOWN - ")
    assert part in out
    assert err == ""


def test_a_missing_token_is_unknown(capsys):
    assert app.run(["check", "--all"]) == 3
    assert capsys.readouterr().out.startswith("FLASHBACK UNKNOWN - no token: set FLASHBACK_TOKEN")


def test_its_help_is_exit_code_0(capsys):
    assert app.run(["check", "--help"]) == 0
    assert "--critical" in capsys.readouterr().out


@pytest.mark.parametrize("evil", ["\n", "|", "\x1b]0;x\x07", "'", "x" * 9_000])
async def test_nothing_that_it_is_told_can_break_the_line(evil):
    async with sandbox_with_environment(buckets=1, healthy=True) as (sandbox, env):
        sandbox.set_state(
            sandbox.bucket_ids[0], sandbox.node_ips(sandbox.bucket_ids[0])[0], "OFFLINE"
        )
        result = await flashback("check", f"a{evil}b", sandbox.bucket_ids[0], env=env)
        alone = await flashback("check", f"--{evil}", env=env)
    assert verdict(result) == "WARNING"
    assert set(figures(result)) == {"not_online", "nodes_not_online", "not_asked", "time"}
    assert verdict(alone) == "UNKNOWN"
    for line in (result.out, alone.out):
        assert line.removesuffix("\n").isprintable()
        assert len(line) < 1_000


def test_what_nobody_expected_is_unknown(monkeypatch, capsys):
    def fail(*_, **__):
        raise LookupError("a surprise")

    monkeypatch.setattr("flashback_async.cli.check.make_client", fail)
    assert app.run(["check", "--all"]) == 3
    assert capsys.readouterr() == ("FLASHBACK UNKNOWN - LookupError: a surprise\n", "")


@pytest.mark.parametrize("arguments", [["check", "--all"], ["--", "check"]])
def test_a_broken_installation_is_unknown(arguments, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 3
    assert capsys.readouterr().out.startswith("FLASHBACK UNKNOWN - flashback needs click and rich")


@pytest.mark.parametrize(
    ("error", "said"),
    [(LookupError("x"), "LookupError: x"), (KeyboardInterrupt(), "interrupted")],
)
def test_what_fails_before_the_command_begins_is_unknown(error, said, monkeypatch, capsys):
    def fail(_):
        raise error

    monkeypatch.setattr(app, "run", fail)
    with pytest.raises(SystemExit) as ended:
        main(["check"])
    assert (ended.value.code, capsys.readouterr().out) == (3, f"FLASHBACK UNKNOWN - {said}\n")


def test_other_commands_show_what_nobody_expected(monkeypatch):
    def fail(_):
        raise LookupError

    monkeypatch.setattr(app, "run", fail)
    with pytest.raises(LookupError):
        main(["status"])


@needs_posix
@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
async def test_an_interrupt_is_unknown(number):
    async with (
        sandbox_with_environment(buckets=1) as (_, env),
        process("check", "-", env=env, stderr=subprocess.DEVNULL) as child,
    ):
        # More than a pipe holds: the rest is taken once it reads.
        child.stdin.write(b"#" + b"x" * 200_000 + b"\n")
        await child.stdin.drain()
        child.send_signal(number)
        assert await child.stdout.read() == b"FLASHBACK UNKNOWN - interrupted\n"
        assert await child.wait() == 3


@needs_posix
async def test_an_output_that_cannot_be_written_is_unknown():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    async with sandbox_with_environment(buckets=1, healthy=True) as (_, env):
        with full.open("wb") as stdout:
            result = await spawned("check", "--all", env=env, stdout=stdout)
        closed = subprocess.run(
            f"exec '{sys.executable}' -m flashback_async check --all >&-",
            shell=True,
            env=environment(),
            capture_output=True,
            timeout=GUARD,
        )
    assert (result.code, result.err) == (3, "")
    assert (closed.returncode, closed.stderr) == (3, b"")
