"""The fixtures of the fault tests, and the transports over which they run."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests import inside
from tests.faults.harness.fault import Fault
from tests.transports import run_over_both, transport

__all__ = ["transport"]

# What a transport itself decides. The rest happens above it, and is as slow over both.
_OF_TRANSPORTS = {"test_connect", "test_wire"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    run_over_both(metafunc, quick=metafunc.module.__name__.rpartition(".")[2] in _OF_TRANSPORTS)


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the sizes of all blocks that the client's connections read."""
    return inside.record_received(monkeypatch)


@pytest.fixture
async def fault() -> AsyncIterator[Fault]:
    """Yield servers, clients and a clock; at the end, check that nothing is left or has leaked."""
    async with Fault() as fault:
        yield fault
