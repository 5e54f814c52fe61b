"""Runs over a Dask cluster in this process, against a sandbox over sockets."""

import asyncio
import contextlib
import io
import logging
import pickle
import sys
import threading
import time
from datetime import date
from types import ModuleType

import pytest

import flashback_async
from flashback_async import (
    AuthenticationError,
    BucketDay,
    ClusterLostError,
    ConfigurationError,
    DeadlineExceededError,
    FlashbackClient,
    InvalidArgumentError,
    Limits,
    NotFoundError,
    RetryPolicy,
)
from flashback_async.dask import ClusterStats, WorkerSettings, node_stats_on_cluster
from flashback_async.dask import status_on_cluster as on_cluster
from flashback_async.dask.worker import ClientThread
from flashback_async.sandbox import Fault, Sandbox
from tests import cluster as clusters
from tests.faults.harness.secrecy import find


@pytest.fixture
async def sandbox(monkeypatch):
    async with Sandbox(buckets=60) as sandbox:
        monkeypatch.setenv("FLASHBACK_TOKEN", sandbox.token)
        monkeypatch.setenv("FLASHBACK_BASE_URL", sandbox.base_url)
        yield sandbox


@pytest.fixture
async def cluster():
    async with clusters.local() as client:
        yield client


def polling_threads():
    return [t for t in threading.enumerate() if t.name.startswith("flashback-polls")]


async def outcomes_of(run):
    async with run:
        return [outcome async for outcome in run]


def complete(outcomes, keys):
    return [o.key for o in sorted(outcomes, key=lambda o: o.index)] == list(keys) and sorted(
        o.index for o in outcomes
    ) == list(range(len(outcomes)))


async def test_each_place_has_one_outcome_that_equals_that_of_one_process(sandbox, cluster):
    ids = [*sandbox.bucket_ids, sandbox.bucket_ids[0], "no-such", "bad/id", 5, None, [1]]
    run = on_cluster(cluster, ids, shard_size=7)
    outcomes = await outcomes_of(run)
    assert complete(outcomes, ids)
    assert run.stats == ClusterStats(66, 5, 0, 0, 2)
    async with FlashbackClient() as client:
        alone = {o.index: o for o in await client.status.get_many(ids)}
    for outcome in outcomes:
        other = alone[outcome.index]
        assert type(outcome) is type(other)
        assert type(outcome.error) is type(other.error)
        if outcome.error is None:
            assert outcome.value.bucket_id == other.value.bucket_id
            assert len(outcome.value.nodes) == len(other.value.nodes)
        else:
            assert outcome.error.args == other.error.args or outcome.error.attempts
            assert outcome.error.bucket_id == other.error.bucket_id
    assert isinstance(next(o for o in outcomes if o.key == "no-such").error, NotFoundError)


async def test_inputs_of_any_length_and_kind_end(sandbox, cluster):
    async def source(ids):
        for bucket_id in ids:
            yield bucket_id

    for count in (0, 1, 7, 8):
        ids = sandbox.bucket_ids[:count]
        for given in (ids, iter(ids), source(ids), tuple(ids)):
            assert complete(await outcomes_of(on_cluster(cluster, given, shard_size=4)), ids)


async def test_pairs_of_buckets_and_days_are_polled(sandbox, cluster):
    ids, days = sandbox.bucket_ids[:5], ["2025-01-01", date(2025, 1, 2)]
    pairs = [BucketDay(bucket_id, date(2025, 1, day)) for bucket_id in ids for day in (1, 2)]
    outcomes = await outcomes_of(node_stats_on_cluster(cluster, ids, days, shard_size=3))
    assert complete(outcomes, pairs)
    assert all(o.unwrap()[0].host for o in outcomes)
    assert complete(await outcomes_of(node_stats_on_cluster(cluster, iter(pairs))), pairs)


async def test_an_input_that_raises_ends_the_run_after_what_it_gave(sandbox, cluster):
    def source():
        yield from sandbox.bucket_ids[:10]
        raise LookupError("no more")

    got = []
    async with on_cluster(cluster, source(), shard_size=4) as run:
        with pytest.raises(LookupError, match="no more"):
            async for outcome in run:
                got.append(outcome)
    assert complete(got, sandbox.bucket_ids[:10])


