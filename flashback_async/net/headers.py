"""The headers that every request has, all but the token."""

from __future__ import annotations

import platform
from functools import cache

from flashback_async._version import __version__


@cache
def own_headers(library: str, version: str) -> dict[str, str]:
    """Return the headers of every request, sent with this version of an HTTP library."""
    ours, python, theirs = (
        ".".join(text.split(".")[:2]) for text in (__version__, platform.python_version(), version)
    )
    return {
        "Accept": "application/json",
        # Explicit, so that packages installed beside aiohttp do not change it.
        "Accept-Encoding": "gzip, deflate",
        "User-Agent": f"flashback-async/{ours} Python/{python} {library}/{theirs}",
    }
