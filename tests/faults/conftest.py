"""The one fixture of the fault tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.faults.harness.fault import Fault


@pytest.fixture
async def fault() -> AsyncIterator[Fault]:
    """Servers, clients and a clock; at the end, a check that nothing is left and nothing leaked."""
    async with Fault() as fault:
        yield fault
