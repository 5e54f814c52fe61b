"""The pictures of the README: ``make screenshots`` takes them in a real browser, on a sandbox."""

import asyncio
import random
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

from flashback_async import FlashbackClient
from flashback_async.pages.dashboard.server import Dashboard
from flashback_async.sandbox import Sandbox
from tests.browser import Page, browser

FOLDER = Path(__file__).parent / "pictures"
SIZE = (1_120, 640)
BUCKETS = 600
INTERVAL = 2.0  # seconds


async def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    async with browser() as page:
        await page.resize(*SIZE)
        await page.prefer(prefers_color_scheme="light", prefers_reduced_motion="reduce")
        await show_dashboard(page, FOLDER / "dashboard.webp")
        await show_report(page, FOLDER / "report.webp")


async def show_dashboard(page: Page, path: Path) -> None:
    """Show an estate in which a few nodes change while the page looks on."""
    random.seed(4)
    async with (
        Sandbox(BUCKETS, healthy=True) as sandbox,
        FlashbackClient(sandbox.token, base_url=sandbox.base_url) as client,
        client.status.watch(interval=INTERVAL, fall=1, rise=1) as watch,
        Dashboard(watch, interval=INTERVAL) as board,
    ):
        await watch.ready()
        await page.go(board.url)
        await page.until("facts && model && model.conditions[1] === 0")
        for state, nodes in (("OFFLINE", (0, 1, 2)), ("DISCONNECTED", (1,)), ("OFFLINE", (0,))):
            for bucket_id in random.sample(sandbox.bucket_ids, 1 if len(nodes) > 1 else 5):
                for node in nodes:
                    sandbox.set_state(bucket_id, sandbox.node_ips(bucket_id)[node], state)
        await page.until("model.problems.size >= 10 && model.news.length >= 12")
        await asyncio.sleep(INTERVAL)
        await saved(page, path)


async def show_report(page: Page, path: Path) -> None:
    """Show the report that the demo writes."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "flashback_async", "demo", "--report"),
        *("--buckets", "120", "--no-progress"),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await child.communicate()
    url = said.decode().split()[-1]
    try:
        await page.go(url)
        await page.until("document.readyState === 'complete'")
        await page.run("document.querySelector('#calendar').scrollIntoView()")
        await saved(page, path)
    finally:
        shutil.rmtree(Path(urlsplit(url).path).parent)


async def saved(page: Page, path: Path) -> None:
    await page.picture(path)
    print(path)


if __name__ == "__main__":
    asyncio.run(main())
