"""Unit tests of the client run in virtual time; those of the rim bring their own loops."""

from pathlib import Path

import pytest

from benchmarks.virtual_time import VirtualLoop

_HERE = Path(__file__).parent
_REAL_TIME = {_HERE / "sandbox", _HERE / "cli"}


@pytest.hookimpl(tryfirst=True)
def pytest_asyncio_loop_factories(config, item):
    if _REAL_TIME.isdisjoint(item.path.parents):
        return {"virtual": VirtualLoop}
    return None
