"""A real browser without a window, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
GUARD = 30.0  # seconds, against a browser that hangs

needs_browser = pytest.mark.skipif(
    not any(map(shutil.which, NAMES)), reason="no Chromium here; `make browser` installs it"
)


class Page:
    """A tab: it goes to addresses, runs JavaScript, and takes what the console complains of."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session_id: str) -> None:
        self.complaints: list[str] = []
        self._socket = socket
        self._session_id = session_id
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def send(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol; return its result."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        call = {"id": number, "method": method, "params": parameters}
        await self._socket.send_json(call | {"sessionId": self._session_id})
        return await asyncio.wait_for(answer, GUARD)

    def take(self, message: dict[str, Any]) -> None:
        """Handle a message of the browser."""
        if "id" in message:
            answer = self._waiting.pop(message["id"], None)
            if answer is None or answer.done():
                return
            if "error" in message:
                answer.set_exception(RuntimeError(message["error"]["message"]))
            else:
                answer.set_result(message["result"])
            return
        said, about = message.get("method"), message.get("params", {})
        if said == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(about["exceptionDetails"])[:1_000])
        elif said == "Log.entryAdded" and about["entry"]["level"] in ("warning", "error"):
            self.complaints.append(about["entry"]["text"])
        elif said == "Runtime.consoleAPICalled" and about["type"] in ("warning", "error"):
            self.complaints.append(json.dumps(about["args"])[:1_000])
        elif said == "Audits.issueAdded":
            self.complaints.append(json.dumps(about["issue"])[:1_000])

    async def go(self, url: str) -> None:
        """Open an address."""
        result = await self.send("Page.navigate", url=url)
        assert "errorText" not in result, result

    async def run(self, script: str) -> Any:
        """Return the value of an expression, or of the promise that it is."""
        result = await self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def until(self, script: str, guard: float = GUARD) -> Any:
        """Wait until an expression is true; return its value."""
        async with asyncio.timeout(guard):
            while True:
                with suppress(AssertionError):  # the page is not there yet
                    if value := await self.run(script):
                        return value
                await asyncio.sleep(0.02)

    async def text(self, selector: str) -> str:
        """Return the text of the first element."""
        return str(await self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        for key in keys:
            text = {"Enter": "\r", " ": " "}.get(key, key if len(key) == 1 else "")
            name = {"key": key, "code": key, "windowsVirtualKeyCode": _CODES.get(key, 0)}
            down = {"text": text} if text else {}
            await self.send("Input.dispatchKeyEvent", type="keyDown", **name, **down)
            await self.send("Input.dispatchKeyEvent", type="keyUp", **name)

    async def click(self, x: float, y: float) -> None:
        """Click at a place of the window."""
        at = {"x": x, "y": y, "button": "left", "clickCount": 1}
        await self.send("Input.dispatchMouseEvent", type="mousePressed", **at)
        await self.send("Input.dispatchMouseEvent", type="mouseReleased", **at)

    async def resize(self, width: int, height: int, ratio: float = 1.0) -> None:
        """Set the size of the window, and how many pixels a point has."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=ratio,
            mobile=False,
        )

    async def prefer(self, *, media: str = "", **features: str) -> None:
        """Set what the user prefers, such as prefers_color_scheme="dark"."""
        named = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        await self.send("Emulation.setEmulatedMedia", media=media, features=named)

    async def picture(self, path: Path, *, whole: bool = False) -> None:
        """Save a picture of the window, or of the whole page, as the suffix says: PNG or WebP."""
        form = path.suffix.removeprefix(".")
        result = await self.send(
            "Page.captureScreenshot", format=form, quality=50, captureBeyondViewport=whole
        )
        path.write_bytes(base64.b64decode(result["data"]))


_CODES = {
    "Enter": 13,
    "Escape": 27,
    "Tab": 9,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}


@asynccontextmanager
async def browser() -> AsyncIterator[Page]:
    """Start a browser with one empty tab; end it with everything that it started."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        child = await _start(Path(folder))
        try:
            async with asyncio.timeout(GUARD):
                address = await _address(child)
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(address, max_msg_size=0) as socket,
            ):
                page = await _tab(socket)
                reading = asyncio.create_task(_read(socket, page))
                try:
                    for domain in ("Page", "Runtime", "Log", "Audits"):
                        await page.send(f"{domain}.enable")
                    yield page
                finally:
                    reading.cancel()
                    await asyncio.wait([reading])
        finally:
            # Its processes are a group of their own.
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.communicate()


async def _start(folder: Path) -> asyncio.subprocess.Process:
    program = next(filter(None, map(shutil.which, NAMES)))
    return await asyncio.create_subprocess_exec(
        program,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--hide-scrollbars",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
        "about:blank",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


async def _address(child: asyncio.subprocess.Process) -> str:
    """Return the address of the DevTools, which the browser writes to standard error."""
    assert child.stderr is not None
    said = ""
    while line := (await child.stderr.readline()).decode(errors="replace"):
        said += line
        if "DevTools listening on " in line:
            return line.split("DevTools listening on ")[1].strip()
    raise AssertionError(f"the browser ended: {said}")


async def _tab(socket: aiohttp.ClientWebSocketResponse) -> Page:
    """Attach to the tab that the browser began with."""
    await socket.send_json({"id": 0, "method": "Target.getTargets"})
    targets = (await _answer(socket))["targetInfos"]
    (tab,) = (target for target in targets if target["type"] == "page")
    parameters = {"targetId": tab["targetId"], "flatten": True}
    await socket.send_json({"id": 0, "method": "Target.attachToTarget", "params": parameters})
    return Page(socket, (await _answer(socket))["sessionId"])


async def _answer(socket: aiohttp.ClientWebSocketResponse) -> Any:
    async with asyncio.timeout(GUARD):
        while True:
            message = await socket.receive_json()
            if "id" in message:
                return message["result"]


async def _read(socket: aiohttp.ClientWebSocketResponse, page: Page) -> None:
    async for message in socket:
        page.take(json.loads(message.data))
