"""The examples: each runs against a sandbox over real sockets, and does what it documents."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
import uvicorn
from aiohttp import web

from examples import aiohttp_app, fastapi_app, litestar_app
from flashback_async import CachePolicy, Timeout
from flashback_async.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from uvicorn._types import ASGIApplication

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


@pytest.mark.slow
async def test_poll_once_tells_of_a_bucket_that_cannot_be_asked(sandbox: Sandbox) -> None:
    # The list of all buckets names none of them, so it is their status that fails.
    sandbox.fail(sandbox.bucket_ids[0], 501)
    code, said, complained = await poll_once(sandbox)
    assert (code, said) == (2, [])
    assert f"{sandbox.bucket_ids[0]}: 501 Not Implemented" in complained
    assert "0 nodes not ONLINE, 1 buckets failed" in complained


@pytest.mark.slow
async def test_poll_once_says_in_one_line_that_its_token_is_wrong(sandbox: Sandbox) -> None:
    code, said, complained = await poll_once(sandbox, token="wrong")
    assert (code, said) == (2, [])
    assert complained.startswith("AuthenticationError: 401 Unauthorized")
    assert len(complained.splitlines()) == 1


@pytest.mark.slow
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


# The three backends. They answer alike, so the same tests are for all.


Visitors = Callable[[str, str], AbstractAsyncContextManager[httpx.AsyncClient]]

# Every value is old at once, but may be shown while a newer one is asked for behind it.
OLD_AT_ONCE = CachePolicy(fresh=1e-6, stale=3600.0)
# Every value is too old at once, but may be shown if the API fails.
FOR_OUTAGES = CachePolicy(fresh=1e-6, stale=0.0, stale_if_error=3600.0)
NOTHING_KEPT = CachePolicy(fresh=1e-6, stale=0.0, stale_if_error=0.0, not_found=0.0)


OTHERS = [pytest.param(app, marks=pytest.mark.slow) for app in (litestar_app, aiohttp_app)]


@pytest.fixture(params=[fastapi_app, *OTHERS], ids=lambda module: module.__name__)
def backend(
    request: pytest.FixtureRequest, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    module: ModuleType = request.param
    monkeypatch.setattr(module, "READY_BUCKET", sandbox.bucket_ids[0])
    return module


@asynccontextmanager
async def served_by_uvicorn(app: ASGIApplication) -> AsyncIterator[str]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_config=None))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            while not (server.started or serving.done()):
                await asyncio.sleep(0.001)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def served_by_aiohttp(app: web.Application) -> AsyncIterator[str]:
    # A visitor who leaves cancels the handler, which is not the default.
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def served(backend: ModuleType) -> AbstractAsyncContextManager[str]:
    """Serve a backend in this loop, over a real socket; yield its address."""
    if backend is aiohttp_app:
        return served_by_aiohttp(aiohttp_app.make_app())
    return served_by_uvicorn(backend.app)


@pytest.fixture
def visitor_of(backend: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Visitors:
    """Serve a backend for a token and an API, and yield a visitor to it."""

    @asynccontextmanager
    async def opened(token: str, base_url: str) -> AsyncIterator[httpx.AsyncClient]:
        monkeypatch.setenv("FLASHBACK_TOKEN", token)
        monkeypatch.setenv("FLASHBACK_BASE_URL", base_url)
        async with (
            served(backend) as address,
            httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as visitor,
        ):
            yield visitor

    return opened


@pytest.fixture
def policy(request: pytest.FixtureRequest) -> CachePolicy:
    """The policy of the cache, which a test may set by its parameter."""
    return getattr(request, "param", CachePolicy())


@pytest.fixture
async def visitor(
    sandbox: Sandbox,
    backend: ModuleType,
    visitor_of: Visitors,
    policy: CachePolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setattr(backend, "POLICY", policy)
    async with visitor_of(sandbox.token, sandbox.base_url) as visitor:
        yield visitor


def with_policy(policy: CachePolicy) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("policy", [policy], indirect=True, ids=[""])


def page_of(bucket_id: str) -> str:
    return f"/buckets/{quote(bucket_id, safe='')}"


async def overview(visitor: httpx.AsyncClient, *bucket_ids: str) -> httpx.Response:
    answer = await visitor.get("/overview", params={"bucket_id": bucket_ids})
    assert answer.status_code == 200
    return answer


def states(page: Any) -> list[str]:
    return [node["state"] for node in page["status"]["nodes"]]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


# Pages.


async def test_a_backend_gives_the_status_of_a_bucket_and_its_age(
    sandbox: Sandbox, visitor: httpx.AsyncClient
) -> None:
    bucket_id = sandbox.bucket_ids[0]
    ips = sandbox.node_ips(bucket_id)
    sandbox.set_state(bucket_id, ips[0], "OFFLINE")
    answer = await visitor.get(page_of(bucket_id))
    assert (answer.status_code, answer.headers["Age"]) == (200, "0")
    page = answer.json()
    assert page["status"]["bucket_id"] == bucket_id
    nodes = page["status"]["nodes"]
    assert [(node["ip"], node["state"]) for node in nodes] == [
        (ips[0], "OFFLINE"),
        (ips[1], "ONLINE"),
    ]
    assert datetime.fromisoformat(nodes[0]["last_updated"]).utcoffset() == timedelta(0)
    assert (page["stale"], 0 <= page["age"] < 1) == (False, True)


async def test_a_fresh_status_is_shown_again_without_a_request(
    sandbox: Sandbox, visitor: httpx.AsyncClient
) -> None:
    bucket_id = sandbox.bucket_ids[0]
    first, second = [(await visitor.get(page_of(bucket_id))).json() for _ in range(2)]
    assert second["status"] == first["status"]
    assert second["age"] > first["age"]
    assert sandbox.requests == 1


@with_policy(OLD_AT_ONCE)
async def test_an_old_status_is_shown_at_once_and_a_newer_one_to_the_next(
    sandbox: Sandbox, visitor: httpx.AsyncClient
) -> None:
    bucket_id = sandbox.bucket_ids[0]
    await visitor.get(page_of(bucket_id))
    sandbox.set_state(bucket_id, sandbox.node_ips(bucket_id)[0], "OFFLINE")
    old = (await visitor.get(page_of(bucket_id))).json()
    assert (old["stale"], states(old)) == (True, ["ONLINE", "ONLINE"])
    async with asyncio.timeout(30):
        while states((await visitor.get(page_of(bucket_id))).json())[0] != "OFFLINE":
            await asyncio.sleep(0.001)


async def test_one_page_shows_many_buckets_and_tells_which_failed(
    sandbox: Sandbox,
    backend: ModuleType,
    visitor: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = sandbox.bucket_ids
    await visitor.get(page_of(first))
    sandbox.fail(second, 501)
    answer = await overview(visitor, second, first, "no-such-bucket", sandbox.forbidden_ids[0])
    rows = answer.json()["rows"]
    assert [(row["bucket_id"], row["error"]) for row in rows] == [
        (second, "the Flashback API is not available"),
        (first, None),
        ("no-such-bucket", "there is no such bucket"),
        (sandbox.forbidden_ids[0], "there is no such bucket"),
    ]
    assert states(rows[1]) == ["ONLINE", "ONLINE"]
    assert all(row["status"] is row["age"] is None for row in [rows[0], *rows[2:]])
    assert 0 < answer.json()["oldest"] == rows[1]["age"] < 30
    assert int(answer.headers["Age"]) == int(rows[1]["age"])
    (line,) = (record.getMessage() for record in caplog.records if record.name == backend.__name__)
    assert line.startswith("1 without an answer, the first: ServerError: 501 Not Implemented")


async def test_a_page_is_as_old_as_its_oldest_row(
    sandbox: Sandbox, visitor: httpx.AsyncClient
) -> None:
    for bucket_id in sandbox.bucket_ids:
        await visitor.get(page_of(bucket_id))
    page = (await overview(visitor, *sandbox.bucket_ids)).json()
    first, second = (row["age"] for row in page["rows"])
    assert page["oldest"] == first > second


async def test_a_page_without_a_single_answer_has_no_age(
    sandbox: Sandbox, visitor: httpx.AsyncClient
) -> None:
    sandbox.fail(sandbox.bucket_ids[0], 501)
    answer = await overview(visitor, sandbox.bucket_ids[0])
    assert answer.json()["oldest"] is None
    assert "Age" not in answer.headers


async def test_a_row_that_hangs_holds_up_no_page_for_longer_than_the_deadline(
    sandbox: Sandbox,
    backend: ModuleType,
    visitor: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backend, "DEADLINE", 0.3)
    first, second = sandbox.bucket_ids
    with sandbox.script(Fault.hang().for_bucket(first)):
        rows = (await overview(visitor, first, second)).json()["rows"]
    assert [row["error"] for row in rows] == ["the Flashback API did not answer in time", None]


async def test_fifty_visitors_of_a_bucket_cost_one_request(
    sandbox: Sandbox, visitor: httpx.AsyncClient
) -> None:
    sandbox.latency = 0.1
    url = page_of(sandbox.bucket_ids[0])
    answers = await asyncio.gather(*(visitor.get(url) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({str(answer.json()["status"]) for answer in answers}) == 1
    assert sandbox.requests == 1


@pytest.mark.slow
async def test_the_first_visitor_who_leaves_takes_no_answer_from_the_others(
    sandbox: Sandbox, visitor: httpx.AsyncClient
) -> None:
    sandbox.latency = 2
    url = page_of(sandbox.bucket_ids[0])
    first = asyncio.create_task(visitor.get(url))
    await until(lambda: sandbox.requests == 1)
    others = [asyncio.create_task(visitor.get(url)) for _ in range(49)]
    await asyncio.sleep(1)
    first.cancel()
    answers = await asyncio.gather(first, *others, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    told = [answer.status_code for answer in answers[1:] if isinstance(answer, httpx.Response)]
    assert told == [200] * 49
    assert sandbox.requests == 1


@pytest.mark.slow
async def test_a_busy_backend_asks_for_each_bucket_once_and_outlives_its_api(
    visitor_of: Visitors,
) -> None:
    at_once = asyncio.Semaphore(50)
    async with (
        Sandbox(100, rate_limit=300, latency=0.02) as busy,
        visitor_of(busy.token, busy.base_url) as visitor,
    ):

        async def failed_rows() -> list[str]:
            async def view(number: int) -> list[str]:
                async with at_once:
                    page = random.Random(number).sample(busy.bucket_ids, 20)
                    answer = await overview(visitor, *page)
                    return [row["error"] for row in answer.json()["rows"] if row["error"]]

            return [row for rows in await asyncio.gather(*map(view, range(200))) for row in rows]

        assert await failed_rows() == []
        assert busy.requests <= 100 + 64
        await busy.close()
        assert await failed_rows() == []


# Errors.


async def test_a_bucket_of_others_looks_like_one_that_does_not_exist(
    sandbox: Sandbox, visitor: httpx.AsyncClient
) -> None:
    unknown = await visitor.get(page_of("no-such-bucket"))
    forbidden = await visitor.get(page_of(sandbox.forbidden_ids[0]))
    assert unknown.status_code == 404
    assert (forbidden.status_code, forbidden.text) == (unknown.status_code, unknown.text)


async def test_an_id_that_is_none_is_a_bad_request(
    sandbox: Sandbox, visitor: httpx.AsyncClient
) -> None:
    refused = await visitor.get(page_of(" "))
    assert (refused.status_code, sandbox.requests) == (400, 0)
    sandbox.fail(sandbox.bucket_ids[0], 400)
    assert (await visitor.get(page_of(sandbox.bucket_ids[0]))).status_code == 400


@pytest.mark.parametrize("status", [429, 503])
async def test_a_pause_that_the_api_asks_for_is_handed_on(
    sandbox: Sandbox, visitor: httpx.AsyncClient, status: int
) -> None:
    first, second = sandbox.bucket_ids
    sandbox.fail(first, status, retry_after=50)
    answer = await visitor.get(page_of(first))
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, "50")
    # The pause is for all: nothing more is sent, and the visitor knows how long it lasts.
    answer = await visitor.get(page_of(second))
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 50
    assert sandbox.requests == 1


async def test_an_outage_is_503_for_a_bucket_that_nobody_has_asked_for(
    sandbox: Sandbox, visitor: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.fail(sandbox.bucket_ids[0], 501)
    answer = await visitor.get(page_of(sandbox.bucket_ids[0]))
    assert answer.status_code == 503
    assert "Retry-After" not in answer.headers
    with sandbox.script(Fault.down()):
        assert (await visitor.get(page_of(sandbox.bucket_ids[0]))).status_code == 503
    assert "1 without an answer, the first: ServerError: 501 Not Implemented" in caplog.text
    assert "1 without an answer, the first: ConnectError: no connection" in caplog.text


async def test_a_rejected_token_is_503_and_a_line_in_the_log(
    sandbox: Sandbox,
    backend: ModuleType,
    visitor_of: Visitors,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with visitor_of("old-token", sandbox.base_url) as visitor:
        answer = await visitor.get(page_of(sandbox.bucket_ids[0]))
        assert (await visitor.get("/readyz")).status_code == 503
        assert (await visitor.get("/healthz")).status_code == 200
    assert answer.status_code == 503
    assert "WWW-Authenticate" not in answer.headers
    assert "token" not in answer.text
    lines = [record for record in caplog.records if record.name == backend.__name__]
    assert {line.levelno for line in lines} == {logging.ERROR}
    page, ready = (line.getMessage() for line in lines)
    assert page.startswith("1 without an answer, the first: AuthenticationError: 401")
    assert ready.startswith("not ready: AuthenticationError: 401 Unauthorized")
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
        assert (await visitor.get(page_of(slow.bucket_ids[0]))).status_code == 504


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
        assert (await visitor.get(page_of("b"))).status_code == 502


# Outages, liveness and readiness.


OUTAGES = pytest.mark.parametrize(
    "fault", [pytest.param(Fault.status(503), marks=pytest.mark.slow), Fault.down()], ids=str
)


async def probes(visitor: httpx.AsyncClient) -> tuple[int, int]:
    alive, ready = await visitor.get("/healthz"), await visitor.get("/readyz")
    return alive.status_code, ready.status_code


@OUTAGES
@with_policy(FOR_OUTAGES)
async def test_a_backend_with_old_values_stays_ready_in_an_outage_and_shows_them(
    sandbox: Sandbox, visitor: httpx.AsyncClient, fault: Fault
) -> None:
    first, second = sandbox.bucket_ids
    assert await probes(visitor) == (200, 200)
    before = (await overview(visitor, first, second)).json()
    ages = [before["oldest"]]
    with sandbox.script(fault):
        for _ in range(3):
            assert await probes(visitor) == (200, 200)
            page = (await overview(visitor, first, second)).json()
            assert [row["error"] for row in page["rows"]] == [None, None]
            assert all(row["stale"] for row in page["rows"])
            assert [row["status"] for row in page["rows"]] == [
                row["status"] for row in before["rows"]
            ]
            ages.append(page["oldest"])
            one = await visitor.get(page_of(first))
            assert (one.status_code, one.json()["stale"]) == (200, True)
        assert ages == sorted(set(ages))
    assert await probes(visitor) == (200, 200)


@OUTAGES
@with_policy(NOTHING_KEPT)
async def test_a_backend_with_nothing_to_show_is_alive_but_not_ready_in_an_outage(
    sandbox: Sandbox, visitor: httpx.AsyncClient, fault: Fault
) -> None:
    assert await probes(visitor) == (200, 200)
    with sandbox.script(fault):
        assert await probes(visitor) == (200, 503)
        assert (await visitor.get(page_of(sandbox.bucket_ids[0]))).status_code == 503
    assert await probes(visitor) == (200, 200)


@with_policy(NOTHING_KEPT)
async def test_a_probe_of_an_api_that_hangs_is_answered_within_a_second_or_so(
    sandbox: Sandbox, visitor: httpx.AsyncClient
) -> None:
    began = asyncio.get_running_loop().time()
    with sandbox.script(Fault.hang()):
        assert await probes(visitor) == (200, 503)
    assert asyncio.get_running_loop().time() - began < 4  # and the client's own limit is 5


async def test_probes_cost_the_api_next_to_nothing(
    sandbox: Sandbox, visitor: httpx.AsyncClient
) -> None:
    assert (await visitor.get("/healthz")).status_code == 200
    assert sandbox.requests == 0
    assert [(await visitor.get("/readyz")).status_code for _ in range(5)] == [200] * 5
    assert sandbox.requests == 1


async def test_a_backend_is_ready_although_the_bucket_of_the_probe_is_gone(
    sandbox: Sandbox, visitor: httpx.AsyncClient
) -> None:
    sandbox.remove_bucket(sandbox.bucket_ids[0])
    assert await probes(visitor) == (200, 200)


async def test_a_backend_is_ready_although_the_bucket_of_the_probe_is_not_its_own(
    sandbox: Sandbox,
    backend: ModuleType,
    visitor: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backend, "READY_BUCKET", sandbox.forbidden_ids[0])
    assert await probes(visitor) == (200, 200)


async def test_a_backend_without_a_bucket_for_its_probe_is_not_ready_and_says_why(
    sandbox: Sandbox,
    backend: ModuleType,
    visitor: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(backend, "READY_BUCKET", "")
    assert await probes(visitor) == (200, 503)
    assert "not ready: InvalidArgumentError: " in caplog.text
    assert sandbox.requests == 0


async def test_a_rejected_token_clears_what_was_kept_so_the_backend_is_not_ready(
    sandbox: Sandbox, backend: ModuleType, visitor_of: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "POLICY", FOR_OUTAGES)
    async with visitor_of(sandbox.token, sandbox.base_url) as visitor:
        assert await probes(visitor) == (200, 200)
        sandbox.rotate_token()
        assert await probes(visitor) == (200, 503)


# Shutdown. That nothing is left behind, every test checks.


async def test_a_visitor_whose_request_is_under_way_at_the_end_gets_an_answer(
    sandbox: Sandbox, backend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASHBACK_TOKEN", sandbox.token)
    monkeypatch.setenv("FLASHBACK_BASE_URL", sandbox.base_url)
    sandbox.latency = 0.3
    async with httpx.AsyncClient(trust_env=False) as visitor:
        async with served(backend) as address:
            page = asyncio.create_task(visitor.get(address + page_of(sandbox.bucket_ids[0])))
            await until(lambda: sandbox.requests == 1)
        assert (await page).status_code == 200
        with pytest.raises(httpx.ConnectError):
            await visitor.get(f"{address}/healthz")


@with_policy(OLD_AT_ONCE)
async def test_a_refresh_under_way_does_not_outlive_the_backend(
    sandbox: Sandbox, visitor: httpx.AsyncClient
) -> None:
    await visitor.get(page_of(sandbox.bucket_ids[0]))
    sandbox.latency = 3600.0
    assert (await visitor.get(page_of(sandbox.bucket_ids[0]))).json()["stale"] is True
    await until(lambda: sandbox.requests == 2)


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["-m", "uvicorn", "--app-dir", "examples", "--port", "0", "fastapi_app:app"], {}),
        pytest.param(
            ["-m", "uvicorn", "--app-dir", "examples", "--port", "0", "litestar_app:app"],
            {},
            marks=pytest.mark.slow,
        ),
        pytest.param(["examples/aiohttp_app.py"], {"PORT": "0"}, marks=pytest.mark.slow),
    ],
    ids=["fastapi", "litestar", "aiohttp"],
)
async def test_a_backend_runs_as_its_text_says(
    sandbox: Sandbox, arguments: list[str], settings: dict[str, str]
) -> None:
    settings = {"PYTHONUNBUFFERED": "1", "READY_BUCKET": sandbox.bucket_ids[1], **settings}
    async with started(
        *arguments, token=sandbox.token, base_url=sandbox.base_url, **settings
    ) as process:
        # Each server prints its address to a stream of its own choice.
        told = await first_match(r"[Rr]unning on (http://[\d.:]+)", process.stdout, process.stderr)
        async with httpx.AsyncClient(base_url=told, trust_env=False) as visitor:
            fine = await visitor.get(page_of(sandbox.bucket_ids[0]))
            gone = await visitor.get(page_of("no-such-bucket"))
            assert await probes(visitor) == (200, 200)
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
