"""Answers in place of a server, for the resources on top of the real client."""

from types import SimpleNamespace

import aiohttp
import pytest
from aioresponses import aioresponses, core

from flashback_async.client import FlashbackClient
from tests import inside
from tests.unit.support import TOKEN, LoopClock


class _ClientResponse(aiohttp.ClientResponse):
    """The response of aioresponses, with the argument that aiohttp 3.14 requires besides."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, stream_writer=SimpleNamespace(output_size=0), **kwargs)


@pytest.fixture
def answers(monkeypatch):
    monkeypatch.setattr(core, "ClientResponse", _ClientResponse)
    with aioresponses() as mocked:
        yield mocked


@pytest.fixture
async def client():
    async with FlashbackClient(TOKEN, base_url="https://api.test/v1", transport="aiohttp") as made:
        inside.use_clock(made, LoopClock())
        yield made
