"""What the commands show and refuse, and their exit codes."""

import asyncio
import csv
import io
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from flashback_async.cli import app, main, runner
from flashback_async.sandbox import Sandbox
from tests.integration.command import (
    GUARD,
    UNKNOWN,
    environment,
    flashback,
    needs_posix,
    process,
    records,
    sandbox_with_environment,
    spawned,
)

FORMS = ("table", "json", "jsonl", "csv")

# Data.


async def test_status_of_all_is_a_record_a_line_where_it_is_piped():
    async with sandbox_with_environment(buckets=200) as (sandbox, env):
        result = await spawned("status", "--all", env=env)
    assert (result.code, result.err) == (0, "")
    found = records(result)
    assert set(found) == set(sandbox.bucket_ids)
    node = found[sandbox.bucket_ids[0]]["nodes"][0]
    assert set(node) == {"ip", "region", "version", "state", "latency_ms", "last_updated"}
    assert datetime.fromisoformat(node["last_updated"]).tzinfo is not None


async def test_status_takes_ids_from_arguments_and_standard_input():
    async with sandbox_with_environment(buckets=5) as (sandbox, env):
        first, *rest = sandbox.bucket_ids
        lines = "# mine\n\n" + "\n".join(rest)
        result = await flashback("status", first, "-", env=env, stdin=lines.encode())
    assert result.code == 0
    assert set(records(result)) == set(sandbox.bucket_ids)


async def test_an_answer_is_written_while_standard_input_is_still_open():
    async with (
        sandbox_with_environment(buckets=2) as (sandbox, env),
        process("status", "-", env=env) as child,
    ):
        for bucket_id in sandbox.bucket_ids:
            child.stdin.write(f"{bucket_id}\n".encode())
            record = json.loads(await child.stdout.readline())
            assert record["bucket_id"] == bucket_id
        child.stdin.close()
        assert await child.wait() == 0


async def test_failures_are_records_too_and_some_of_them_are_exit_code_1():
    async with sandbox_with_environment(buckets=2) as (sandbox, env):
        forbidden = sandbox.forbidden_ids[0]
        ids = [*sandbox.bucket_ids, forbidden, UNKNOWN, "no/id"]
        result = await flashback("status", *ids, env=env)
    assert result.code == 1
    assert result.err == "3 of 5 buckets failed\n"
    found = records(result)
    assert found[forbidden]["error"]["status"] == 403
    assert found[UNKNOWN]["error"]["type"] == "NotFoundError"
    assert found["no/id"]["error"]["type"] == "InvalidArgumentError"
    assert "error" not in found[sandbox.bucket_ids[0]]


async def test_stats_of_all_and_of_some_agree():
    async with sandbox_with_environment(buckets=30) as (sandbox, env):
        every = await flashback("stats", env=env)
        some = await flashback("stats", *sandbox.bucket_ids[:3], env=env)
    assert (every.code, some.code) == (0, 0)
    assert every.lines[:3] == some.lines
    assert isinstance(json.loads(every.lines[0])["total_upload_bytes"], int)


async def test_stats_of_an_empty_list_of_ids_are_none_and_not_all():
    async with sandbox_with_environment(buckets=3) as (sandbox, env):
        result = await flashback("stats", "-", env=env)
        assert sandbox.requests == 0
    assert (result.code, result.out) == (0, "")


async def test_node_stats_of_several_days():
    today = datetime.now(UTC).date()
    async with sandbox_with_environment(buckets=2, nodes=2) as (sandbox, env):
        days = ("--day", "yesterday", "--day", "2024-01-15")
        result = await flashback("node-stats", *sandbox.bucket_ids, *days, env=env)
    assert result.code == 0
    pairs = {(r["bucket_id"], r["day"]) for r in map(json.loads, result.lines)}
    expected = {str(today - timedelta(days=1)), "2024-01-15"}
    assert pairs == {(bucket_id, day) for bucket_id in sandbox.bucket_ids for day in expected}


