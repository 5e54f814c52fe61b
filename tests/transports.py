"""Tests over each transport, wherever their clients have the choice."""

from __future__ import annotations

import pytest

from tests import inside


def run_over_both(metafunc: pytest.Metafunc, *, quick: bool) -> None:
    """Run a test over each transport; unless ``quick``, over aiohttp in the whole run only."""
    marks = () if quick else (pytest.mark.slow,)
    metafunc.fixturenames.append("transport")
    metafunc.parametrize(
        "transport", ["direct", pytest.param("aiohttp", marks=marks)], indirect=True
    )


@pytest.fixture
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let clients that have the choice take this transport."""
    inside.prefer_transport(monkeypatch, request.param)
    return request.param
