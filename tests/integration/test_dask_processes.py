"""Clusters of real processes, whose parts are killed. They end with the test that started them."""

import asyncio
import contextlib
import itertools
import logging
import os
import pickle
import signal
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.answers import TOKEN, bucket_id
from benchmarks.processes import server
from flashback_async import AuthenticationError, ClusterLostError, ConnectionLostError
from flashback_async.dask import WorkerSettings, status_on_cluster
from flashback_async.sandbox import Sandbox
from tests.cluster import kill, processes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="signals of POSIX"),
]

BUCKETS = 3_000


@pytest.fixture(autouse=True)
def _quiet():
    """Dask logs what is killed here; the logger belongs to this process."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@pytest.fixture
async def sandbox():
    async with Sandbox(buckets=BUCKETS, latency=0.02) as sandbox:
        yield sandbox


@contextlib.asynccontextmanager
async def cluster_for(sandbox, folder, workers=2, **options):
    environment = {"FLASHBACK_TOKEN": sandbox.token, "FLASHBACK_BASE_URL": sandbox.base_url}
    async with processes(folder, workers, **environment | options) as cluster:
        yield cluster


def complete(outcomes, keys):
    return [(o.index, o.key) for o in sorted(outcomes, key=lambda o: o.index)] == list(
        enumerate(keys)
    )


async def outcomes_of(run, at=None, act=None):
    """Take every outcome, and do something after some of them."""
    taken = []
    async with run:
        async for outcome in run:
            taken.append(outcome)
            if len(taken) == at:
                act()
    return taken


@pytest.mark.parametrize("nanny", [True, False])
async def test_a_killed_worker_loses_nothing_and_repeats_little(sandbox, tmp_path, nanny):
    async with cluster_for(sandbox, tmp_path, nanny=nanny) as cluster:
        pids = await cluster.workers(2)
        run = status_on_cluster(cluster.client, iter(sandbox.bucket_ids), shard_size=100)
        outcomes = await outcomes_of(run, 500, lambda: kill(min(pids.values())))
    assert complete(outcomes, sandbox.bucket_ids)
    assert all(o.ok for o in outcomes)
    assert run.stats.workers_lost == 1
    assert 1 <= run.stats.shards_again <= 2
    assert sandbox.requests <= BUCKETS + 2 * 100


async def test_a_killed_nanny_loses_nothing_and_a_late_worker_takes_part(sandbox, tmp_path):
    async with cluster_for(sandbox, tmp_path) as cluster:
        pids = await cluster.workers(2)
        worker = psutil.Process(min(pids.values()))
        nanny = worker.parent()
        started = []

        def act():
            kill(nanny.pid)
            kill(worker.pid)
            started.append(asyncio.ensure_future(cluster.start_worker()))

        run = status_on_cluster(cluster.client, iter(sandbox.bucket_ids * 4), shard_size=50)
        outcomes = await outcomes_of(run, 300, act)
        await started[0]
    assert complete(outcomes, sandbox.bucket_ids * 4)
    assert all(o.ok for o in outcomes)
    assert run.stats.workers == 2
    assert run.stats.workers_lost == 1


async def test_what_a_lost_scheduler_left_is_done_by_a_second_run(sandbox, tmp_path):
    (tmp_path / "other").mkdir()
    source = iter(sandbox.bucket_ids)
    async with cluster_for(sandbox, tmp_path) as cluster:
        first, killed = [], None
        async with status_on_cluster(cluster.client, source, shard_size=100) as run:
            with pytest.raises(ClusterLostError) as caught:
                async for outcome in run:
                    first.append(outcome)
                    if len(first) == 500:
                        killed = kill(cluster._started[0].pid)
        assert time.monotonic() - killed < 31
        error = caught.value
    copied = list(pickle.loads(pickle.dumps(error)).unfinished)
    assert 0 < len(copied) <= 4 * 100
    places = []

    def keys():
        for place, key in error.unfinished:
            places.append(place)
            yield key

    async with cluster_for(sandbox, tmp_path / "other") as cluster:
        second = await outcomes_of(status_on_cluster(cluster.client, keys()))
    assert places[: len(copied)] == [place for place, _ in copied]
    found = {o.index: o.key for o in first} | {places[o.index]: o.key for o in second}
    assert len(first) + len(second) == BUCKETS
    assert found == dict(enumerate(sandbox.bucket_ids))


async def test_a_scheduler_that_hangs_is_lost_too(sandbox, tmp_path, monkeypatch):
    # Long enough for a scheduler that shares a busy machine.
    monkeypatch.setattr("flashback_async.dask.link.parse_timedelta", lambda _: 3.0)
    async with cluster_for(sandbox, tmp_path) as cluster:
        began = None
        async with status_on_cluster(cluster.client, iter(sandbox.bucket_ids)) as run:
            await anext(run)
            scheduler = cluster._started[0]
            os.kill(scheduler.pid, signal.SIGSTOP)
            began = time.monotonic()
            with pytest.raises(ClusterLostError):
                async for _ in run:
                    pass
            assert time.monotonic() - began < 5
        assert time.monotonic() - began < 10
        os.kill(scheduler.pid, signal.SIGCONT)


KILLER = """
import asyncio, os, signal
from flashback_async.dask import worker

original = worker.ClientThread._poll

async def poll(self, order):
    if POISON in order.keys:
        with open(DEATHS, "a") as deaths:
            deaths.write("x")
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
    return await original(self, order)

worker.ClientThread._poll = poll