async def test_one_client_a_worker_polls_in_its_own_thread(sandbox, cluster):
    async with on_cluster(cluster, sandbox.bucket_ids, shard_size=5) as run:
        assert len(polling_threads()) == 2
        async for _ in run:
            assert len(polling_threads()) == 2
    assert polling_threads() == []


@pytest.mark.parametrize("how", ["break", "error", "cancel", "unused"])
async def test_leaving_early_leaves_nothing_running(sandbox, cluster, how):
    sandbox_requests = []
    for bucket_id in sandbox.bucket_ids[1:]:
        sandbox.fail(bucket_id, status=503, times=1000)
    settings = WorkerSettings(retry=RetryPolicy(max_attempts=1000, backoff_base=5))

    async def use():
        async with on_cluster(cluster, sandbox.bucket_ids, settings, shard_size=1) as run:
            if how == "unused":
                return
            async for _ in run:
                if how == "break":
                    break
                if how == "error":
                    raise LookupError
                asyncio.current_task().cancel()

    began = time.monotonic()
    with contextlib.suppress(LookupError, asyncio.CancelledError):
        await asyncio.create_task(use())
    assert time.monotonic() - began < 5
    assert polling_threads() == []
    sandbox_requests.append(sandbox.requests)
    await asyncio.sleep(0.1)
    sandbox_requests.append(sandbox.requests)
    assert sandbox_requests[0] == sandbox_requests[1]
    # The next run is not held up by what the last one left.
    async with on_cluster(cluster, sandbox.bucket_ids[:1]) as run:
        assert [o.ok async for o in run] == [True]


async def test_a_cancelled_wait_ends_the_run(sandbox, cluster):
    for bucket_id in sandbox.bucket_ids:
        sandbox.fail(bucket_id, status=503, times=1000)
    settings = WorkerSettings(retry=RetryPolicy(max_attempts=1000, backoff_base=5))
    waiting = asyncio.create_task(outcomes_of(on_cluster(cluster, sandbox.bucket_ids, settings)))
    await asyncio.sleep(0.2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, 5)
    assert polling_threads() == []


async def test_a_rejected_token_ends_the_run(sandbox, cluster, monkeypatch):
    monkeypatch.setenv("FLASHBACK_TOKEN", "wrong")
    outcomes = await outcomes_of(on_cluster(cluster, sandbox.bucket_ids, shard_size=3))
    assert complete(outcomes, sandbox.bucket_ids)
    assert {type(o.error) for o in outcomes} == {AuthenticationError}
    unsent = [o for o in outcomes if not o.error.attempts]
    assert len(unsent) == len(sandbox.bucket_ids) - sandbox.requests
    assert sandbox.requests <= 12  # the shards that were out
    assert {o.error.bucket_id for o in outcomes} == set(sandbox.bucket_ids)


@pytest.mark.slow
async def test_a_deadline_fails_what_is_left(sandbox, cluster):
    for bucket_id in sandbox.bucket_ids[5:]:
        sandbox.fail(bucket_id, status=503, times=1000)
    settings = WorkerSettings(retry=RetryPolicy(max_attempts=1000, backoff_base=5))
    began = time.monotonic()
    run = on_cluster(cluster, iter(sandbox.bucket_ids), settings, shard_size=8, deadline=2.0)
    outcomes = await outcomes_of(run)
    assert time.monotonic() - began < 5
    assert complete(outcomes, sandbox.bucket_ids)
    assert {o.index for o in outcomes if o.ok} == {0, 1, 2, 3, 4}
    assert {type(o.error) for o in outcomes if not o.ok} == {DeadlineExceededError}


@pytest.mark.slow
async def test_a_deadline_ends_a_paced_run_too(sandbox, cluster):
    run = on_cluster(cluster, iter(sandbox.bucket_ids), rate=5, deadline=3)
    outcomes = await outcomes_of(run)
    assert complete(outcomes, sandbox.bucket_ids)
    assert 5 <= sum(o.ok for o in outcomes) <= 20
    assert {type(o.error) for o in outcomes if not o.ok} == {DeadlineExceededError}


async def test_the_rate_holds_for_the_whole_cluster(sandbox, cluster):
    began = time.monotonic()
    outcomes = await outcomes_of(on_cluster(cluster, sandbox.bucket_ids[:40], rate=40))
    assert complete(outcomes, sandbox.bucket_ids[:40])
    assert time.monotonic() - began >= 0.9


