"""The checks of every fault test fail if they should."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

import pytest

from flashback_async import FlashbackError, NotFoundError
from tests import inside
from tests.faults.harness import server
from tests.faults.harness.fault import Fault


def in_the_text(token: str) -> None:
    raise NotFoundError(f"no {token} here", operation="status.get")


def in_an_attribute(token: str) -> None:
    raise NotFoundError("nothing", body=token[5:20])


def in_a_local(token: str) -> None:
    headers = {"Authorization": [f"Bearer {token}"]}
    assert headers
    raise NotFoundError("nothing")


class _Holder:
    def __init__(self, token: str) -> None:
        self.token = token


def in_an_attribute_of_an_attribute(token: str) -> None:
    error = NotFoundError("nothing")
    error.holder = _Holder(token)
    raise error


@pytest.mark.parametrize(
    "leak", [in_the_text, in_an_attribute, in_a_local, in_an_attribute_of_an_attribute]
)
async def test_a_leaked_token_is_found(fault: Fault, leak: Callable[[str], None]):
    def raises() -> FlashbackError:
        try:
            leak("".join(parts))
        except FlashbackError as error:
            return error
        raise AssertionError

    parts = list(fault.token)  # so that the frames of this test do not hold it
    error = raises()
    with pytest.raises(AssertionError, match="the token shows"):
        fault.must_be_safe(error)


async def leak_into_log(fault: Fault):
    logging.getLogger("some.library").debug("sent %r", {"Authorization": fault.token})


async def leave_task(fault: Fault):
    fault.kept = asyncio.create_task(asyncio.sleep(2.0))


async def leave_descriptor(fault: Fault):
    fault.kept = socket.socket()


async def leave_slot(fault: Fault):
    client = fault.client()
    await client.status.get("bucket-1")
    inside.admission(client).active += 1


async def lose_exception(fault: Fault):
    future = asyncio.get_running_loop().create_future()
    future.set_exception(ValueError("lost"))


async def send_one_more(fault: Fault):
    await fault.client().status.get("bucket-1")
    fault.wire(1)
    await fault.clients[0].status.get("bucket-1")


async def say_nothing_of_the_wire(fault: Fault):
    await fault.client().status.get("bucket-1")
    fault.expected_requests = None


async def expect_other_connection(fault: Fault):
    await fault.client().status.get("bucket-1")
    fault.wire(1, after="closed")


async def break_the_script(fault: Fault):
    async def broken(conn: server.Conn, request: server.Request) -> None:
        raise ValueError("in the script")

    fault.server.script = [broken]
    await fault.client().status.get("bucket-1")


@pytest.mark.parametrize(
    ("mistake", "problem"),
    [
        (leak_into_log, "message: sent"),
        (leave_task, "task left"),
        (leave_descriptor, "1 descriptors left"),
        (leave_slot, "1 slots held left"),
        (lose_exception, "never retrieved"),
        (send_one_more, "2 requests in the end, not 1"),
        (say_nothing_of_the_wire, "does not say how many requests"),
        (expect_other_connection, "the connection was reused, not closed"),
        (break_the_script, "the script failed: ValueError"),
    ],
)
async def test_what_is_left_behind_is_found(monkeypatch, mistake: Callable, problem: str):
    monkeypatch.setattr("tests.faults.harness.fault.SETTLE", 0.05)
    fault = Fault()
    with pytest.raises(AssertionError, match=problem):
        async with fault:
            await fault.serve()
            fault.expected_requests = len(fault.server.requests)
            await mistake(fault)
            if fault.expected_requests == 0:
                fault.expected_requests = len(fault.server.requests)
    if kept := getattr(fault, "kept", None):
        kept.cancel() if isinstance(kept, asyncio.Task) else kept.close()
