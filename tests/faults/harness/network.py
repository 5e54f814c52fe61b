"""Faults below TLS: of names, addresses and sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

Outcome = OSError | list[str] | None


class FakeResolver:
    """A stand-in for the DNS lookup of the running loop, for the life of the loop.

    Each lookup takes the next outcome: the addresses, an error to raise, or None for a lookup
    that never ends. After the last outcome every name is 127.0.0.1.
    """

    def __init__(self, *outcomes: Outcome) -> None:
        self.names: list[str] = []
        self.cancelled = 0
        self._outcomes = list(outcomes)
        asyncio.get_running_loop().getaddrinfo = self._look_up

    async def _look_up(self, host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        self.names.append(host)
        outcome = self._outcomes.pop(0) if self._outcomes else ["127.0.0.1"]
        if isinstance(outcome, OSError):
            raise outcome
        if outcome is None:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled += 1
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for address in outcome or []
        ]


@contextlib.contextmanager
def full_backlog(host: str, port: int = 0) -> Iterator[int]:
    """Yield the port of a listening socket whose full backlog takes no further connection."""
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(socket.socket())
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        busy.bind((host, port))
        busy.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(busy.getsockname())
        yield busy.getsockname()[1]


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Leave this process no free file descriptor."""
    resource = pytest.importorskip("resource")
    taken: list[int] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.dup(0)
    os.close(probe)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (probe + 1, hard))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


def record_sockets() -> list[socket.socket]:
    """Record every socket that the running loop connects from now on."""
    kept: list[socket.socket] = []
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def recorded(sock: socket.socket, address: object) -> None:
        kept.append(sock)
        await connect(sock, address)

    loop.sock_connect = recorded
    return kept


def need_descriptors(count: int) -> None:
    """Raise this process's limit on open files if it is lower; skip the test if that fails."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < count:
        pytest.skip(f"needs {count} descriptors, at most {hard} are allowed")
    if 0 <= soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
