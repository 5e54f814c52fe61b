"""The checks of an aiohttp session that the client borrows."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import hdrs

from flashback_async.api.urls import check_clear_text, environment_proxy
from flashback_async.errors import ConfigurationError, EventLoopError
from flashback_async.values import Secret


def check_session(
    session: object, base_url: str, proxy: Secret | None, *, allow_insecure_http: bool
) -> None:
    """Check a session that is to be borrowed, or None; ``proxy`` is the client's own.

    Raises:
        ConfigurationError: It is not a session, is closed, would replace the token, or would let a
            proxy read a token.
    """
    if session is None:
        return
    if not isinstance(session, aiohttp.ClientSession):
        kind = type(session).__name__
        raise ConfigurationError(f"session must be an aiohttp.ClientSession, not {kind}")
    if session.closed:
        raise ConfigurationError("session is closed")
    if session.auth is not None:
        raise ConfigurationError("session has a default auth, which would replace the token")
    proxy = proxy or default_proxy(session)
    # aiohttp sends the default headers of a session to such a proxy too, in clear text.
    if proxy is not None and hdrs.AUTHORIZATION in session.headers:
        raise ConfigurationError(
            "session has a default Authorization header, which aiohttp would show to the proxy; "
            "the client adds the token to its requests by itself"
        )
    if proxy is None and session.trust_env:
        proxy = environment_proxy(base_url)
    check_clear_text(base_url, proxy, allow_insecure_http=allow_insecure_http)


def default_proxy(session: aiohttp.ClientSession | None) -> Secret | None:
    """Return the proxy that a session was made with."""
    proxy = getattr(session, "_default_proxy", None)  # aiohttp has no public name for it
    return None if proxy is None else Secret(str(proxy))


def capacity(session: aiohttp.ClientSession | None, wanted: int) -> int:
    """Return how many of the wanted requests a borrowed session has connections for at once.

    A request that waits for a connection inside aiohttp uses up its connect timeout.
    """
    connector = None if session is None else session.connector
    if connector is None:
        return wanted
    return min(wanted, connector.limit or wanted, connector.limit_per_host or wanted)


def check_loop(session: aiohttp.ClientSession) -> None:
    """Check that a borrowed session was made in the running loop: in another it would hang.

    Raises:
        EventLoopError: It was not.
    """
    loop = getattr(session, "_loop", None)  # aiohttp has deprecated the public property
    if loop is not None and loop is not asyncio.get_running_loop():
        raise EventLoopError("the borrowed session belongs to another event loop")
