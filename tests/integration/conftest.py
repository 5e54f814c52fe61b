"""The transports over which these tests run."""

from __future__ import annotations

import pytest

from tests.transports import run_over_both, transport

__all__ = ["transport"]

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
    if metafunc.module.__name__.rpartition(".")[2] in _OVER_BOTH:
        run_over_both(metafunc, quick=False)
