"""Dashboards on sandboxes, and what reads their events."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import asynccontextmanager

import aiohttp

from flashback_async import FlashbackClient
from flashback_async.pages.dashboard.server import Dashboard
from flashback_async.sandbox import Sandbox

INTERVAL = 0.2
GUARD = 30  # seconds, against what hangs


@asynccontextmanager
async def dashboard(sandbox, *, ids=None, port=0, interval=INTERVAL, **settings):
    settings = {"fall": 1, "rise": 1, "refresh": 1.0} | settings
    async with FlashbackClient(sandbox.token, base_url=sandbox.base_url) as client:
        watch = client.status.watch(ids, interval=interval, **settings)
        gone_after = 0.0 if ids is not None else 2 * settings["refresh"]
        board = Dashboard(watch, interval=interval, port=port, gone_after=gone_after)
        async with watch, board:
            yield board


@asynccontextmanager
async def served(*args, healthy=True, **options):
    """Yield a dashboard of a sandbox, the sandbox, and a session."""
    settings = options.pop("watch", {})
    async with (
        Sandbox(*args, healthy=healthy, **options) as sandbox,
        dashboard(sandbox, **settings) as board,
        aiohttp.ClientSession() as session,
    ):
        yield board, sandbox, session


class Page:
    """What the page knows: it applies events as its script does."""

    def __init__(self, response):
        self.shown = None
        self.facts = None
        self.names = []  # of all events
        self.ending = None
        self._response = response

    async def read(self):
        """Take the next event; return its name, or None after the last one."""
        name, data = None, None
        async with asyncio.timeout(GUARD):
            while line := (await self._response.content.readline(max_line_length=1 << 26)).decode():
                field, _, value = line.rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    data = json.loads(value)
                elif not field and name is not None:
                    break
            else:
                return None
        self.names.append(name)
        if name == "snapshot":
            self.shown = data
        elif name == "delta":
            self._apply(data)
        elif name == "facts":
            self.facts = data
        else:
            self.ending = data
        return name

    async def until(self, predicate):
        async with asyncio.timeout(GUARD):
            while not (self.shown and self.facts and predicate(self)):
                assert await self.read() is not None

    def states(self, bucket_id):
        """Return the states of a bucket's nodes."""
        nodes = self.record(bucket_id)[1]
        return [self.shown["states"][number] for number in nodes[::2]]

    def record(self, bucket_id):
        return self.shown["buckets"][self.shown["ids"].index(bucket_id)]

    @property
    def all_asked(self):
        return self.shown["buckets"] and all(record[0] != 1 for record in self.shown["buckets"])

    def _apply(self, delta):
        shown = self.shown
        assert delta["v"] == shown["v"] + 1
        shown |= {name: delta[name] for name in ("v", "states", "regions") if name in delta}
        for place, record in delta["buckets"]:
            shown["buckets"][place] = record
        news = deque([*reversed(shown["news"]), *reversed(delta["news"])], 30)
        shown["news"] = list(news)[::-1]


@asynccontextmanager
async def viewer(board, session, **options):
    timeout = aiohttp.ClientTimeout(total=None, sock_read=GUARD)
    async with session.get(f"{board.url}events", timeout=timeout, **options) as response:
        assert response.status == 200
        yield Page(response)