@pytest.mark.slow
async def test_the_share_of_a_lost_worker_goes_to_a_busy_one_at_once(cluster, sandbox, monkeypatch):
    ids, orders, original = sandbox.bucket_ids[:30], [], ClientThread._poll

    async def poll(self, order):
        orders.append((len(order.keys), order.share))
        return await original(self, order)

    monkeypatch.setattr(ClientThread, "_poll", poll)
    async with on_cluster(cluster, ids, rate=20, shard_size=4) as run:
        outcomes = [await anext(run)]
        await cluster.cluster.workers[0].close()
        outcomes += [outcome async for outcome in run]
    assert complete(outcomes, ids)
    assert run.stats.workers_lost == 1
    assert (0, 20.0) in orders
    before, after = orders[: orders.index((0, 20.0))], orders[orders.index((0, 20.0)) :]
    assert {share for _, share in before} == {10.0}
    assert {share for _, share in after} == {20.0}


@pytest.mark.slow
async def test_a_worker_that_comes_late_takes_part(sandbox, monkeypatch):
    settings = WorkerSettings(limits=Limits(max_concurrency=1))
    async with clusters.local(workers=1) as client:
        async with on_cluster(client, iter(sandbox.bucket_ids), settings, shard_size=1) as run:
            outcomes = [await anext(run)]
            client.cluster.scale(2)
            async for outcome in run:
                outcomes.append(outcome)
                await asyncio.sleep(0.03 if run.stats.workers == 1 else 0)
        assert run.stats.workers == 2
        assert complete(outcomes, sandbox.bucket_ids)
    assert polling_threads() == []


async def test_without_workers_the_patience_ends(sandbox):
    async with clusters.local(workers=0) as client:
        async with on_cluster(client, iter(sandbox.bucket_ids), patience=0.3) as run:
            with pytest.raises(ClusterLostError, match=r"no worker for 0\.3 s") as caught:
                await anext(run)
        assert list(caught.value.unfinished) == list(enumerate(sandbox.bucket_ids))
        assert ClusterLostError is flashback_async.dask.ClusterLostError


async def test_an_empty_run_needs_no_worker(sandbox):
    async with clusters.local(workers=0) as client:
        assert await outcomes_of(on_cluster(client, [])) == []


