"""The command line brings its own event loops; a test that needs one runs in real time."""

import asyncio


def pytest_asyncio_loop_factories(config, item):
    return {"real": asyncio.new_event_loop}