async def test_node_stats_of_all_buckets():
    async with sandbox_with_environment(buckets=4, nodes=1) as (sandbox, env):
        days = ("--day", "2024-01-15", "--day", "2024-01-16T01:00+02:00")
        result = await flashback("node-stats", "--all", *days, env=env)
        refused = await flashback("node-stats", "--all", "-", *days, env=env)
    pairs = [(r["bucket_id"], r["day"]) for r in map(json.loads, result.lines)]
    assert sorted(pairs) == sorted((i, "2024-01-15") for i in sandbox.bucket_ids for _ in days[::2])
    assert (result.code, refused.code, refused.out) == (0, 2, "")


async def test_stats_of_all_may_be_asked_for_by_name():
    async with sandbox_with_environment(buckets=4) as (_, env):
        unnamed = await flashback("stats", env=env)
        named = await flashback("stats", "--all", env=env)
    assert (named.code, named.out) == (0, unnamed.out)


async def test_node_stats_from_standard_input_as_csv():
    async with sandbox_with_environment(buckets=1, nodes=2) as (sandbox, env):
        result = await flashback(
            *("node-stats", "-", "--day", "2024-01-15", "-o", "csv"),
            env=env,
            stdin=sandbox.bucket_ids[0].encode(),
        )
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert [row["ip"] for row in rows] == list(sandbox.node_ips(sandbox.bucket_ids[0]))
    assert {row["day"] for row in rows} == {"2024-01-15"}


async def test_json_is_one_array_in_the_order_of_the_ids():
    async with sandbox_with_environment(buckets=20) as (sandbox, env):
        result = await flashback("status", *sandbox.bucket_ids, "-o", "json", env=env)
    found = json.loads(result.out)
    assert [record["bucket_id"] for record in found] == list(sandbox.bucket_ids)


async def test_a_table_has_the_data_on_stdout_and_the_rest_on_stderr():
    async with sandbox_with_environment(buckets=3) as (sandbox, env):
        ids = [*sandbox.bucket_ids, *(f"gone-{n}" for n in range(30))]
        result = await flashback("status", *ids, "-o", "table", env=env)
        quiet = await flashback("status", sandbox.bucket_ids[0], "-o", "table", "-q", env=env)
        plain = await flashback("status", sandbox.bucket_ids[0], "-o", "table", env=env)
    assert result.code == 1
    for bucket_id in sandbox.bucket_ids:
        assert any(line.startswith(bucket_id) for line in result.lines)
    assert "gone-" not in result.out
    *failures, more, verdict = result.err.splitlines()
    assert len(failures) == 20
    assert all(": NotFoundError: 404" in line for line in failures)
    assert (more, verdict) == ("and 10 more", "30 of 33 buckets failed")
    assert quiet.err == ""
    assert plain.err.startswith("1 bucket in ")


async def test_no_escape_sequence_reaches_a_pipe_even_from_ids():
    evil = "\x1b[31mred\x1b]0;title\x07"
    async with sandbox_with_environment(buckets=1) as (_, env):
        for form in ("table", "json", "jsonl", "csv"):
            result = await flashback("status", evil, "-o", form, env=env)
            assert result.code == 4
            assert "\x1b" not in result.out + result.err
            assert "\x07" not in result.out + result.err


# Nodes that are not ONLINE.


async def test_only_nodes_that_are_not_online_are_shown_on_request_in_every_format():
    async with sandbox_with_environment(buckets=4, nodes=3, healthy=True) as (sandbox, env):
        fine, partly, wholly, broken = sandbox.bucket_ids
        down = sandbox.node_ips(partly)[1]
        sandbox.set_state(partly, down, "OFFLINE")
        for ip in sandbox.node_ips(wholly):
            sandbox.set_state(wholly, ip, "DISCONNECTED")
        sandbox.fail(broken, status=400, times=100)
        arguments = ("status", "--all", "--not-online", "-o")
        shown = {form: await flashback(*arguments, form, env=env) for form in FORMS}
    assert {result.code for result in shown.values()} == {1}
    for form, result in shown.items():
        assert fine not in result.out
        assert "ONLINE" not in result.out.replace("not ONLINE", "")
        assert result.out.count(down) == 1
        assert "1 of 4 buckets failed" in result.err
        assert broken in (result.err if form == "table" else result.out)
    found = {record["bucket_id"]: record for record in json.loads(shown["json"].out)}
    assert [node["ip"] for node in found[partly]["nodes"]] == [down]
    assert len(found[wholly]["nodes"]) == 3
    assert found[broken]["error"]["status"] == 400
    rows = list(csv.DictReader(io.StringIO(shown["csv"].out)))
    assert len(rows) == 5


