"""New connections: the DNS lookup, TCP to whichever address answers first, and TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import TypeVar
from urllib.parse import urlsplit

import aiohappyeyeballs

from flashback_async.endings import all_ended
from flashback_async.errors import ConnectError
from flashback_async.net import failures
from flashback_async.net.failures import Route
from flashback_async.values import NoAnswer

P = TypeVar("P", bound=asyncio.Protocol)
Addresses = Sequence[aiohappyeyeballs.AddrInfoType]

_LOOKUP_KEPT = 10.0  # seconds
_NEXT_ADDRESS_AFTER = 0.25  # seconds until the next address is tried as well, as RFC 8305 has it
# Seconds by which asyncio's own limit on a handshake exceeds ours, which names what was slow.
_LATER = 60.0


@cache
def default_context() -> ssl.SSLContext:
    """Return the context of all clients that have none of their own; the first time takes 20 ms."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Connector:
    """A maker of connections to one origin, in one event loop."""

    def __init__(
        self, base_url: str, route: Route, ssl_context: ssl.SSLContext | None, longest_lookup: float
    ) -> None:
        parts = urlsplit(base_url)
        host = parts.hostname or ""
        self._route = route
        self._server_name = host.rstrip(".")
        self._ssl = ssl_context if route.is_https else None
        self._lookups = Lookups(host, parts.port or (443 if route.is_https else 80), longest_lookup)

    async def connect(self, make_protocol: Callable[[], P], limit: float) -> P | NoAnswer:
        """Return the protocol of a new connection, which takes at most ``limit`` seconds."""
        route = self._route
        try:
            async with asyncio.timeout(limit):
                addresses = await self._lookups.addresses()
                return await self._connect_to(addresses, make_protocol, limit)
        except socket.gaierror as error:
            return failures.not_resolved(error, route.peer)
        except (OSError, RuntimeError) as error:  # uvloop may raise a RuntimeError
            if isinstance(error, TimeoutError) and error.errno is None:  # not the system's own
                return failures.connect_timed_out(limit, route)
            cause = error if isinstance(error, OSError) else OSError(str(error))
            return failures.not_connected(cause, route)

    async def close(self) -> None:
        await self._lookups.close()

    async def _connect_to(
        self, addresses: Addresses, make_protocol: Callable[[], P], limit: float
    ) -> P | NoAnswer:
        loop = asyncio.get_running_loop()
        connected = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_NEXT_ADDRESS_AFTER, loop=loop
        )
        if self._ssl is None:
            _, protocol = await loop.create_connection(make_protocol, sock=connected)
            return protocol
        transport, protocol = await loop.create_connection(
            make_protocol,
            sock=connected,
            ssl=self._ssl,
            server_hostname=self._server_name,
            ssl_handshake_timeout=limit + _LATER,
        )
        spoken = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        if spoken in (None, "http/1.1"):
            return protocol
        transport.abort()
        text = f"the TLS handshake with {self._route.peer} failed: the server chose {spoken}"
        return NoAnswer(ConnectError(text))


class Lookups:
    """The addresses of a host, looked up once for all connections of some seconds."""

    def __init__(self, host: str, port: int, longest: float) -> None:
        self._host = host
        self._port = port
        self._longest = longest
        self._found: list[aiohappyeyeballs.AddrInfoType] = []
        self._found_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._waiting = 0

    async def addresses(self) -> Addresses:
        """Return the addresses, each time with another one in front, to spread connections.

        Raises:
            OSError: The name cannot be resolved.
            TimeoutError: The lookup takes too long.
        """
        loop = asyncio.get_running_loop()
        if not self._found or loop.time() - self._found_at > _LOOKUP_KEPT:
            await self._look_up()
        found = self._found[:]
        self._found.append(self._found.pop(0))
        return found

    async def _look_up(self) -> None:
        """Wait for the lookup that is under way, or for a new one."""
        with suppress(OSError):  # the host is an address
            self._keep(_address_infos(self._host, self._port))
            return
        task = self._task
        if task is None or task.done() or task.cancelling():
            task = self._task = asyncio.create_task(self._resolve())
        self._waiting += 1
        try:
            await asyncio.shield(task)
        finally:
            self._waiting -= 1
            if not self._waiting:
                task.cancel()

    async def _resolve(self) -> None:
        async with asyncio.timeout(self._longest):
            self._keep(await resolve(self._host, self._port))

    def _keep(self, found: Addresses) -> None:
        self._found = list(found)
        self._found_at = asyncio.get_running_loop().time()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await all_ended([self._task])


def _address_infos(host: str, port: int) -> Addresses:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)


async def resolve(host: str, port: int) -> Addresses:
    """Return what the resolver of the event loop knows about a host.

    Raises:
        OSError: It knows nothing.
    """
    loop = asyncio.get_running_loop()
    flags = socket.AI_ADDRCONFIG
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from None
    if not found:
        raise socket.gaierror(socket.EAI_NONAME, "the resolver knows no address")
    return found
