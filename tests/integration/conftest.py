"""The transports over which these tests run."""

from __future__ import annotations

import pytest

from tests import inside

# What makes its clients in this process, where a test can choose their transport.
_OVER_BOTH = {
    "test_cache",
    "test_client",
    "test_fault_scripts",
    "test_observer",
    "test_regressions",
    "test_sandbox",
    "test_sandbox_world",
    "test_watch",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test over each transport; over aiohttp in the whole run only, which is slow enough."""
    if metafunc.module.__name__.rpartition(".")[2] in _OVER_BOTH:
        metafunc.fixturenames.append("transport")
        slow = pytest.param("aiohttp", marks=pytest.mark.slow)
        metafunc.parametrize("transport", ["direct", slow], indirect=True)


@pytest.fixture
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let clients that have the choice take this transport."""
    inside.prefer_transport(monkeypatch, request.param)
    return request.param
