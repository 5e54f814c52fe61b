"""``flashback exporter``: its URL, how it is stopped, and what it refuses."""

import asyncio
import os
import re
import signal
import socket

import aiohttp
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

FREE = ("--listen", "127.0.0.1:0")
QUICK = (*FREE, "--interval", "0.1")
STOPS = pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM],
    ids=["Ctrl-C", "SIGTERM"],
)


async def url_of(child):
    return (await child.stdout.readline()).decode().removesuffix("\n")


async def scraped(url):
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
        assert answer.status == 200
        return await answer.text()


async def scraped_until(url, pattern):
    """Scrape until a line matches a pattern; return the scrape."""
    async with asyncio.timeout(GUARD):
        while not re.search(pattern, text := await scraped(url), re.MULTILINE):
            await asyncio.sleep(0.02)
    return text


async def stopped(child, number=signal.SIGTERM):
    """Stop an exporter; return what it still wrote."""
    child.send_signal(number)
    async with asyncio.timeout(GUARD):
        assert await child.wait() == 0
    return (await child.stdout.read() + await child.stderr.read()).decode()


@needs_posix
@STOPS
async def test_it_prints_its_url_and_exports_until_it_is_stopped(number):
    async with (
        sandbox_with_environment(buckets=2, nodes=2, healthy=True) as (sandbox, env),
        process("exporter", "--all", *QUICK, env=env) as child,
    ):
        url = await url_of(child)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        bucket_id = sandbox.bucket_ids[0]
        sandbox.set_state(bucket_id, sandbox.node_ips(bucket_id)[0], "OFFLINE")
        text = await scraped_until(url, r'^flashback_nodes\{region="[^"]*",state="OFFLINE"\} 1$')
        assert f'flashback_bucket_answered{{bucket_id="{bucket_id}"}} 1' in text
        assert "flashback_node_" not in text
        assert sandbox.token not in text
        assert await stopped(child, number) == ""


@needs_posix
@pytest.mark.slow
async def test_it_can_be_stopped_while_a_scrape_is_under_way():
    arguments = ("exporter", "--all", *FREE, "--interval", "3", "--detail", "node")
    async with (
        sandbox_with_environment(buckets=10, nodes=1_000, healthy=True) as (_, env),
        process(*arguments, env=env) as child,
    ):
        url = await url_of(child)
        async with asyncio.timeout(GUARD):
            while (await scraped(url)).count("\nflashback_node_up{") < 10_000:
                await asyncio.sleep(0.1)
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1_000)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"  # and no more is read
        assert await stopped(child) == ""
        writer.transport.abort()


@needs_posix
async def test_it_can_be_stopped_while_it_waits_for_the_first_listing():
    async with (
        sandbox_with_environment(buckets=1, latency=GUARD) as (sandbox, env),
        process("exporter", "--all", *FREE, env=env) as child,
    ):
        assert "flashback_bucket_answered{" not in await scraped(await url_of(child))
        while not sandbox.requests:
            await asyncio.sleep(0.01)
        assert await stopped(child) == ""


@needs_posix
@pytest.mark.slow
async def test_ids_come_from_standard_input_too():
    async with sandbox_with_environment(buckets=3, nodes=1, healthy=True) as (sandbox, env):
        first, second, _ = sandbox.bucket_ids
        async with process("exporter", first, "-", *QUICK, env=env) as child:
            child.stdin.write(f"# mine\n{second}\n".encode())
            child.stdin.write_eof()
            text = await scraped_until(await url_of(child), r"(.*bucket_answered\{.*\n){2}")
            assert set(re.findall(r'bucket_answered\{bucket_id="(.*)"', text)) == {first, second}
            assert await stopped(child) == ""


@needs_posix
@pytest.mark.slow
async def test_counters_that_cannot_be_read_are_a_warning():
    async with sandbox_with_environment(buckets=1, nodes=1) as (sandbox, env):
        with sandbox.script(Fault.status(400).for_operation("bucket_stats.list")):
            async with process("exporter", *sandbox.bucket_ids, *FREE, env=env) as child:
                await url_of(child)
                said = (await child.stderr.readline()).decode()
                assert await stopped(child) == ""
    assert said.startswith("WARNING exporter: the counters of 1 of 1 buckets could not be read")


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
@needs_posix
@pytest.mark.slow
async def test_an_ipv6_address_has_brackets():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with (
        sandbox_with_environment(buckets=1) as (_, env),
        process("exporter", "--all", "--listen", "[::1]:0", env=env) as child,
    ):
        url = await url_of(child)
        assert re.fullmatch(r"http://\[::1\]:\d+", url)
        assert "flashback_watch_lag_seconds " in await scraped(url)
        assert await stopped(child) == ""


@pytest.mark.parametrize("arguments", [("a",), ("--all",)])
async def test_a_rejected_token_is_exit_code_3(arguments):
    async with sandbox_with_environment(buckets=1) as (_, env):
        wrong = env | {"FLASHBACK_TOKEN": "wrong-token"}
        result = await flashback("exporter", *arguments, *QUICK, env=wrong)
    assert result.code == 3
    assert result.err.startswith("error: 401 Unauthorized, token rejected")
    assert result.err.count("\n") == 1
    assert "wrong-token" not in result.out + result.err


async def test_an_address_in_use_is_exit_code_2_before_anything_is_asked():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with sandbox_with_environment(buckets=1) as (sandbox, env):
            result = await flashback("exporter", "--all", "--listen", address, env=env)
            assert sandbox.requests == 0
    assert (result.code, result.out) == (2, "")
    assert result.err == f"error: --listen: cannot listen on '{address}': Address already in use\n"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("", "give bucket ids"),
        ("a --all", "not both"),
        ("a --listen *:9464", "error: --listen must name its host: 0.0.0.0 is"),
        ("a --listen 9464", "error: --listen must be HOST:PORT, such as 127.0.0.1:9464"),
        ("a --listen 127.0.0.1:65536", "error: --listen must have a port from 0 to 65535"),
        ("a --listen 203.0.113.7:0", "error: --listen: cannot listen on '203.0.113.7:0': "),
        ("a --listen a..b:0", "the host is no valid name"),
        ("a --detail all", "--detail"),
        ("a --interval 0.01", "error: --interval must be from 0.1 to 1e9 s"),
        ("a --fall 0", "--fall"),
        ("a --deadline 5", "--deadline"),
        ("no/id", "error: "),
        ("-", "standard input holds no ids"),
    ],
)
async def test_wrong_usage_is_one_line_and_exit_code_2(arguments, part):
    env = environment(FLASHBACK_TOKEN="x")
    result = await flashback("exporter", *arguments.split(), env=env)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert part in result.err
    assert result.err.count("\n") == 1


@needs_posix
async def test_the_address_is_checked_before_ids_are_read():
    read, write = os.pipe()
    with os.fdopen(read, "rb") as stdin, os.fdopen(write, "wb"):  # it never ends
        env = environment(FLASHBACK_TOKEN="x")
        async with asyncio.timeout(GUARD):
            result = await flashback("exporter", "-", "--listen", "9464", env=env, stdin=stdin)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: --listen must be HOST:PORT")


def test_its_help_names_its_options(capsys):
    assert app.run(["exporter", "--help"]) == 0
    told = capsys.readouterr().out
    for option in ("--listen", "--detail", "--interval", "--fall", "--rise", "--quiet"):
        assert option in told
    assert "--deadline" not in told
    assert "--output" not in told