async def test_nothing_is_shown_and_all_is_well_if_every_node_is_online():
    async with sandbox_with_environment(buckets=3, healthy=True) as (_, env):
        shown = [
            await flashback("status", "--all", "--not-online", "-o", form, env=env)
            for form in ("jsonl", "table")
        ]
    assert [(result.code, result.out) for result in shown] == [(0, ""), (0, "")]


async def test_a_record_of_a_status_says_when_it_was_asked_for():
    async with sandbox_with_environment(buckets=1) as (sandbox, env):
        before = datetime.now(UTC)
        ids = (sandbox.bucket_ids[0], UNKNOWN)
        lines = await flashback("status", *ids, env=env)
        whole = await flashback("status", *ids, "-o", "json", env=env)
        stats = await flashback("stats", env=env)
        after = datetime.now(UTC)
    for record in (*map(json.loads, lines.lines), *json.loads(whole.out)):
        assert record["asked_at"].endswith("Z")
        assert before <= datetime.fromisoformat(record["asked_at"]) <= after
    assert "asked_at" not in stats.out


# What is wrong, and the exit codes.


async def test_nothing_that_succeeded_is_exit_code_4():
    async with sandbox_with_environment(buckets=1) as (_, env):
        result = await flashback("status", UNKNOWN, env=env)
    assert (result.code, result.err) == (4, "error: nothing succeeded: 1 bucket failed\n")


@pytest.mark.parametrize("arguments", [("status", "a", "b"), ("status", "--all"), ("stats",)])
async def test_a_rejected_token_is_exit_code_3(arguments):
    async with sandbox_with_environment(buckets=1) as (_, env):
        result = await flashback(*arguments, env=env | {"FLASHBACK_TOKEN": "wrong-token"})
    assert result.code == 3
    assert result.err.startswith("error: 401 Unauthorized, token rejected")
    assert len(result.err.splitlines()) == 1
    assert "wrong-token" not in result.out + result.err


async def test_a_rejected_token_is_said_once_in_a_table():
    async with sandbox_with_environment(buckets=1) as (_, env):
        wrong = env | {"FLASHBACK_TOKEN": "wrong-token"}
        result = await flashback("status", *map(str, range(50)), "-o", "table", env=wrong)
    assert (result.code, len(result.err.splitlines())) == (3, 1)


async def test_no_answer_at_all_is_exit_code_4():
    async with sandbox_with_environment(buckets=1, latency=GUARD) as (_, env):
        result = await flashback("status", "--all", "--timeout", "0.05", env=env)
    assert result.code == 4
    assert result.err.startswith("error: ")
    assert "Traceback" not in result.err


async def test_a_base_url_of_the_options_wins_over_the_environment():
    async with sandbox_with_environment(buckets=1) as (sandbox, env):
        elsewhere = env | {"FLASHBACK_BASE_URL": "http://127.0.0.1:1"}
        result = await flashback("status", "--all", "--base-url", sandbox.base_url, env=elsewhere)
    assert result.code == 0


async def test_the_token_may_come_from_a_file(tmp_path):
    async with sandbox_with_environment(buckets=1) as (sandbox, env):
        (tmp_path / "token").write_text(f"{sandbox.token}\n")
        del env["FLASHBACK_TOKEN"]
        env["FLASHBACK_TOKEN_FILE"] = str(tmp_path / "token")
        result = await flashback("stats", env=env)
    assert result.code == 0


async def test_a_pace_is_kept_and_retries_are_logged_on_request():
    async with sandbox_with_environment(buckets=3) as (sandbox, env):
        sandbox.fail(sandbox.bucket_ids[0], status=503, times=1)
        options = ("--max-rate", "500", "--concurrency", "2")
        told = await flashback("status", *sandbox.bucket_ids, "-v", *options, env=env)
        all_told = await flashback("status", *sandbox.bucket_ids, "-vv", env=env)
    assert (told.code, all_told.code) == (0, 0)
    assert told.err.startswith("INFO status.get: retried in")
    assert len(told.err.splitlines()) == 1
    assert all_told.err.count("DEBUG status.get: answer 200") == 3
    assert sandbox.token not in told.err + all_told.err


