"""`flashback status --dask`: the same rows and exit codes as without it."""

import asyncio
import builtins
import contextlib
import json
import logging
import socket
import time

import pytest
from distributed import LocalCluster

from flashback_async.sandbox import Sandbox
from tests.cluster import kill, processes
from tests.integration.command import UNKNOWN, environment, flashback, process, records, spawned


@pytest.fixture(autouse=True)
def _plain_log_of_dask():
    """Restore the loggers of Dask, which the command silences in this process."""
    loggers = [
        logging.getLogger(name)
        for name in list(logging.root.manager.loggerDict)
        if name.partition(".")[0] == "distributed"
    ]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@contextlib.asynccontextmanager
async def sandbox_and_cluster(**options):
    async with (
        Sandbox(**options) as sandbox,
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            protocol="tcp",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            asynchronous=True,
        ) as cluster,
    ):
        yield sandbox, ["--dask", cluster.scheduler_address]


CHANGING = {"asked_at", "attempts", "elapsed", "index", "last_updated", "message", "request_id"}


def steady(value):
    """Return a value without what differs from run to run."""
    if isinstance(value, dict):
        return {name: steady(item) for name, item in value.items() if name not in CHANGING}
    return [steady(item) for item in value] if isinstance(value, list) else value


def rows(result):
    """Return the rows by bucket, as far as two runs agree."""
    return json.dumps(steady(records(result)), sort_keys=True)


@pytest.mark.parametrize("arguments", [["--all"], ["--all", "--not-online"], ["IDS"], ["-"]])
async def test_rows_and_exit_codes_are_the_same(arguments):
    async with sandbox_and_cluster(buckets=20) as (sandbox, dask):
        down = sandbox.bucket_ids[0]
        sandbox.set_state(down, sandbox.node_ips(down)[0], "OFFLINE")
        ids = [*sandbox.bucket_ids[:5], UNKNOWN]
        given = ids if arguments == ["IDS"] else arguments
        stdin = "\n".join(ids).encode()
        env = environment(sandbox)
        alone = await flashback("status", *given, env=env, stdin=stdin)
        through = await flashback("status", *given, *dask, env=env, stdin=stdin)
    assert through.code == alone.code
    assert rows(through) == rows(alone)
    assert through.lines
    assert through.err == alone.err


async def test_a_rejected_token_has_the_same_exit_code():
    async with sandbox_and_cluster(buckets=5) as (sandbox, dask):
        env = environment(sandbox, FLASHBACK_TOKEN="wrong")
        alone = await flashback("status", *sandbox.bucket_ids, env=env)
        through = await flashback("status", *sandbox.bucket_ids, *dask, env=env)
    assert (through.code, rows(through)) == (alone.code, rows(alone))
    assert through.code == 3


async def test_a_deadline_has_the_same_exit_code():
    async with sandbox_and_cluster(buckets=5, latency=30) as (sandbox, dask):
        env, ids = environment(sandbox), sandbox.bucket_ids
        result = await flashback("status", *ids, "--deadline", "0.5", *dask, env=env)
    assert result.code == 5
    assert len(result.lines) == 5


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--allow-insecure-http"], "--allow-insecure-http cannot be given together with --dask"),
        (["--transport", "aiohttp"], "--transport cannot be given together with --dask"),
        (["--base-url", "ftp://x"], "--base-url"),
    ],
)
async def test_what_workers_cannot_be_told_is_refused(arguments, problem):
    async with sandbox_and_cluster(buckets=1) as (sandbox, dask):
        result = await flashback("status", "x", *dask, *arguments, env=environment(sandbox))
    assert result.code == 2
    assert problem in result.err


@pytest.mark.parametrize("listens", [False, True], ids=["refused", "silent"])
async def test_without_a_scheduler_it_says_so_within_the_time_limit(listens):
    async with Sandbox(buckets=1) as sandbox:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            if listens:
                other.listen()  # the system accepts connections, and nobody answers
            address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
            dask = ["--dask", address, "--timeout", "0.4"]
            began = time.monotonic()
            lost = await flashback("status", "--all", *dask, env=environment(sandbox))
            took = time.monotonic() - began
    assert lost.code == 4
    assert lost.err == f"error: no Dask scheduler answers at {address} in 0.4 s\n"
    assert lost.out == ""
    assert took < 5  # Dask itself waits for 30 seconds


@pytest.mark.parametrize("address", ["127.0.0.1", "", "nonsense://127.0.0.1:8786"])
async def test_what_is_no_address_of_a_scheduler_is_refused(address):
    async with Sandbox(buckets=1) as sandbox:
        result = await flashback("status", "--all", "--dask", address, env=environment(sandbox))
    assert result.code == 2
    assert "--dask must be the address of a scheduler" in result.err


async def test_without_the_extra_it_says_how_to_install_it(monkeypatch):
    real = builtins.__import__

    def without_dask(name, *rest):
        if name.startswith("flashback_async.dask"):
            raise ImportError
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_dask)
    async with Sandbox(buckets=1) as sandbox:
        env = environment(sandbox)
        result = await flashback("status", "--all", "--dask", "tcp://127.0.0.1:1", env=env)
        demo = await flashback("demo", "--cluster", env=env)
    for told in (result, demo):
        assert told.code == 2
        assert 'pip install "flashback-async[cli,dask]"' in told.err


async def test_the_demo_polls_through_a_cluster_or_watches():
    result = await flashback("demo", "--cluster", "--watch", env=environment())
    assert result.code == 2


@pytest.mark.slow
async def test_the_demo_of_a_cluster_polls_every_bucket_and_stops():
    result = await spawned("demo", "--cluster", "--buckets", "500", env=environment())
    assert result.code == 0, result.err
    assert "500 buckets in" in result.err
    assert "0 failed" in result.err


@pytest.mark.slow
async def test_a_lost_scheduler_leaves_a_row_for_each_bucket(tmp_path):
    async with Sandbox(buckets=600, latency=0.2) as sandbox:
        variables = {"FLASHBACK_TOKEN": sandbox.token, "FLASHBACK_BASE_URL": sandbox.base_url}
        async with processes(tmp_path, 2, **variables) as cluster:
            arguments = ["status", "--all", "--dask", cluster.address, "--concurrency", "8"]
            async with process(*arguments, env=environment(sandbox)) as child:
                async with asyncio.timeout(20):
                    while sandbox.requests < 30:
                        await asyncio.sleep(0.05)
                kill(cluster._started[0].pid)
                out, err = await child.communicate()
    found = [json.loads(line) for line in out.decode().splitlines()]
    assert {record["bucket_id"] for record in found} == set(sandbox.bucket_ids)
    assert child.returncode in (1, 4), err.decode()
    assert "Traceback" not in err.decode()
