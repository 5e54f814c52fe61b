"""The surroundings of every test: a plain environment, and a check for what it leaves behind."""

import asyncio
import gc
import logging
import os
import re
import signal
import weakref
from pathlib import Path

import aiohttp
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "default",
    max_examples=200,
    deadline=None,  # nothing is asserted about how long a thing takes on this machine
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("quick", settings.get_profile("default"), max_examples=50)
settings.register_profile("fuzz", settings.get_profile("default"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

_OURS = re.compile(
    r"FLASHBACK_.*|(https?|all|no|ws|wss|ftp)_proxy|PYTHONASYNCIODEBUG", re.IGNORECASE
)
_DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture(scope="session", autouse=True)
def _plain_environment():
    """Hide the token and the proxy that a developer may have set."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if _OURS.fullmatch(name)]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _heeded_interrupts():
    """Make this process, and those that tests start, receive Ctrl-C.

    A shell starts background jobs with SIGINT ignored, and their child processes inherit that.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def _known_connectors():
    """Record every connection pool that aiohttp makes, so that one left open can be named."""
    known = weakref.WeakSet()
    original = aiohttp.BaseConnector.__init__

    def remembered(self, *args, **kwargs):
        original(self, *args, **kwargs)
        known.add(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiohttp.BaseConnector, "__init__", remembered)
        yield known


@pytest.fixture(autouse=True)
def _plain_logging():
    """Restore the loggers, which the command line and import-linter configure."""
    logger = logging.getLogger("flashback_async")
    level, propagate, handlers = logger.level, logger.propagate, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.propagate, logger.handlers = propagate, handlers
    for known in logging.Logger.manager.loggerDict.values():
        if isinstance(known, logging.Logger):
            known.disabled = False


@pytest.fixture(autouse=True)
def _nothing_left(request):
    """Fail an asynchronous test that leaves a task, a connection or a session behind."""
    if request.node.get_closest_marker("asyncio") is not None:
        request.getfixturevalue("_watch")


@pytest.fixture
async def _watch(_known_connectors):
    loop = asyncio.get_running_loop()
    complaints = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    sockets = _open_sockets()
    yield
    own = asyncio.current_task()

    def left():
        yield from asyncio.all_tasks() - {own}
        yield from (c for c in _known_connectors if c._loop is loop and not c.closed)
        yield from _open_sockets() - sockets

    # Closed connections disappear a few loop iterations later, with TLS after an exchange.
    for turn in range(100):
        if not any(True for _ in left()):
            break
        if turn == 50:
            gc.collect()  # garbage is not left behind
        await asyncio.sleep(0 if turn < 10 else 0.01)
    remains = [str(thing) for thing in left()]
    assert not remains, f"left behind: {remains}"
    assert not complaints, f"the event loop complained: {complaints}"


def _open_sockets():
    """Return the names of this process's open sockets, as far as the system lists them."""
    found = set()
    if _DESCRIPTORS.is_dir():
        for entry in _DESCRIPTORS.iterdir():
            try:
                target = str(entry.readlink())
            except OSError:
                continue  # the descriptor that listed the folder
            if target.startswith("socket:"):
                found.add(target)
    return found
