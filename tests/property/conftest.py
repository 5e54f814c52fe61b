"""Property tests run in virtual time, as the unit tests do."""

from tests.unit.support import VirtualLoop


def pytest_asyncio_loop_factories(config, item):
    return {"virtual": VirtualLoop}
