"""A token file: read when a client is made, and again when its token is rejected."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
import threading
from pathlib import Path

import pytest

from flashback_async import (
    AuthenticationError,
    ConfigurationError,
    FlashbackClient,
    PermissionDeniedError,
    TokenFile,
    TokenProviderError,
)
from tests.faults.harness import server
from tests.faults.harness.answers import response
from tests.faults.harness.fault import Fault

REJECTED = response(401, {"message": "who is this?"})


@pytest.fixture
def path(fault: Fault, tmp_path: Path) -> Path:
    """Return the path of a file that holds the first token."""
    file = tmp_path / "secret-name"
    file.write_text(f"{fault.token}-1\n")
    return file


def write(fault: Fault, path: Path, number: int) -> None:
    """Rotate the token as the documentation says: by rename."""
    fresh = path.with_suffix(".new")
    fresh.write_text(f"{fault.token}-{number}\n")
    fresh.replace(path)


def accepts(fault: Fault, number: int) -> server.Step:
    """Answer only requests with that token."""

    async def step(conn: server.Conn, request: server.Request) -> None:
        right = request.headers["authorization"] == f"Bearer {fault.token}-{number}"
        await conn.send(server.good_answer(request) if right else REJECTED)

    return step


@pytest.mark.parametrize("source", ["argument", "environment"])
async def test_S07_rotated_file_is_read_again(
    fault: Fault, path: Path, source: str, monkeypatch: pytest.MonkeyPatch
):
    await fault.serve(then=accepts(fault, 1))
    monkeypatch.setenv("FLASHBACK_TOKEN_FILE", str(path))
    client = fault.client(token=TokenFile(path) if source == "argument" else None)
    await fault.result(client.status.get("bucket-1"))
    write(fault, path, 2)
    await fault.result(client.status.get("bucket-1"))  # still accepted, so the file is not read
    fault.server.then = accepts(fault, 2)
    report = await fault.result(client.status.get_many([str(n) for n in range(20)]))
    assert report.ok
    sent = [request.headers["authorization"][-2:] for request in fault.server.requests]
    assert sent.count("-2") == 20
    fault.wire(len(sent))
    fault.retried()


async def test_S07_file_with_the_same_token_lets_the_rejection_stand(fault: Fault, path: Path):
    await fault.serve(then=REJECTED)
    client = fault.client(token=TokenFile(path))
    error = await fault.error(client.status.get("bucket-1"), AuthenticationError, attempts=1)
    assert error.message == "who is this?"
    fault.wire(1)
    report = await fault.result(client.status.get_many(["a", "b", "c"], concurrency=1))
    for outcome, attempts in zip(report, (1, 0, 0), strict=True):
        fault.check(outcome.error, AuthenticationError, attempts=attempts, says=outcome.key)
    fault.wire(2)
    write(fault, path, 2)
    fault.server.then = accepts(fault, 2)
    await fault.result(client.status.get("bucket-1"))
    fault.wire(4)


@pytest.mark.parametrize("content", [None, "", "two tokens"], ids=["missing", "empty", "none"])
async def test_L23_file_cannot_be_read_again(fault: Fault, path: Path, content: str | None):
    await fault.serve(then=accepts(fault, 2))
    client = fault.client(token=TokenFile(path))
    path.unlink()
    if content is not None:
        path.write_text(content)
    says = "the token file cannot be read" if content is None else "the token file holds no token"
    for attempts in (1, 0):
        await fault.error(
            client.status.get("bucket-1"),
            TokenProviderError,
            attempts=attempts,
            says=says,
            never=("secret-name", "two tokens"),
        )
    write(fault, path, 2)
    await fault.result(client.status.get("bucket-1"))  # each call reads anew
    fault.wire(2)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes with a path")
async def test_S07_pipe_is_read_once(fault: Fault):
    await fault.serve(then=REJECTED)
    reader, writer = os.pipe()
    os.write(writer, f"{fault.token}-1\n".encode())
    os.close(writer)
    client = fault.client(token=TokenFile(f"/dev/fd/{reader}"))
    os.close(reader)
    await fault.error(client.status.get("bucket-1"), AuthenticationError, attempts=1)
    fault.wire(1)


async def test_S07_file_is_read_again_in_a_thread(
    fault: Fault, path: Path, monkeypatch: pytest.MonkeyPatch
):
    await fault.serve(then=accepts(fault, 2))
    client = fault.client(token=TokenFile(path))
    write(fault, path, 2)
    threads = []
    opens = os.open

    def recorded(*args: object, **options: object) -> int:
        threads.append(threading.get_ident())
        return opens(*args, **options)

    monkeypatch.setattr(os, "open", recorded)
    await fault.result(client.status.get("bucket-1"))
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
    fault.wire(2)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes with a path")
async def test_L23_pipe_in_the_place_of_the_file_holds_nothing_up(fault: Fault, path: Path):
    await fault.serve(then=accepts(fault, 2))
    client = fault.client(token=TokenFile(path))
    path.unlink()
    os.mkfifo(path)
    for n in range(6):
        await fault.error(
            client.status.get("bucket-1"),
            TokenProviderError,
            attempts=1 if n == 0 else 0,
            says="no regular file any more",
        )
    write(fault, path, 2)
    await fault.result(client.status.get("bucket-1"))
    fault.wire(2)


async def test_S07_rejected_token_stays_hidden_in_later_answers(fault: Fault, path: Path):
    revoked = response(403, {"message": f"the session of {fault.token}-1 was revoked"})

    async def step(conn: server.Conn, request: server.Request) -> None:
        new = request.headers["authorization"].endswith("-2")
        await conn.send(revoked if new else REJECTED)

    await fault.serve(then=step)
    client = fault.client(token=TokenFile(path))
    write(fault, path, 2)
    error = await fault.error(client.status.get("bucket-1"), PermissionDeniedError, attempts=2)
    assert error.message == "the session of *** was revoked"
    fault.recovers = False
    fault.wire(2)


def test_nothing_that_shows_names_the_file(tmp_path: Path):
    file = TokenFile(tmp_path / "secret-name")
    with pytest.raises(ConfigurationError) as caught:
        FlashbackClient(file)
    assert "secret-name" not in f"{file!r} {caught.value}"
    assert pickle.loads(pickle.dumps(file)) == file


async def test_L23_busy_threads_of_the_application_hold_up_neither_file_nor_answer(
    fault: Fault, path: Path
):
    fault.clock.run()
    long = server.good_answer  # decoded in a thread, because it is over 1 MiB
    padding = b" " * 2**20

    async def step(conn: server.Conn, request: server.Request) -> None:
        if not request.headers["authorization"].endswith("-2"):
            await conn.send(REJECTED)
            return
        head, _, body = long(request).partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-l")]
        body += padding
        lines.append(b"Content-Length: %d" % len(body))
        await conn.send(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    await fault.serve(then=step)
    client = fault.client(token=TokenFile(path))
    write(fault, path, 2)
    loop, gate = asyncio.get_running_loop(), threading.Event()
    busy = [loop.run_in_executor(None, gate.wait) for _ in range(64)]
    try:
        await fault.result(client.status.get("bucket-1"))
    finally:
        gate.set()
        await asyncio.gather(*busy)
    fault.wire(2)
