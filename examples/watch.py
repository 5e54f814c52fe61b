"""Watch every bucket and print what changes, until told to stop.

    export FLASHBACK_TOKEN=...
    python examples/watch.py --interval 30

The first round prints every problem, each later round what has changed. SIGTERM (from systemd,
Docker or Kubernetes) and Ctrl-C stop it at once, even in the middle of a round. Calls in flight are
then cancelled, connections are closed, and the exit code is 0. The exit code is 2 if the settings
are wrong or the token is rejected.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import signal
import sys
import time

from flashback_async import (
    AuthenticationError,
    ConfigurationError,
    FlashbackClient,
    FlashbackError,
)

# A bucket and one of its nodes, or "" for the bucket itself.
Subject = tuple[str, str]

ANSWERS = "answers"
ONLINE = "ONLINE"
GONE = "gone"


async def poll(client: FlashbackClient, before: dict[Subject, str]) -> dict[Subject, str]:
    """Return the current state of every bucket and node.

    The nodes of a bucket that failed keep the state they had before.
    """
    now: dict[Subject, str] = {}
    failed: set[str] = set()
    buckets = await client.bucket_stats.list()
    async for outcome in client.status.iter_many(bucket.bucket_id for bucket in buckets):
        bucket_id = outcome.key
        if outcome.error is not None:
            failed.add(bucket_id)
            now[bucket_id, ""] = type(outcome.error).__name__
            continue
        now[bucket_id, ""] = ANSWERS
        for node in outcome.value.nodes:
            now[bucket_id, node.ip or "?"] = str(node.state)
    return {subject: state for subject, state in before.items() if subject[0] in failed} | now


def print_changes(before: dict[Subject, str], now: dict[Subject, str]) -> None:
    """Print what has changed. Of new buckets and nodes, print only those with a problem."""
    for subject in sorted(before.keys() | now.keys()):
        bucket_id, ip = subject
        old = before.get(subject, ONLINE if ip else ANSWERS)
        new = now.get(subject, GONE)
        if old != new:
            print(f"{bucket_id} {ip or 'bucket'}: {old} -> {new}", flush=True)


async def watch(interval: float) -> None:
    """Poll, print changes and sleep, until this task is cancelled."""
    stop_on_sigterm()
    before: dict[Subject, str] = {}
    async with FlashbackClient() as client:
        while True:
            began = time.monotonic()
            try:
                now = await poll(client, before)
            except AuthenticationError:
                raise  # the next round would fail again
            except FlashbackError as error:
                print(f"round failed: {type(error).__name__}: {error}", file=sys.stderr)
            else:
                print_changes(before, now)
                before = now
            await asyncio.sleep(max(0.0, began + interval - time.monotonic()))


def stop_on_sigterm() -> None:
    """Make SIGTERM cancel the main task, as Ctrl-C does, so that it cleans up."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - called from a coroutine
    # Event loops on Windows do not support signals, and Windows sends no SIGTERM.
    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def seconds(text: str) -> float:
    """Return an interval in seconds."""
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise ValueError(text)
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description="Watch every bucket and print what changes.")
    parser.add_argument(
        "--interval",
        type=seconds,
        default=os.environ.get("WATCH_INTERVAL", "60"),
        help="seconds from the start of a round to the next (default: WATCH_INTERVAL, else 60)",
    )
    arguments = parser.parse_args()
    try:
        asyncio.run(watch(arguments.interval))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("stopped", file=sys.stderr)
    except (AuthenticationError, ConfigurationError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