@pytest.fixture
def provider(monkeypatch):
    module = ModuleType("tokens_of_a_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


async def test_a_function_of_the_workers_gives_the_token(sandbox, cluster, provider, monkeypatch):
    monkeypatch.delenv("FLASHBACK_TOKEN")

    async def get():
        return sandbox.token

    provider.get = get
    settings = WorkerSettings(token_from="tokens_of_a_test:get")
    outcomes = await outcomes_of(on_cluster(cluster, sandbox.bucket_ids, settings))
    assert all(o.ok for o in outcomes)


@pytest.mark.parametrize(
    ("token_from", "problem"),
    [
        ("no_such_module_at_all:get", "cannot be imported on a worker: ModuleNotFoundError"),
        ("tokens_of_a_test:missing", "cannot be imported on a worker: AttributeError"),
        ("tokens_of_a_test:text", "must name an async function, not a value of type str"),
        ("tokens_of_a_test:plain", "must name an async function, not a value of type function"),
        (None, "no token"),
    ],
)
async def test_errors_of_the_set_up_come_out_of_entering(
    cluster, provider, monkeypatch, token_from, problem
):
    monkeypatch.delenv("FLASHBACK_TOKEN", raising=False)
    provider.text, provider.plain = "x", lambda: "x"
    run = on_cluster(cluster, ["a"], WorkerSettings(token_from=token_from))
    with pytest.raises(ConfigurationError, match=problem):
        async with run:
            pytest.fail("it was entered")
    assert polling_threads() == []


async def test_another_version_on_a_worker_is_refused_and_both_are_named(
    sandbox, cluster, monkeypatch
):
    ours, run = flashback_async.__version__, on_cluster(cluster, ["a"])
    made = flashback_async.dask.link.Polls

    def older(settings):
        plugin = made(settings)
        plugin._version = "0.0.7"
        return plugin

    monkeypatch.setattr(flashback_async.dask.link, "Polls", older)
    with pytest.raises(ConfigurationError) as caught:
        await outcomes_of(run)
    assert "0.0.7" in str(caught.value)
    assert ours in str(caught.value)


async def test_a_scheduler_without_the_package_is_refused(sandbox, cluster, monkeypatch):
    def deserialize(*_):
        raise ModuleNotFoundError("No module named 'flashback_async'")

    monkeypatch.setattr("distributed.scheduler.deserialize", deserialize)
    with pytest.raises(ConfigurationError, match="the scheduler cannot load flashback_async"):
        await outcomes_of(on_cluster(cluster, sandbox.bucket_ids))
    assert polling_threads() == []


async def test_an_input_is_read_as_far_as_the_workers_need_it(sandbox, cluster):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield sandbox.bucket_ids[taken % 60]

    ahead, workers, size = 2, 2, 10
    got = 0
    async with on_cluster(cluster, endless(), shard_size=size, ahead=ahead) as run:
        async for _ in run:
            got += 1
            assert taken - got <= (ahead * workers + 1) * size
            if got == 500:
                break


async def test_a_wrong_argument_is_refused_at_the_call(cluster):
    wrong = [
        ({"shard_size": 0}, "shard_size must be a whole number"),
        ({"shard_size": 1.5}, "shard_size must be a whole number"),
        ({"ahead": 0}, "ahead must be a whole number"),
        ({"ahead": True}, "ahead must be a whole number"),
        ({"rate": 0}, "rate must be a number"),
        ({"rate": float("nan")}, "rate must be a number"),
        ({"deadline": -1}, "deadline must be finite seconds"),
        ({"deadline": float("inf")}, "deadline must be finite seconds"),
        ({"patience": 0}, "patience must be seconds"),
        ({"patience": "x"}, "patience must be seconds"),
    ]
    for options, problem in wrong:
        with pytest.raises(InvalidArgumentError, match=problem):
            on_cluster(cluster, ["a"], **options)


async def test_a_wrong_cluster_input_or_settings_is_refused_at_the_call(cluster):
    with pytest.raises(InvalidArgumentError, match="bucket_ids must be an iterable"):
        on_cluster(cluster, "abc")
    with pytest.raises(InvalidArgumentError, match="bucket_ids must be an iterable"):
        on_cluster(cluster, 5)
    with pytest.raises(InvalidArgumentError, match=r"cluster must be a distributed\.Client"):
        on_cluster("tcp://127.0.0.1:1", ["a"])
    with pytest.raises(ConfigurationError, match="settings must be a WorkerSettings, not str"):
        on_cluster(cluster, ["a"], "a-token")


async def test_a_run_is_entered_once_and_before_it_is_iterated_over(sandbox, cluster):
    run = on_cluster(cluster, sandbox.bucket_ids)
    with pytest.raises(RuntimeError, match="enter it"):
        await anext(run)
    async with run:
        with pytest.raises(RuntimeError, match="only once"):
            await run.__aenter__()
    with pytest.raises(StopAsyncIteration):
        await anext(run)


async def test_two_runs_at_once_do_not_disturb_each_other(sandbox, cluster):
    async with on_cluster(cluster, iter(sandbox.bucket_ids), shard_size=5) as one:
        await anext(one)
        other = await outcomes_of(on_cluster(cluster, sandbox.bucket_ids, shard_size=5))
        rest = [o async for o in one]
    assert complete(other, sandbox.bucket_ids)
    assert len(rest) == 59


@pytest.fixture
def asked(monkeypatch):
    """Record which worker was asked for which key."""
    found, original = {}, ClientThread._poll

    async def poll(self, order):
        found.update(dict.fromkeys(order.keys, self))
        return await original(self, order)

    monkeypatch.setattr(ClientThread, "_poll", poll)
    return found


@pytest.mark.slow
async def test_a_429_pauses_the_client_of_its_worker_and_no_other(cluster, asked, monkeypatch):
    pause = 1  # second, the shortest that the API can ask for
    settings = WorkerSettings(limits=Limits(max_concurrency=1))
    async with Sandbox(buckets=150, latency=0.01) as sandbox:
        monkeypatch.setenv("FLASHBACK_TOKEN", sandbox.token)
        monkeypatch.setenv("FLASHBACK_BASE_URL", sandbox.base_url)
        fault = Fault.status(429, retry_after=pause).after(10).first(1)
        with sandbox.script(fault) as script:
            run = on_cluster(cluster, iter(sandbox.bucket_ids), settings, shard_size=5)
            outcomes = await outcomes_of(run)
            script.check()
        seen = list(sandbox.log)
    assert complete(outcomes, sandbox.bucket_ids)
    assert all(o.ok for o in outcomes)
    (struck,) = [request for request in seen if request.status == 429]
    throttled = asked[struck.bucket_id]
    later = [request for request in seen if request.at > struck.at]
    own = [r.at - struck.at for r in later if asked[r.bucket_id] is throttled]
    other = [r.at - struck.at for r in later if asked[r.bucket_id] is not throttled]
    assert min(own) >= pause - 0.05  # loops round their clocks
    assert sum(at < pause for at in other) >= 10
    assert [r.status for r in seen if r.bucket_id == struck.bucket_id] == [429, 200]


async def test_ids_and_outcomes_travel_as_bytes_and_no_secret_travels(sandbox, cluster):
    scheduler, canary = cluster.cluster.scheduler, sandbox.token.encode()
    specs, answers = {}, {}
    async with on_cluster(cluster, sandbox.bucket_ids, shard_size=5) as run:
        (plugin,) = [data for name, data in scheduler.worker_plugins.items() if ours(name)]
        async for _ in run:
            specs |= {key: task.run_spec for key, task in scheduler.tasks.items() if ours(key)}
            for worker in cluster.cluster.workers.values():
                answers |= dict(worker.data)
    assert len(specs) == 12
    for spec in specs.values():
        name, order = spec.args
        assert ours(name)
        assert type(order) is bytes
        assert not spec.kwargs
    assert answers.keys() & specs.keys()
    assert {type(answer) for answer in answers.values()} == {bytes}
    sent = [pickle.dumps(spec) for spec in specs.values()]
    everything = b"".join([plugin, *sent, *answers.values()])
    assert sandbox.bucket_ids[0].encode() in everything
    assert b"WorkerSettings" in everything
    assert canary not in everything
    assert canary[:12] not in everything


def ours(name):
    return name.startswith("flashback-")


@contextlib.contextmanager
def log_of_dask():
    """Collect what Dask logs, whatever its handlers are."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.setLevel(level)
    logger.removeHandler(handler)


CANARY = "canary_password"


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (f"user:{CANARY}", "ModuleNotFoundError"),
        (f"json.{CANARY}:get", "ModuleNotFoundError"),
        (f"json:{CANARY}", "AttributeError"),
        (f"tokens_of_a_test:{CANARY}", "must name an async function, not a value of type str"),
    ],
)
async def test_a_token_that_looks_like_the_name_of_a_function_is_not_shown(
    cluster, provider, token, problem
):
    setattr(provider, CANARY, "x")
    settings = WorkerSettings(token_from=token)
    run = on_cluster(cluster, ["a"], settings)
    with log_of_dask() as log, pytest.raises(ConfigurationError, match=problem) as caught:
        await run.__aenter__()
    assert "WorkerSettings.token_from" in str(caught.value)
    trace = caught.value.__traceback__
    caught.value.with_traceback(trace.tb_next)  # without the frame of this test
    assert find(CANARY, caught.value) == []
    assert "token_from" in log.getvalue()
    assert CANARY not in log.getvalue()
    assert CANARY not in repr(settings)


async def test_the_orders_of_a_worker_do_not_compete_for_its_slots(asked, monkeypatch):
    settings = WorkerSettings(limits=Limits(max_concurrency=2))
    async with Sandbox(buckets=60) as sandbox, clusters.local(workers=1) as client:
        monkeypatch.setenv("FLASHBACK_TOKEN", sandbox.token)
        monkeypatch.setenv("FLASHBACK_BASE_URL", sandbox.base_url)
        run = on_cluster(client, sandbox.bucket_ids, settings, shard_size=20)
        assert complete(await outcomes_of(run), sandbox.bucket_ids)
        order = [sandbox.bucket_ids.index(request.bucket_id) // 20 for request in sandbox.log]
    # The next order begins while the last answers of the one before are awaited.
    inner = [n for n in range(60) if n % 20 not in (0, 1, 18, 19)]
    assert [order[n] for n in inner] == [n // 20 for n in inner]
