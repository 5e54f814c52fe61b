"""The main job from start to finish, on a sandbox: find all buckets, poll them, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager

from flashback_async import FlashbackClient
from flashback_async.cli import demo_report
from flashback_async.cli.demo_report import Findings
from flashback_async.cli.exits import Deadline, Exit
from flashback_async.cli.messages import say
from flashback_async.cli.options import Options
from flashback_async.cli.progress import progress
from flashback_async.cli.runner import guarded, run_loop
from flashback_async.cli.watching import watch_with
from flashback_async.sandbox import Sandbox

_LATENCY = 0.05
_ERROR_RATE = 0.01
_NODES = 3
_CHANGES_A_SECOND = 1
_INTERVAL, _SHORT_INTERVAL = 10.0, 5.0  # seconds
_OPTIONS = Options(
    concurrency=64, timeout=10.0, max_rate=None, base_url=None, allow_insecure_http=False
)
_DELETED = "0d5e7e00-dead-4000-8000-000000000000"


def show_demo(buckets: int, *, shows_bar: bool) -> int:
    """Run the demo; the exit code is 0 once its report is shown, whatever the report says."""

    def work() -> int:
        demo_report.show_findings(run_loop(_explore(buckets, shows_bar=shows_bar)))
        demo_report.show_what_is_next()
        return Exit.OK

    return guarded(work, Deadline(None))


def watch_demo(buckets: int) -> int:
    """Watch a sandbox whose nodes change all the time, until Ctrl-C."""
    with _changing_sandbox(buckets) as make:
        return watch_with(make, None, {"interval": _INTERVAL}, _OPTIONS)


def dashboard_demo(buckets: int) -> int:
    """Show a sandbox whose nodes change all the time on a page, until Ctrl-C."""
    from flashback_async.cli.dashboarding import show_dashboard

    settings = {"interval": _SHORT_INTERVAL, "fall": 1, "rise": 1}
    with _changing_sandbox(buckets) as make:
        say("Open this address in a browser; Ctrl-C ends it.")
        return show_dashboard(make, None, settings, _OPTIONS)


@contextmanager
def _changing_sandbox(buckets: int) -> Iterator[Callable[[], FlashbackClient]]:
    """Run a sandbox whose nodes change all the time; yield what makes a client for it."""
    changes_an_hour = 3_600 * _CHANGES_A_SECOND / (buckets * _NODES)
    with Sandbox.in_thread(buckets, _NODES, churn=min(3_600, changes_an_hour)) as sandbox:

        def make() -> FlashbackClient:
            return FlashbackClient(sandbox.token, base_url=sandbox.base_url)

        yield make


async def _explore(buckets: int, *, shows_bar: bool) -> Findings:
    async with Sandbox(buckets, latency=_LATENCY, error_rate=_ERROR_RATE) as sandbox:
        _cause_incidents(sandbox)
        demo_report.introduce(sandbox.base_url, buckets, _LATENCY, _ERROR_RATE)
        # With both given, the client reads nothing from the environment.
        async with FlashbackClient(sandbox.token, base_url=sandbox.base_url) as client:
            started = time.monotonic()
            stats = await client.bucket_stats.list()
            # An inventory kept by hand has ids of other workspaces and of deleted buckets.
            old = [*sandbox.forbidden_ids, _DELETED]
            demo_report.report_search(time.monotonic() - started, len(stats), len(old))
            findings = Findings(stats)

            served, started = sandbox.requests, time.monotonic()
            inventory = [*(bucket.bucket_id for bucket in stats), *old]
            bar = progress(shown=shows_bar, total=len(inventory), pace=lambda: client.pace)
            with bar as step:
                async with aclosing(client.status.iter_many(inventory)) as outcomes:
                    async for outcome in outcomes:
                        findings.outcomes.append(outcome)
                        step()
            findings.seconds = time.monotonic() - started
            findings.requests = sandbox.requests - served
            return findings


def _cause_incidents(sandbox: Sandbox) -> None:
    """Take all nodes of one bucket offline, and make every request for another one fail."""
    down, broken = sandbox.bucket_ids[0], sandbox.bucket_ids[-1]
    for ip in sandbox.node_ips(down):
        sandbox.set_state(down, ip, "OFFLINE")
    sandbox.fail(broken, status=500, times=1_000)
