"""What an observer is told over real sockets, against the log lines of the same calls."""

import asyncio
import logging
import socket
from contextlib import suppress

import pytest

from flashback_async import (
    AttemptEnded,
    CallEnded,
    FlashbackClient,
    FlashbackError,
    PauseBegan,
    RetryPolicy,
    Timeout,
)
from flashback_async.sandbox import Fault, Sandbox
from flashback_async.testing import skip_waits
from tests.unit.call.test_observer import Witness, from_facts, from_log


@pytest.fixture
async def sandbox():
    async with Sandbox(buckets=12, seed=7) as running:
        yield running


async def observed(caplog, token, base_url, use, **options):
    """Return the witness of what a function does with a client, once the log says the same."""
    caplog.set_level(logging.DEBUG, "flashback_async")
    witness = Witness()
    retry = RetryPolicy(backoff_base=0.0)
    client = FlashbackClient(token, base_url=base_url, observer=witness, retry=retry, **options)
    async with client:
        with suppress(FlashbackError, asyncio.CancelledError):
            await use(client)
        assert client.snapshot().requests == len(witness.of(AttemptEnded))
    records = [record for record in caplog.records if record.name == "flashback_async"]
    assert from_log(records) == from_facts(witness.told)
    return witness


SCRIPTS = {
    "success": ([], [(1, 200, None)]),
    "503": ([Fault.status(503).first(1)], [(1, 503, "ServerError"), (2, 200, None)]),
    "429": (
        [Fault.status(429, retry_after=0.1).first(1)],
        [(1, 429, "RateLimitError"), (2, 200, None)],
    ),
    "hang": ([Fault.hang().first(1)], [(1, None, "RequestTimeoutError"), (2, 200, None)]),
    "reset": ([Fault.reset().first(1)], [(1, None, "ConnectionLostError"), (2, 200, None)]),
}


@pytest.mark.parametrize("name", SCRIPTS)
async def test_each_attempt_is_told_as_it_ended(name, sandbox, caplog):
    script, attempts = SCRIPTS[name]
    with skip_waits(), sandbox.script(*script):
        witness = await observed(
            caplog,
            sandbox.token,
            sandbox.base_url,
            lambda client: client.status.get(sandbox.bucket_ids[0]),
            timeout=Timeout(attempt=0.1 if name == "hang" else 10.0),
        )
    assert witness.attempts == attempts
    assert witness.calls == [(len(attempts), None)]
    assert len(witness.of(PauseBegan)) == (name == "429")


async def test_a_refused_connection_is_an_attempt(caplog):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        witness = await observed(caplog, "t", base_url, lambda client: client.status.get("b"))
    assert witness.attempts == [(n, None, "ConnectError") for n in (1, 2, 3)]
    assert witness.calls == [(3, "ConnectError")]


async def test_a_cancelled_call_is_told(sandbox, caplog):
    async def use(client):
        task = asyncio.create_task(client.status.get(sandbox.bucket_ids[0]))
        while not sandbox.requests:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    with sandbox.script(Fault.hang()):
        witness = await observed(caplog, sandbox.token, sandbox.base_url, use)
    assert witness.attempts == [(1, None, "CancelledError")]
    assert witness.calls == [(1, "CancelledError")]


async def test_a_token_that_is_renewed_is_told(sandbox, caplog):
    tokens = iter(["old-token", sandbox.token])

    async def provider():
        return next(tokens)

    witness = await observed(
        caplog,
        provider,
        sandbox.base_url,
        lambda client: client.status.get(sandbox.bucket_ids[0]),
    )
    assert witness.attempts == [(1, 401, "AuthenticationError"), (2, 200, None)]
    assert sandbox.token not in repr(witness.told)


async def test_runs_and_lists_are_told(sandbox, caplog):
    async def use(client):
        await client.status.get_many(sandbox.bucket_ids)
        async for _ in client.status.iter_many(sandbox.bucket_ids):
            pass
        await client.bucket_stats.list()
        await client.bucket_stats.get_many(sandbox.bucket_ids)

    witness = await observed(caplog, sandbox.token, sandbox.base_url, use)
    operations = [fact.operation for fact in witness.of(CallEnded)]
    assert operations == ["status.get"] * 24 + ["bucket_stats.list"] * 2
    assert all(fact.error is None for fact in witness.told)
