"""The demo of a report: keep the last days of a sandbox, and make a page of it all."""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from flashback_async import BucketStatus, FlashbackClient, Report
from flashback_async.cli import text
from flashback_async.cli.exits import Deadline, Exit
from flashback_async.cli.files import write_whole
from flashback_async.cli.messages import say
from flashback_async.cli.progress import progress
from flashback_async.cli.runner import guarded, run_loop
from flashback_async.sandbox import Sandbox

_REQUESTS = 7_200  # for days, which take seconds
_FEWEST, _MOST = 7, 90  # days
_CHURN = 1  # changes of each node an hour


def show_report(buckets: int, *, shows_bar: bool) -> int:
    """Write a report on a sandbox into a temporary folder, and print its URL."""

    def work() -> int:
        folder = Path(tempfile.mkdtemp(prefix="flashback-report-"))
        kept, page = folder / "history.sqlite", folder / "report.html"
        with Sandbox.in_thread(buckets, churn=_CHURN) as sandbox:
            say(f"A sandbox of {text.plural(buckets, 'bucket')} answers at {sandbox.base_url}.")
            status = run_loop(_ask(sandbox, kept, shows_bar=shows_bar))
        _write(status, kept, page)
        return Exit.OK

    return guarded(work, Deadline(None))


def _write(status: Report[str, BucketStatus], kept: Path, page: Path) -> None:
    from flashback_async.history import read_history
    from flashback_async.pages import make_report

    write_whole(str(page), make_report(status, read_history(kept)).encode())
    say("Open the report in a browser:")
    sys.stdout.write(f"{page.as_uri()}\n")
    sys.stdout.flush()


async def _ask(sandbox: Sandbox, kept: Path, *, shows_bar: bool) -> Report[str, BucketStatus]:
    bucket_ids = sandbox.bucket_ids
    async with FlashbackClient(sandbox.token, base_url=sandbox.base_url) as client:
        await _keep(client, bucket_ids, kept, shows_bar=shows_bar)
        _cause_incidents(sandbox)
        return await client.status.get_many(bucket_ids)


async def _keep(
    client: FlashbackClient, bucket_ids: tuple[str, ...], kept: Path, *, shows_bar: bool
) -> None:
    from flashback_async.history import export_days

    days = max(_FEWEST, min(_MOST, _REQUESTS // len(bucket_ids)))
    say(f"Keeping the last {days} days of them, the newest first.")
    # Yesterday may have ended a moment ago, and then its figures are not final.
    last = datetime.now(UTC).date() - timedelta(days=2)
    began = time.monotonic()
    with progress(shown=shows_bar, total=days, pace=lambda: client.pace) as step:

        def count(_: date, __: int) -> None:
            step()

        first = last - timedelta(days=days - 1)
        report = await export_days(client, bucket_ids, first, last, kept, on_day=count)
    seconds = text.seconds(time.monotonic() - began)
    say(f"{text.count(report.rows)} rows of node statistics in {seconds}, in {kept}")


def _cause_incidents(sandbox: Sandbox) -> None:
    """Take all nodes of one bucket offline, and let another one fail as long as it is asked."""
    down, broken = sandbox.bucket_ids[0], sandbox.bucket_ids[-1]
    for ip in sandbox.node_ips(down):
        sandbox.set_state(down, ip, "OFFLINE")
    if broken != down:
        sandbox.fail(broken, status=500, times=1_000)
