"""Print what changes in any bucket, until Ctrl-C."""

import asyncio
from contextlib import suppress

from flashback_async import FlashbackClient


async def main() -> None:
    async with FlashbackClient() as client, client.status.watch(interval=30) as watch:
        async for change in watch:
            print(change.bucket_id, change.ip, change.kind, change.before, change.after, flush=True)


with suppress(KeyboardInterrupt):
    asyncio.run(main())
