"""What the dashboard refuses, and the headers that keep its page to itself.

Every site that a user visits may send requests to this machine, and a name that its owner lets
lead here makes that site the origin of the page. So only names of this machine are answered.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# With any port: the other end of an SSH tunnel may have another one.
_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{0,5})?", re.IGNORECASE | re.ASCII)
_CLOSED = "default-src 'none'; frame-ancestors 'none'"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _CLOSED,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@web.middleware
async def refuse_strangers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer only what a page of this machine, or a program on it, asks for."""
    if request.method not in ("GET", "HEAD"):
        raise web.HTTPMethodNotAllowed(request.method, ["GET", "HEAD"])
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise web.HTTPMisdirectedRequest(text="Ask for 127.0.0.1 or localhost.\n")
    # Another site could not read the answer, but could take the places of the viewers.
    # Its browser may tell of it by either header.
    if any(not _is_own(origin, hosts[0]) for origin in request.headers.getall("Origin", [])):
        raise web.HTTPForbidden(text="This is not for other sites.\n")
    is_embedded = request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate"
    if is_embedded and request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        raise web.HTTPForbidden(text="This is not for other sites.\n")
    return await handler(request)


def _is_own(origin: str, host: str) -> bool:
    """Return whether a page of this address made the request; a host may end with a colon."""
    scheme, _, site = origin.lower().partition("://")
    return scheme in ("http", "https") and site == host.lower().removesuffix(":")


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Add the headers of every response that has none of its own."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


def policy(nonce: str) -> str:
    """Return the content security policy of the page, whose script and style have a nonce."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
        "connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
