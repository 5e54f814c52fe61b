"""The fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests import inside
from tests.faults.harness.fault import Fault


@pytest.fixture(autouse=True, params=["direct", "aiohttp"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test over each transport, wherever its client has the choice."""
    inside.prefer_transport(monkeypatch, request.param)
    return request.param


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the sizes of all blocks that the client's connections read."""
    return inside.record_received(monkeypatch)


@pytest.fixture
async def fault() -> AsyncIterator[Fault]:
    """Yield servers, clients and a clock; at the end, check that nothing is left or has leaked."""
    async with Fault() as fault:
        yield fault
