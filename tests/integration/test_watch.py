"""Watches over real sockets: what the server receives, and what is left after a kill."""

import asyncio
import json
import sys
import time
from collections import Counter

import pytest

from flashback_async import FlashbackClient, Limits, RetryPolicy, Timeout
from flashback_async.sandbox import Fault, Sandbox
from flashback_async.testing import skip_waits

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


def client_of(sandbox, **options):
    return FlashbackClient(sandbox.token, base_url=sandbox.base_url, **options)


class Received:
    """The status requests that a sandbox has received, by the seconds of the real clock."""

    def __init__(self, sandbox):
        self._sandbox = sandbox

    @property
    def all(self):
        return [
            (seen.bucket_id, seen.at) for seen in self._sandbox.log if seen.path.endswith("/status")
        ]

    def count(self):
        return len(self.all)

    def steps(self, length=0.1):
        """Return how many arrived in each tenth of a second."""
        return Counter(int(at / length) for _, at in self.all)


@pytest.mark.slow
async def test_requests_arrive_evenly():
    async with Sandbox(buckets=100, nodes=1, healthy=True) as sandbox, client_of(sandbox) as client:
        received = Received(sandbox)
        async with client.status.watch(interval=1.0) as watch:
            await watch.ready()
            await asyncio.sleep(2)
        # A tenth of a second has a share of 10, and may have twice that when catching up.
        # Two steps of a busy machine may fall into one tenth of the clock.
        assert received.count() >= 100
        assert max(received.steps().values()) <= 40
        assert len(received.steps()) >= 10


@pytest.mark.slow
async def test_after_a_pause_of_the_server_there_is_no_burst():
    limits = Limits(max_concurrency=10)
    async with (
        Sandbox(buckets=50, nodes=1, healthy=True) as sandbox,
        client_of(sandbox, limits=limits) as client,
    ):
        received = Received(sandbox)
        async with client.status.watch(interval=1.0) as watch:
            await watch.ready()
            with sandbox.script(Fault.status(429, retry_after=2).first(1)):
                await asyncio.sleep(1.0)
                before, began = received.count(), time.monotonic()
                await asyncio.sleep(1.5)
                # Those that waited, and twice the share of the seconds since.
                most = 10 + 2 * 50 * (time.monotonic() - began - 0.9)
                assert received.count() - before <= most
            assert watch.stats.shifted > 0.5
            assert watch.stats.failed == 0


@pytest.mark.slow
async def test_in_an_outage_few_requests_are_sent_and_afterwards_all_of_them():
    timeout = Timeout(total=1.0, attempt=0.5, connect=0.5)
    async with (
        Sandbox(buckets=100, nodes=1, healthy=True) as sandbox,
        client_of(sandbox, timeout=timeout, retry=RetryPolicy.none()) as client,
    ):
        received = Received(sandbox)
        async with client.status.watch(interval=1.0) as watch:
            await watch.ready()
            with sandbox.script(Fault.status(503)):
                while watch.stats.failed < 100:
                    await asyncio.sleep(0.05)
                before, began = received.count(), time.monotonic()
                await asyncio.sleep(2.5)
                assert received.count() - before <= time.monotonic() - began + 1.5
                assert len([v for v in watch.view.values() if v.error is not None]) >= 90
            while any(view.error for view in watch.view.values()):
                await asyncio.sleep(0.05)
            assert watch.stats.buckets == 100


async def test_skip_waits_moves_the_steps_of_a_watch():
    began = time.monotonic()
    with skip_waits():
        async with Sandbox(buckets=3, nodes=1, healthy=True) as sandbox:
            bucket_id = sandbox.bucket_ids[0]
            (ip,) = sandbox.node_ips(bucket_id)
            async with client_of(sandbox) as client:
                async with client.status.watch(interval=3600) as watch:
                    await watch.ready()
                    sandbox.set_state(bucket_id, ip, "OFFLINE")
                    async for change in watch:
                        if change.kind == "STATE":
                            break
                assert (change.bucket_id, change.after) == (bucket_id, "OFFLINE")
                sandbox.set_state(bucket_id, ip, "ONLINE")
                status = await client.status.wait_until(
                    bucket_id, lambda s: s.nodes[0].state == "ONLINE", timeout=1e6, interval=1e5
                )
                assert status.bucket_id == bucket_id
    assert time.monotonic() - began < 60  # and not hours


# A consumer that writes down what it is given, and is killed while it handles the last of them.
# It begins to count when what an earlier one handled last has come again. Before the last one it
# waits until the file should know what was done, so that little of it comes again.
WATCHER = """
import asyncio, sys
from flashback_async import FlashbackClient, to_json

async def main(url, token, state, count, again):
    left = int(count)
    async with FlashbackClient(token, base_url=url) as client:
        options = dict(interval=0.2, fall=1, rise=1, refresh=0.5, state=state)
        async with client.status.watch(**options) as watch:
            async for change in watch:
                text = to_json(change)
                print(text, flush=True)
                if again:
                    again = "" if text == again else again
                    continue
                left -= 1
                await asyncio.sleep({1: 1.5, 0: 3600}.get(left, 0.05))

asyncio.run(main(*sys.argv[1:]))
"""


async def _lines_until_killed(sandbox, state, count, again, churn):
    """Run the consumer until it was given so many changes after ``again``; return its lines."""
    access = sandbox.base_url, sandbox.token
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WATCHER, *access, str(state), str(count), again.decode()),
        stdout=asyncio.subprocess.PIPE,
    )
    lines = []

    def are_enough():
        if not again:
            return len(lines) >= count
        return again in lines and len(lines) - lines.index(again) > count

    async def read():
        while (line := await process.stdout.readline()).endswith(b"\n"):
            lines.append(line[:-1])

    reading = asyncio.create_task(read())
    try:
        async with asyncio.timeout(60):
            while not are_enough():
                churn()
                await asyncio.sleep(0.1)
    finally:
        process.kill()
        await reading
        await process.wait()
    return lines


@posix
@pytest.mark.slow
async def test_over_kills_the_changes_of_each_node_are_a_chain(tmp_path):
    async with Sandbox(buckets=4, nodes=2, healthy=True) as sandbox:
        turns = iter(range(10**9))
        states = ("OFFLINE", "ONLINE", "DISCONNECTED")

        def churn():
            turn = next(turns)
            bucket_id = sandbox.bucket_ids[turn % 4]
            sandbox.set_state(bucket_id, sandbox.node_ips(bucket_id)[turn % 2], states[turn % 3])

        told = {}
        given = []
        last = b""
        for kill in range(10):
            count = 2 + kill % 3 if kill else 8
            # What was handed out and not done comes again, or else the time is up.
            lines = await _lines_until_killed(sandbox, tmp_path / "state", count, last, churn)
            last = lines[-1]
            for change in map(json.loads, lines):
                subject = change["bucket_id"], change["ip"]
                if change in given:
                    continue
                assert change["before"] == told.get(subject)
                told[subject] = change["after"]
                given.append(change)
        assert [change["kind"] for change in given].count("APPEARED") == 8