async def get():
    return os.environ["FLASHBACK_TOKEN"]
"""


async def test_a_shard_that_brings_down_four_workers_is_given_up_and_no_other(sandbox, tmp_path):
    ids, deaths = sandbox.bucket_ids[:1_000], tmp_path / "deaths"
    text = KILLER.replace("POISON", repr(ids[150])).replace("DEATHS", repr(str(deaths)))
    (tmp_path / "killer_of_a_test.py").write_text(text)
    async with cluster_for(sandbox, tmp_path, PYTHONPATH=str(tmp_path)) as cluster:
        settings = WorkerSettings(token_from="killer_of_a_test:get")
        run = status_on_cluster(cluster.client, iter(ids), settings, shard_size=100)
        outcomes = await outcomes_of(run)
    assert complete(outcomes, ids)
    failed = [o for o in outcomes if not o.ok]
    assert {o.index for o in failed} == set(range(100, 200))
    assert {type(o.error) for o in failed} == {ConnectionLostError}
    assert all("4 workers ended" in note for o in failed for note in o.error.__notes__)
    assert deaths.read_text() == "xxxx"
    assert run.stats.workers_lost == 4


async def test_a_rejected_token_on_the_workers_ends_the_run(sandbox, tmp_path):
    async with cluster_for(sandbox, tmp_path, FLASHBACK_TOKEN="wrong") as cluster:
        outcomes = await outcomes_of(status_on_cluster(cluster.client, iter(sandbox.bucket_ids)))
    assert complete(outcomes, sandbox.bucket_ids)
    assert {type(o.error) for o in outcomes} == {AuthenticationError}
    assert sandbox.requests <= 4 * 64


async def test_leaving_early_ends_shards_and_threads_on_the_workers(sandbox, tmp_path):
    def names():
        import threading

        return [t.name for t in threading.enumerate() if t.name.startswith("flashback-")]

    async with cluster_for(sandbox, tmp_path) as cluster:
        for n in range(3):
            async with status_on_cluster(cluster.client, itertools.cycle(sandbox.bucket_ids)) as r:
                async for _ in r:
                    assert {len(f) for f in (await cluster.client.run(names)).values()} == {1}
                    break
                began = time.monotonic()
            assert time.monotonic() - began < 5
            asked = sandbox.requests
            assert list((await cluster.client.run(names)).values()) == [[], []], n
            await asyncio.sleep(0.2)
            assert sandbox.requests == asked


async def test_the_rate_holds_in_any_ten_seconds_though_a_worker_is_killed(tmp_path):
    rate, moments = 100, []
    async with Sandbox(buckets=50) as sandbox, cluster_for(sandbox, tmp_path) as cluster:
        pids = await cluster.workers(2)
        began = time.monotonic()
        killed = None
        ids = itertools.cycle(sandbox.bucket_ids)
        async with status_on_cluster(cluster.client, ids, rate=rate) as run:
            while time.monotonic() - began < 14:
                await anext(run)
                moments.append((time.monotonic(), sandbox.requests))
                if killed is None and time.monotonic() - began > 5:
                    killed = kill(min(pids.values()))
        for start, before in moments[::20]:
            within = [asked - before for at, asked in moments if start <= at < start + 10]
            assert within[-1] <= 10 * rate * 1.5
        # The share of the lost worker soon went back.
        asked = sum(killed + 1 <= request.at < killed + 3 for request in sandbox.log)
        assert asked > 0.75 * 2 * rate
        assert run.stats.workers_lost == 1


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="reads memory as Linux shows it")
async def test_the_token_is_nowhere_in_the_scheduler_or_the_logs(tmp_path):
    async with Sandbox(buckets=500, latency=0.02) as sandbox:
        canary = sandbox.rotate_token()
        async with cluster_for(sandbox, tmp_path) as cluster:
            scheduler = cluster._started[0].pid
            async with status_on_cluster(cluster.client, sandbox.bucket_ids, shard_size=50) as run:
                assert (await anext(run)).ok
                during = memory_of(scheduler)
                assert all([outcome.ok async for outcome in run])
            found = [b"WorkerSettings" in during, canary.encode() in during]
            assert found == [True, False]
            assert canary.encode() not in memory_of(scheduler)
        assert canary not in cluster.logs()


def memory_of(pid):
    """Return what a process of this user holds in memory that can be written."""
    found = b""
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as mem:
        for line in maps:
            span, access = line.split()[:2]
            if access.startswith("rw"):
                start, end = (int(part, 16) for part in span.split("-"))
                with contextlib.suppress(OSError, ValueError):
                    mem.seek(start)
                    found += mem.read(end - start)
    return found


async def test_memory_does_not_grow_with_the_input(tmp_path):
    with server("benchmarks.server") as running:
        environment = {
            "FLASHBACK_TOKEN": TOKEN,
            "FLASHBACK_BASE_URL": f"http://127.0.0.1:{running.told['3']}",
        }
        async with processes(tmp_path, 2, **environment) as cluster:
            scheduler = psutil.Process(cluster._started[0].pid)
            ids = map(bucket_id, range(10_000_000))
            async with status_on_cluster(cluster.client, ids) as run:
                number = 0
                async for _ in run:
                    number += 1
                    if number == 10_000:
                        before = psutil.Process().memory_info().rss, scheduler.memory_info().rss
                    if number == 60_000:
                        after = psutil.Process().memory_info().rss, scheduler.memory_info().rss
                        break
    assert after[0] - before[0] < 20e6
    assert after[1] - before[1] < 40e6
