"""The one fixture of the fault tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.faults.harness.fault import Fault


@pytest.fixture
async def fault() -> AsyncIterator[Fault]:
    """Yield servers, clients and a clock; at the end, check that nothing is left or has leaked."""
    async with Fault() as fault:
        yield fault
