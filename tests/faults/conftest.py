"""The one fixture of the fault tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.faults.harness.fault import Fault


@pytest.fixture
async def fault() -> AsyncIterator[Fault]:
    """Give servers, clients and a clock; at the end see that nothing is left, nor has leaked."""
    async with Fault() as fault:
        yield fault
