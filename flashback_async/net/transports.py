"""The choice between the transports."""

from __future__ import annotations

import ssl
from functools import partial
from typing import get_args

import aiohttp

from flashback_async.config import TransportName
from flashback_async.errors import ConfigurationError, show
from flashback_async.net.aiohttp_transport import AiohttpTransport
from flashback_async.net.connecting import default_context
from flashback_async.net.direct import DirectTransport
from flashback_async.net.headers import own_headers
from flashback_async.net.reader import LIBRARY
from flashback_async.values import Secret, TransportFactory

_KNOWN = get_args(TransportName)
# What "auto" is where it can serve.
_PREFERRED: TransportName = "direct"


def transport_factory(
    wanted: TransportName,
    base_url: str,
    *,
    longest_lookup: float,
    max_response_bytes: int,
    proxy: Secret | None,
    ssl_context: ssl.SSLContext | None,
    session: aiohttp.ClientSession | None,
) -> TransportFactory:
    """Return what makes the transport of each event loop.

    The headers and the default certificates are read now, because later the process may be out of
    descriptors.

    Raises:
        ConfigurationError: There is no such transport, or it cannot do what is asked.
    """
    if wanted not in _KNOWN:
        raise ConfigurationError(
            f"transport must be one of {', '.join(_KNOWN)}, not {show(wanted)}"
        )
    needs_aiohttp = "a borrowed session" if session is not None else "a proxy" if proxy else None
    if wanted == "direct" and needs_aiohttp is not None:
        raise ConfigurationError(f"transport='direct' does not work with {needs_aiohttp}")
    if wanted == "auto":
        wanted = "aiohttp" if needs_aiohttp is not None else _PREFERRED
    if wanted == "aiohttp":
        return partial(
            AiohttpTransport,
            base_url,
            headers=own_headers("aiohttp", aiohttp.__version__),
            longest_lookup=longest_lookup,
            max_response_bytes=max_response_bytes,
            proxy=proxy,
            ssl_context=ssl_context,
            session=session,
        )
    if ssl_context is None and base_url.startswith("https:"):
        ssl_context = default_context()
    return partial(
        DirectTransport,
        base_url,
        headers=own_headers(*LIBRARY),
        longest_lookup=longest_lookup,
        max_response_bytes=max_response_bytes,
        ssl_context=ssl_context,
    )