WRONG = [
    (("status",), "give bucket ids"),
    (("status", "a", "--all"), "not both"),
    (("node-stats", "a"), "--day"),
    (("stats", "a", "--all"), "not both"),
    (("stats", "-", "--all"), "not both"),
    (("node-stats", "--day", "today"), "give bucket ids"),
    (("node-stats", "a", "--all", "--day", "today"), "not both"),
    (("node-stats", "a", "--day", "Monday"), "day must be"),
    (("node-stats", "a", "--day", "0001-01-01T00:00+01:00"), "day must be"),
    (("stats", "--token", "x"), "--token"),
    (("stats", "--deadline", "nan"), "nan is not a finite number above 0"),
    (("stats", "--timeout", "0"), "--timeout"),
    (("stats", "--concurrency", "0"), "--concurrency"),
    (("stats", "-o", "xml"), "xml"),
    (("stats", "--timeout", "1e308"), "error: three times --timeout must be "),
    (("stats", "--max-rate", "1e-320"), "error: --max-rate must be from 1e-06 to 1e+12"),
    (("stats", "--concurrency", "1" + "0" * 400), "error: --concurrency must be from 1 to "),
    (("stats", "--base-url", "ftp://x"), "error: --base-url "),
    (("stats", "--base-url", "http://example.com"), "required: --base-url 'http://example.com'"),
    (("stats", "--base-url", "http://example.com"), "; --allow-insecure-http permits it"),
    (("stats", "--transport", "rust"), "--transport"),
    (("sandbox", "--latency", "nan"), "error: --latency must be a finite number"),
    (("sandbox", "--rate-limit", "1e-320"), "error: --rate-limit must be "),
    (("nonsense",), "nonsense"),
]


@pytest.mark.parametrize(("arguments", "part"), WRONG)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, part, monkeypatch, capsys):
    monkeypatch.setenv("FLASHBACK_TOKEN", "x")
    assert app.run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert part in err
    assert err.count("\n") == 1


def test_a_proxy_that_the_transport_does_not_serve_is_named_by_the_option(monkeypatch, capsys):
    monkeypatch.setenv("FLASHBACK_TOKEN", "x")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert app.run(["stats", "--transport", "direct"]) == 2
    assert capsys.readouterr().err == "error: --transport direct does not work with a proxy\n"


def test_a_wrong_base_url_of_the_environment_is_named_by_its_variable(monkeypatch, capsys):
    monkeypatch.setenv("FLASHBACK_TOKEN", "x")
    monkeypatch.setenv("FLASHBACK_BASE_URL", "ftp://x")
    assert app.run(["stats"]) == 2
    assert capsys.readouterr().err.startswith("error: FLASHBACK_BASE_URL must ")


