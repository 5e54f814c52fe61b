"""Property tests run in virtual time, as the unit tests do."""

from benchmarks.virtual_time import VirtualLoop


def pytest_asyncio_loop_factories(config, item):
    return {"virtual": VirtualLoop}
