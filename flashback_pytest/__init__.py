"""A pytest plugin: a Flashback API on this machine for a test, and waits that end at once.

Nothing of ``flashback_async`` is imported before a test uses a fixture, so that a project that
measures its coverage sees no difference.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from flashback_async.sandbox import Sandbox

_MARKER = (
    "flashback(buckets=100, nodes=3, seed=0, strict=False, ...): the arguments of the Sandbox that "
    "the fixture flashback_sandbox starts; strict fails a test if a fault of a script never struck"
)
_FAILED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record whether a test has failed; if so, its faults had no chance to strike."""
    report = yield
    if call.when == "call":
        item.stash[_FAILED] = report.failed
    return report


@pytest.fixture
def flashback_sandbox(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sandbox]:
    """Serve a healthy sandbox on a thread; clients made without arguments use it."""
    options, strict = _options(request.node)
    with _serving(options) as sandbox:
        monkeypatch.setenv("FLASHBACK_TOKEN", sandbox.token)
        monkeypatch.setenv("FLASHBACK_BASE_URL", sandbox.base_url)
        monkeypatch.delenv("FLASHBACK_TOKEN_FILE", raising=False)
        yield sandbox
        if strict and not request.node.stash.get(_FAILED, False):
            for script in sandbox.scripts:
                script.check()


@pytest.fixture
def flashback_fast() -> Iterator[None]:
    """Let the SDK's own waits end at once, for every client that the test makes."""
    from flashback_async.testing import skip_waits

    with skip_waits():
        yield


def _options(node: pytest.Item) -> tuple[dict[str, Any], bool]:
    """Return the arguments of the sandbox that the markers of a test ask for, and ``strict``."""
    options: dict[str, Any] = {}
    # The nearest marker is the first, and the more special.
    for marker in reversed(list(node.iter_markers("flashback"))):
        if marker.args:
            pytest.fail("the marker flashback takes named arguments only", pytrace=False)
        options |= marker.kwargs
    strict = options.pop("strict", False)
    if not isinstance(strict, bool):
        pytest.fail(f"flashback: strict must be True or False, not {strict!r}", pytrace=False)
    if "churn" not in options:
        options.setdefault("healthy", True)
    return options, strict


def _serving(options: dict[str, Any]) -> Any:
    """Return a sandbox to enter; wrong options fail the test with their names."""
    from flashback_async.sandbox import Sandbox

    problem = ""
    try:
        Sandbox(**options)
    except (TypeError, ValueError) as error:
        problem = str(error)
    if problem:
        pytest.fail(f"the marker flashback: {problem}", pytrace=False)
    return Sandbox.in_thread(**options)
