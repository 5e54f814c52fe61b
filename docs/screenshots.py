"""The pictures of the README: ``make screenshots`` takes them in a real browser, on a sandbox."""

import asyncio
import random
import shutil
import struct
import sys
import zlib
from collections import Counter
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
        await show_dashboard(page, FOLDER / "dashboard.png")
        await show_report(page, FOLDER / "report.png")


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
        await saved(page, path)
    finally:
        shutil.rmtree(Path(urlsplit(url).path).parent)


async def saved(page: Page, path: Path) -> None:
    await page.picture(path)
    size = await asyncio.to_thread(shrink, path)
    print(f"{path}: {size / 1_000:.0f} kB")


# A picture with 256 colours is a third as large. The browser writes true colours only.


def shrink(path: Path) -> int:
    """Write a picture anew with its 256 most frequent colours; return its size in bytes."""
    width, height, pixels = read(path.read_bytes())
    common = [colour for colour, _ in Counter(pixels).most_common(256)]
    places = {colour: place for place, colour in enumerate(common)}
    for colour in set(pixels) - places.keys():
        places[colour] = places[min(common, key=lambda other: distance(colour, other))]
    lines = (pixels[n : n + width] for n in range(0, len(pixels), width))
    rows = b"".join(b"\0" + bytes(map(places.__getitem__, line)) for line in lines)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = {
        b"IHDR": header,
        b"PLTE": b"".join(map(bytes, common)),
        b"IDAT": zlib.compress(rows, 9),
        b"IEND": b"",
    }
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts.items()
    )
    return path.write_bytes(data)


def distance(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def read(data: bytes) -> tuple[int, int, list[tuple[int, ...]]]:
    """Return the width, the height and the pixels of a picture as the browser writes it."""
    place, packed, header = 8, b"", b""
    while place < len(data):
        (length,), kind = struct.unpack_from(">I", data, place), data[place + 4 : place + 8]
        body = data[place + 8 : place + 8 + length]
        header, packed = (body, packed) if kind == b"IHDR" else (header, packed)
        packed += body if kind == b"IDAT" else b""
        place += 12 + length
    width, height, depth, form, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    assert (depth, interlaced) == (8, 0)
    size = {2: 3, 6: 4}[form]
    raw, step = zlib.decompress(packed), width * size
    above, pixels = bytearray(step), []
    for row in range(height):
        start = row * (step + 1)
        line = unfiltered(raw[start], bytearray(raw[start + 1 : start + 1 + step]), above, size)
        pixels += [tuple(line[n : n + 3]) for n in range(0, step, size)]
        above = line
    return width, height, pixels


def unfiltered(kind: int, line: bytearray, above: bytearray, size: int) -> bytearray:
    for n in range(len(line)):
        left, corner = (line[n - size], above[n - size]) if n >= size else (0, 0)
        guess = (0, left, above[n], (left + above[n]) // 2, paeth(left, above[n], corner))[kind]
        line[n] = (line[n] + guess) & 255
    return line


def paeth(left: int, above: int, corner: int) -> int:
    guess = left + above - corner
    return min((left, above, corner), key=lambda value: abs(guess - value))


if __name__ == "__main__":
    asyncio.run(main())
