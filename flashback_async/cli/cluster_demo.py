"""The demo of a cluster: two worker processes on this machine poll a sandbox."""

from __future__ import annotations

import time
from collections import Counter

from flashback_async import BucketStatus, ConfigurationError
from flashback_async.cli import text
from flashback_async.cli.cluster import hush_dask
from flashback_async.cli.exits import Deadline, Exit
from flashback_async.cli.messages import say
from flashback_async.cli.progress import progress
from flashback_async.cli.runner import guarded, run_loop
from flashback_async.sandbox import Sandbox

_WORKERS = 2


def show_cluster(buckets: int, *, shows_bar: bool) -> int:
    """Start a scheduler and two workers, poll a sandbox through them, and stop it all."""

    def work() -> int:
        with Sandbox.in_thread(buckets) as sandbox:
            return run_loop(_poll(sandbox, shows_bar=shows_bar))

    return guarded(work, Deadline(None))


async def _poll(sandbox: Sandbox, *, shows_bar: bool) -> int:
    try:
        from flashback_async.dask import WorkerSettings, status_on_cluster
        from flashback_async.dask.connecting import started
    except ImportError:
        raise ConfigurationError(
            '--cluster needs distributed: pip install "flashback-async[cli,dask]"'
        ) from None
    hush_dask()
    bucket_ids = sandbox.bucket_ids
    say(f"A sandbox of {text.plural(len(bucket_ids), 'bucket')} answers at {sandbox.base_url}.")
    states: Counter[str] = Counter()
    settings = WorkerSettings(base_url=sandbox.base_url)
    bar = progress(shown=shows_bar, total=len(bucket_ids), pace=lambda: None)
    async with started(_WORKERS, {"FLASHBACK_TOKEN": sandbox.token}) as cluster:
        say(f"A scheduler and {_WORKERS} workers of Dask run on this machine. They poll it now.")
        began = time.monotonic()
        with bar as step:
            async with status_on_cluster(cluster, bucket_ids, settings) as run:
                async for outcome in run:
                    states.update(_states(outcome.value))
                    step()
        seconds = time.monotonic() - began
    stats = run.stats
    say(f"{text.plural(stats.keys, 'bucket')} in {text.seconds(seconds)}, {stats.failed} failed.")
    for state, nodes in states.most_common():
        say(f"{nodes:>9,} nodes {state}")
    return Exit.OK


def _states(status: BucketStatus | None) -> list[str]:
    return [] if status is None else [str(node.state) for node in status.nodes]
