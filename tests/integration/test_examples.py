"""The examples: each runs against a sandbox over real sockets, and does what it documents."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

import httpx
import pytest
from aiohttp.test_utils import TestServer

from examples import aiohttp_app, fastapi_app
from flashback_async import Timeout
from flashback_async.sandbox import Sandbox

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox of two buckets, every node of which is ONLINE."""
    async with Sandbox(buckets=2, nodes=2) as sandbox:
        for bucket_id in sandbox.bucket_ids:
            for ip in sandbox.node_ips(bucket_id):
                sandbox.set_state(bucket_id, ip, "ONLINE")
        yield sandbox


@asynccontextmanager
async def started(
    *arguments: str, token: str, base_url: str, **more: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start Python in its own process, in which every warning is an error."""
    mine = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("FLASHBACK_", "WATCH_"))
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        *arguments,
        cwd=EXAMPLES.parent,
        env=mine | {"FLASHBACK_TOKEN": token, "FLASHBACK_BASE_URL": base_url} | more,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """Wait for the end; return the exit code and the rest of stdout and stderr."""
    said, complained = await process.communicate()
    return process.returncode, said.decode(), complained.decode()


async def line_of(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    return (await stream.readline()).decode().rstrip()


# poll_once.py


async def poll_once(sandbox: Sandbox, **settings: str) -> tuple[int | None, list[str], str]:
    settings = {"token": sandbox.token, "base_url": sandbox.base_url} | settings
    async with started("examples/poll_once.py", **settings) as process:
        code, said, complained = await ended(process)
    return code, said.splitlines(), complained


async def test_poll_once_is_content_where_every_node_is_online(sandbox: Sandbox) -> None:
    code, said, complained = await poll_once(sandbox)
    assert (code, said) == (0, [])
    assert complained.strip() == "2 buckets: 0 nodes not ONLINE, 0 buckets failed"


async def test_poll_once_prints_what_is_not_online(sandbox: Sandbox) -> None:
    first, second = sandbox.bucket_ids
    one, other = sandbox.node_ips(first)[0], sandbox.node_ips(second)[1]
    sandbox.set_state(first, one, "OFFLINE")
    sandbox.set_state(second, other, "IN REPAIR")
    code, said, complained = await poll_once(sandbox)
    assert code == 1
    assert {(*line.split()[:2], line.split(maxsplit=3)[3]) for line in said} == {
        (first, one, "OFFLINE"),
        (second, other, "IN REPAIR"),
    }
    assert complained.strip() == "2 buckets: 2 nodes not ONLINE, 0 buckets failed"


async def test_poll_once_tells_of_a_bucket_that_cannot_be_asked(sandbox: Sandbox) -> None:
    # The list of all buckets names none of them, so it is their status that fails.
    sandbox.fail(sandbox.bucket_ids[0], 501)
    code, said, complained = await poll_once(sandbox)
    assert (code, said) == (2, [])
    assert f"{sandbox.bucket_ids[0]}: 501 Not Implemented" in complained
    assert "0 nodes not ONLINE, 1 buckets failed" in complained


async def test_poll_once_says_in_one_line_that_its_token_is_wrong(sandbox: Sandbox) -> None:
    code, said, complained = await poll_once(sandbox, token="wrong")
    assert (code, said) == (2, [])
    assert complained.startswith("AuthenticationError: 401 Unauthorized")
    assert len(complained.splitlines()) == 1


async def test_poll_once_says_in_one_line_that_a_setting_is_wrong(sandbox: Sandbox) -> None:
    code, said, complained = await poll_once(sandbox, base_url="ftp://127.0.0.1")
    assert (code, said) == (2, [])
    assert complained.startswith("ConfigurationError: base_url ")
    assert len(complained.splitlines()) == 1


# watch.py


posix_signals = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no signals that one process sends another"
)


@posix_signals
async def test_watch_prints_what_changes_and_stops_quietly(sandbox: Sandbox) -> None:
    settings = {"token": sandbox.token, "base_url": sandbox.base_url}
    async with started("examples/watch.py", **settings) as process:
        lines = {await line_of(process.stdout), await line_of(process.stdout)}
        process.send_signal(signal.SIGINT)
        assert await ended(process) == (0, "", "")
    texts = [
        {f"{bucket_id} {ip} APPEARED None ONLINE" for ip in sandbox.node_ips(bucket_id)}
        for bucket_id in sandbox.bucket_ids
    ]
    assert lines in texts


def test_watch_has_ten_lines() -> None:
    lines = (EXAMPLES / "watch.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line]) == 10


# The two backends. They answer alike, so the same tests are for both.


Visitors = Callable[[str, str], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture(params=[fastapi_app, aiohttp_app], ids=lambda module: module.__name__)
def backend(request: pytest.FixtureRequest) -> ModuleType:
    module: ModuleType = request.param
    return module


@pytest.fixture
def visitor_of(backend: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Visitors:
    """Open a backend in this loop, for a token and an API, and yield a visitor to it."""

    @asynccontextmanager
    async def opened(token: str, base_url: str) -> AsyncIterator[httpx.AsyncClient]:
        monkeypatch.setenv("FLASHBACK_TOKEN", token)
        monkeypatch.setenv("FLASHBACK_BASE_URL", base_url)
        if backend is fastapi_app:
            app = fastapi_app.app
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(
                    transport=httpx.ASGITransport(app), base_url="http://backend"
                ) as visitor,
            ):
                yield visitor
        else:
            async with (
                TestServer(aiohttp_app.make_app()) as server,
                httpx.AsyncClient(base_url=str(server.make_url("/")), trust_env=False) as visitor,
            ):
                yield visitor

    return opened


@pytest.fixture
async def visitor(sandbox: Sandbox, visitor_of: Visitors) -> AsyncIterator[httpx.AsyncClient]:
    async with visitor_of(sandbox.token, sandbox.base_url) as visitor:
        yield visitor


def status_of(bucket_id: str) -> str:
    return f"/buckets/{quote(bucket_id, safe='')}/status"


async def test_a_backend_gives_the_status_of_a_bucket(
    sandbox: Sandbox, visitor: httpx.AsyncClient
) -> None:
    bucket_id = sandbox.bucket_ids[0]
    ips = sandbox.node_ips(bucket_id)
    sandbox.set_state(bucket_id, ips[0], "OFFLINE")
    answer = await visitor.get(status_of(bucket_id))
    assert answer.status_code == 200
    told = answer.json()
    assert told["bucket_id"] == bucket_id
    assert [(node["ip"], node["state"]) for node in told["nodes"]] == [
        (ips[0], "OFFLINE"),
        (ips[1], "ONLINE"),
    ]
    assert datetime.fromisoformat(told["nodes"][0]["last_updated"]).utcoffset() == timedelta(0)


async def test_a_backend_uses_one_client_for_all_requests(
    sandbox: Sandbox, visitor: httpx.AsyncClient
) -> None:
    answers = [await visitor.get(status_of(bucket_id)) for bucket_id in sandbox.bucket_ids]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert sandbox.requests == 2


async def test_a_bucket_of_others_looks_like_one_that_does_not_exist(
    sandbox: Sandbox, visitor: httpx.AsyncClient
) -> None:
    unknown = await visitor.get(status_of("no-such-bucket"))
    forbidden = await visitor.get(status_of(sandbox.forbidden_ids[0]))
    assert unknown.status_code == 404
    assert (forbidden.status_code, forbidden.text) == (unknown.status_code, unknown.text)


async def test_an_id_that_is_none_is_a_bad_request(
    sandbox: Sandbox, visitor: httpx.AsyncClient
) -> None:
    refused = await visitor.get(status_of(" "))
    assert (refused.status_code, sandbox.requests) == (400, 0)
    sandbox.fail(sandbox.bucket_ids[0], 400)
    assert (await visitor.get(status_of(sandbox.bucket_ids[0]))).status_code == 400


@pytest.mark.parametrize("status", [429, 503])
async def test_a_pause_that_the_api_asks_for_is_handed_on(
    sandbox: Sandbox, visitor: httpx.AsyncClient, status: int
) -> None:
    first, second = sandbox.bucket_ids
    sandbox.fail(first, status, retry_after=50)
    answer = await visitor.get(status_of(first))
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, "50")
    # The pause is for all: nothing more is sent, and the visitor knows how long it lasts.
    answer = await visitor.get(status_of(second))
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 50
    assert sandbox.requests == 1


async def test_an_outage_is_503(
    sandbox: Sandbox, visitor: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.fail(sandbox.bucket_ids[0], 501)
    answer = await visitor.get(status_of(sandbox.bucket_ids[0]))
    assert answer.status_code == 503
    assert "Retry-After" not in answer.headers
    await sandbox.close()
    assert (await visitor.get(status_of(sandbox.bucket_ids[0]))).status_code == 503
    assert "answered 503: ServerError: 501 Not Implemented" in caplog.text
    assert "answered 503: ConnectError: no connection" in caplog.text


async def test_a_rejected_token_is_503_and_a_line_in_the_log(
    sandbox: Sandbox,
    backend: ModuleType,
    visitor_of: Visitors,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with visitor_of("old-token", sandbox.base_url) as visitor:
        answer = await visitor.get(status_of(sandbox.bucket_ids[0]))
    assert answer.status_code == 503
    assert "WWW-Authenticate" not in answer.headers
    assert "token" not in answer.text
    (line,) = (record for record in caplog.records if record.name == backend.__name__)
    assert line.levelno == logging.ERROR
    assert line.getMessage().startswith("answered 503: AuthenticationError: 401 Unauthorized")
    assert "old-token" not in caplog.text


@pytest.mark.parametrize("timeout", [Timeout(total=0.05), Timeout(attempt=0.05)], ids=str)
async def test_an_api_that_takes_too_long_is_504(
    backend: ModuleType, visitor_of: Visitors, monkeypatch: pytest.MonkeyPatch, timeout: Timeout
) -> None:
    monkeypatch.setattr(backend, "TIMEOUT", timeout)
    async with (
        Sandbox(latency=3600) as slow,
        visitor_of(slow.token, slow.base_url) as visitor,
    ):
        assert (await visitor.get(status_of(slow.bucket_ids[0]))).status_code == 504


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(lambda: answer(200, b'{"nodeStatus": 7}'), id="not as documented"),
        pytest.param(lambda: answer(200, b'{"success": false}'), id="a no under 200"),
        pytest.param(lambda: answer(302), id="a redirect"),
        pytest.param(lambda: answer(409), id="a status that nobody documents"),
        pytest.param(lambda: b"SSH-2.0-OpenSSH_9.6\r\n", id="not HTTP"),
    ],
)
async def test_an_unusable_answer_is_502(visitor_of: Visitors, raw: Callable[[], bytes]) -> None:
    async with scripted(raw) as base_url, visitor_of("token", base_url) as visitor:
        assert (await visitor.get(status_of("b"))).status_code == 502


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["-m", "uvicorn", "--app-dir", "examples", "--port", "0", "fastapi_app:app"], {}),
        (["examples/aiohttp_app.py"], {"PORT": "0"}),
    ],
    ids=["fastapi", "aiohttp"],
)
async def test_a_backend_runs_as_its_text_says(
    sandbox: Sandbox, arguments: list[str], settings: dict[str, str]
) -> None:
    settings = {"PYTHONUNBUFFERED": "1", **settings}
    async with started(
        *arguments, token=sandbox.token, base_url=sandbox.base_url, **settings
    ) as process:
        # Each server prints its address to a stream of its own choice.
        told = await first_match(r"[Rr]unning on (http://[\d.:]+)", process.stdout, process.stderr)
        async with httpx.AsyncClient(base_url=told, trust_env=False) as visitor:
            fine = await visitor.get(status_of(sandbox.bucket_ids[0]))
            gone = await visitor.get(status_of("no-such-bucket"))
        assert (fine.status_code, gone.status_code) == (200, 404)
        process.terminate()
        _, _, complained = await ended(process)
        assert "never closed" not in complained
        assert "Traceback" not in complained


async def first_match(pattern: str, *streams: asyncio.StreamReader | None) -> str:
    """Read streams until one has a line that matches, and return the group in it."""

    async def search(stream: asyncio.StreamReader | None) -> str:
        assert stream is not None
        told = ""
        while line := (await stream.readline()).decode():
            told += line
            if match := re.search(pattern, line):
                return match[1]
        raise AssertionError(f"it ended with {told}")

    searches = [asyncio.create_task(search(stream)) for stream in streams]
    try:
        done, _ = await asyncio.wait(searches, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in searches:
            task.cancel()
        await asyncio.wait(searches)


# Answers that the sandbox cannot send, because no Flashback API does.


def answer(status: int, body: bytes = b"{}") -> bytes:
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: application/json\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


@asynccontextmanager
async def scripted(script: Callable[[], bytes]) -> AsyncIterator[str]:
    """Answer each request with the next bytes of the script; yield the base URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(script())
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        if tasks:
            await asyncio.wait(tasks)
        await server.wait_closed()
