"""The command line brings its own event loops; where a test needs one, it runs in real time."""

import asyncio


def pytest_asyncio_loop_factories(config, item):
    return {"real": asyncio.new_event_loop}
