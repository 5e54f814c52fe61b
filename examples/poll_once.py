"""Poll every bucket once and print each node that is not ONLINE.

    export FLASHBACK_TOKEN=...
    python examples/poll_once.py

Intended for cron and monitoring. The exit code is 1 if a node is not ONLINE, otherwise 2 if a
bucket failed, otherwise 0.
"""

from __future__ import annotations

import asyncio
import sys

from flashback_async import FlashbackClient, FlashbackError, NodeState

ALL_ONLINE, SOME_NOT_ONLINE, SOME_FAILED = 0, 1, 2


async def poll(client: FlashbackClient) -> int:
    """Print each node that is not ONLINE, and return the exit code."""
    not_online = failed = 0
    buckets = await client.bucket_stats.list()
    async for outcome in client.status.iter_many(bucket.bucket_id for bucket in buckets):
        if outcome.error is not None:
            # The other buckets are not affected.
            failed += 1
            print(f"{outcome.key}: {outcome.error}", file=sys.stderr)
            continue
        for node in outcome.value.nodes:
            if node.state != NodeState.ONLINE:
                not_online += 1
                print(outcome.key, node.ip, node.region, node.state)
    print(
        f"{len(buckets)} buckets: {not_online} nodes not ONLINE, {failed} buckets failed",
        file=sys.stderr,
    )
    if not_online:
        return SOME_NOT_ONLINE
    return SOME_FAILED if failed else ALL_ONLINE


async def main() -> int:
    try:
        async with FlashbackClient() as client:
            return await poll(client)
    except FlashbackError as error:  # wrong settings, a rejected token, or no list of buckets
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return SOME_FAILED


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