def test_a_missing_token_names_the_variables(capsys):
    assert app.run(["stats"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: no token: set FLASHBACK_TOKEN, or FLASHBACK_T"
    )


def test_no_command_is_told_what_there_is(capsys):
    assert app.run([]) == 2
    err = capsys.readouterr().err
    assert "Exit codes" in err
    assert "node-stats" in err


async def test_what_is_no_list_of_ids_is_refused():
    async with sandbox_with_environment(buckets=1) as (_, env):
        result = await flashback("status", "-", env=env, stdin=bytes(2_000_000))
    assert result.code == 2
    assert result.err.startswith("error: standard input does not hold ids")


# The sandbox and the demo.


@needs_posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
async def test_the_sandbox_says_how_to_use_it_and_runs_until_it_is_stopped(number):
    async with process("sandbox", "--buckets", "7", "--seed", "5", env=environment()) as child:
        said = [(await child.stdout.readline()).decode().split() for _ in range(2)]
        assert [words[0] for words in said] == ["export", "export"]
        settings = dict(words[1].split("=", 1) for words in said)
        result = await flashback("status", "--all", env=environment(**settings))
        assert (result.code, len(result.lines)) == (0, 7)
        child.send_signal(number)
        assert b"flashback status --all" in await child.stderr.read()
        assert await child.wait() == 0


async def test_a_port_that_is_taken_is_one_line():
    async with Sandbox(buckets=0) as sandbox:
        port = sandbox.base_url.rpartition(":")[2]
        result = await flashback("sandbox", "--port", port, env=environment())
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1


async def test_the_demo_shows_what_a_user_came_for_whatever_the_environment_says():
    env = environment(
        FLASHBACK_TOKEN="not usable",
        FLASHBACK_BASE_URL="ftp://nowhere",
        HTTP_PROXY="http://127.0.0.1:1",
        HTTPS_PROXY="http://127.0.0.1:1",
    )
    result = await flashback("demo", env=env)
    assert (result.code, result.err) == (0, "")
    assert "\x1b" not in result.out
    assert "answers at http://127.0.0.1:" in result.out
    assert "each time after 50 ms, and fails 1% of the time." in result.out
    assert "found 1,000 buckets" in result.out
    sections = ("Nodes by state", "Slowest nodes", "Buckets without a node ONLINE")
    for title in (*sections, "Failed, and why", "Traffic of all buckets", "Speed"):
        assert title in result.lines
    for reason in ("403 Insufficient permissions", "404 Bucket or user not found", "500 Internal"):
        assert reason in result.out
    assert "1,004 buckets in" in result.out
    assert all(len(line) <= 80 for line in result.lines)


def test_a_small_demo_works_too(capsys):
    assert app.run(["demo", "--buckets", "1", "--no-progress"]) == 0
    out = capsys.readouterr().out
    assert "4 buckets" not in out  # one, three of others, and one that is gone
    assert "5 buckets in" in out


# Starting.


HEAVY = ("aiohttp", "rich", "uvloop", "asyncio", "attrs", "flashback_async.client")


@pytest.mark.parametrize("arguments", [["--help"], ["status", "--help"], ["--version"], ["status"]])
def test_it_starts_without_what_it_does_not_need(arguments):
    code = f"""
import sys
from flashback_async.cli import main
try:
    main({arguments!r})
finally:
    loaded = [name for name in {HEAVY!r} if name in sys.modules]
    assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=GUARD)
    assert b"Assertion" not in done.stderr
    assert done.returncode == (0 if "-" in arguments[-1] else 2)


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_says_how_to_install_it(missing, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert 'pip install "flashback-async[cli]"' in err


def test_an_import_system_that_refuses_counts_as_not_installed(monkeypatch, capsys):
    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr("flashback_async.cli.find_spec", refuse)
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2


def test_main_ends_the_process_with_the_exit_code(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("flashback ")


def test_uvloop_drives_the_loop_where_it_can(monkeypatch):
    class Fast(asyncio.SelectorEventLoop):
        pass

    async def kind_of_loop():
        return type(asyncio.get_running_loop())

    monkeypatch.setattr(runner.sys, "platform", "linux")
    monkeypatch.setitem(sys.modules, "uvloop", SimpleNamespace(new_event_loop=Fast))
    assert runner.run_loop(kind_of_loop()) is Fast
    monkeypatch.setattr(runner.sys, "platform", "win32")
    assert runner.run_loop(kind_of_loop()) is not Fast
    monkeypatch.setattr(runner.sys, "platform", "linux")
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert runner.run_loop(kind_of_loop()) is not Fast


@pytest.mark.slow
async def test_it_works_on_the_standard_loop_as_well(tmp_path):
    (tmp_path / "uvloop.py").write_text("raise ImportError('not here')\n")
    async with sandbox_with_environment(buckets=2) as (_, env):
        env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(Path.cwd())])
        result = await spawned("status", "--all", env=env)
    assert (result.code, len(result.lines), result.err) == (0, 2, "")


async def test_the_summary_tells_of_requests_that_were_sent_again_and_of_pauses():
    async with sandbox_with_environment(buckets=3, healthy=True) as (sandbox, env):
        sandbox.fail(sandbox.bucket_ids[0], status=503, times=1)
        arguments = ("status", *sandbox.bucket_ids, "-o", "table")
        repeated = await flashback(*arguments, env=env)
        sandbox.fail(sandbox.bucket_ids[0], status=429, times=1, retry_after=1)
        paused = await flashback(*arguments, env=env)
        quiet = await flashback(*arguments, "-q", env=env)
    assert "1 of 4 requests repeated one that had failed\n3 buckets in " in repeated.err
    assert "the API asked for pauses of 1 s in all\n" in paused.err
    assert quiet.err == ""
