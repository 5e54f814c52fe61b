"""``flashback dashboard``: a page until it is stopped."""

import asyncio
import re
import signal
import time

import aiohttp
import pytest

from tests.integration.command import (
    GUARD,
    environment,
    flashback,
    needs_posix,
    process,
    sandbox_with_environment,
)
from tests.integration.dashboards import viewer

QUICK = ("--interval", "0.1", "--fall", "1", "--rise", "1")


class Board:
    def __init__(self, url):
        self.url = url


async def board_of(child):
    """Return the dashboard whose address a command has printed."""
    line = (await child.stdout.readline()).decode()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", line)
    return Board(line.strip())


@needs_posix
@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
async def test_it_prints_its_address_and_shows_changes_until_it_is_stopped(number):
    async with (
        sandbox_with_environment(buckets=2, nodes=1, healthy=True) as (sandbox, env),
        process("dashboard", "--all", *QUICK, env=env) as child,
        aiohttp.ClientSession() as session,
    ):
        board = await board_of(child)
        async with viewer(board, session) as page, viewer(board, session) as idle:
            await page.until(lambda page: page.all_asked)
            first = sandbox.bucket_ids[0]
            sandbox.set_state(first, sandbox.node_ips(first)[0], "OFFLINE")
            await page.until(lambda page: page.states(first) == ["OFFLINE"])
            idle._response.connection.transport.pause_reading()
            child.send_signal(number)
            async with asyncio.timeout(GUARD):
                assert await child.wait() == 0
        assert await child.stdout.read() == b""
        assert await child.stderr.read() == b""


@needs_posix
@pytest.mark.slow
async def test_ids_come_from_arguments_and_from_standard_input():
    async with sandbox_with_environment(buckets=3, nodes=1, healthy=True) as (sandbox, env):
        first, second, _ = sandbox.bucket_ids
        async with process("dashboard", first, "-", *QUICK, env=env) as child:
            child.stdin.write(f"{second}\n".encode())
            child.stdin.write_eof()
            board = await board_of(child)
            async with aiohttp.ClientSession() as session, viewer(board, session) as page:
                await page.until(lambda page: page.all_asked)
                assert page.shown["ids"] == sorted([first, second])
            child.terminate()
            assert await child.wait() == 0


@needs_posix
@pytest.mark.slow
async def test_a_rejected_token_ends_it_with_3_and_viewers_see_it():
    async with (
        sandbox_with_environment(buckets=2, nodes=1, healthy=True) as (sandbox, env),
        process("dashboard", "--all", *QUICK, env=env) as child,
        aiohttp.ClientSession() as session,
    ):
        board = await board_of(child)
        async with viewer(board, session) as page:
            await page.until(lambda page: page.all_asked)
            sandbox.rotate_token()
            while await page.read() is not None:
                pass
            assert "401" in page.ending["message"]
        assert await child.wait() == 3
        assert (await child.stderr.read()).startswith(b"error: ")


async def test_a_token_that_was_never_good_ends_it_with_3():
    async with sandbox_with_environment(buckets=1) as (_, env):
        result = await flashback("dashboard", "--all", env=env | {"FLASHBACK_TOKEN": "wrong"})
    assert result.code == 3
    assert "401" in result.err


async def test_a_port_that_is_taken_is_a_wrong_setting():
    async with sandbox_with_environment(buckets=1) as (sandbox, env):
        port = sandbox.base_url.rpartition(":")[2]
        result = await flashback("dashboard", "--all", "--port", port, env=env)
    assert (result.code, result.out) == (2, "")
    assert port in result.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "--all"),
        (("--all", "--port", "70000"), "--port"),
        (("--all", "--interval", "0"), "--interval"),
        (("--all", "--fall", "0"), "--fall"),
        (("--all", "an-id"), "--all"),
    ],
)
async def test_a_wrong_option_is_named(arguments, named):
    result = await flashback("dashboard", *arguments, env=environment(FLASHBACK_TOKEN="x"))
    assert result.code == 2
    assert named in result.err


@needs_posix
@pytest.mark.slow
async def test_fifty_viewers_do_not_keep_it_from_ending_within_a_second():
    async with (
        sandbox_with_environment(buckets=200, nodes=3) as (_, env),
        process("dashboard", "--all", *QUICK, env=env) as child,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        board = await board_of(child)
        responses = [await session.get(f"{board.url}events") for _ in range(50)]
        child.terminate()
        began = time.monotonic()
        assert await child.wait() == 0
        assert time.monotonic() - began < 5  # a second, on a machine that is not busy
        for response in responses:
            response.close()


@needs_posix
@pytest.mark.slow
async def test_the_demo_shows_a_page_whose_nodes_change():
    async with (
        process("demo", "--dashboard", "--buckets", "30", env=environment()) as child,
        aiohttp.ClientSession() as session,
    ):
        board = await board_of(child)
        async with viewer(board, session) as page:
            await page.until(lambda page: page.all_asked and page.shown["news"])
        child.terminate()
        assert await child.wait() == 0


async def test_the_demo_shows_one_thing_at_a_time():
    result = await flashback("demo", "--dashboard", "--watch", env=environment())
    assert result.code == 2
    assert "--dashboard" in result.err
