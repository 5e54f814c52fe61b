"""A certificate authority that the test clients trust, and servers with faulty certificates."""

from __future__ import annotations

import socket
import ssl
import threading
import warnings
from datetime import UTC, datetime
from functools import cache

import trustme

_NAMES = ("127.0.0.1", "localhost", "api.localhost")


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


@cache
def server(*names: str, expires: datetime | None = None) -> ssl.SSLContext:
    """Return the context of a server that the clients trust, by default for loopback."""
    leaf = _authority().issue_cert(*(names or _NAMES), not_after=expires)
    return _context(leaf)


def expired() -> ssl.SSLContext:
    return server(expires=datetime(2020, 1, 1, tzinfo=UTC))


@cache
def unknown() -> ssl.SSLContext:
    """Return the context of a server whose authority nobody knows."""
    return _context(trustme.CA().issue_cert(*_NAMES))


@cache
def client() -> ssl.SSLContext:
    context = ssl.create_default_context()
    _authority().configure_trust(context)
    return context


def _context(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


@cache
def self_signed() -> ssl.SSLContext:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with trustme.Blob(
        authority.private_key_pem.bytes() + authority.cert_pem.bytes()
    ).tempfile() as path:
        context.load_cert_chain(path)
    return context


@cache
def outdated() -> ssl.SSLContext:
    """Return the context of a server that supports nothing newer than TLS 1.1."""
    context = _context(_authority().issue_cert(*_NAMES))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@cache
def wants_certificate() -> ssl.SSLContext:
    """Return the context of a server that requires a client certificate."""
    context = _context(_authority().issue_cert(*_NAMES))
    _authority().configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


class PickyServer:
    """A server in a thread that rejects clients without a certificate with a TLS alert.

    asyncio's own servers close the connection without one.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                conn, _ = self._listener.accept()
            except OSError:
                return
            with conn:
                raw, ours = ssl.MemoryBIO(), ssl.MemoryBIO()
                handshake = wants_certificate().wrap_bio(raw, ours, server_side=True)
                refused = False
                while not refused:
                    try:
                        handshake.do_handshake()
                    except ssl.SSLWantReadError:
                        pass
                    except ssl.SSLError:
                        refused = True
                    conn.sendall(ours.read())
                    if not refused:
                        raw.write(conn.recv(2**16))
                conn.shutdown(socket.SHUT_WR)
                while conn.recv(2**16):  # so that no reset discards the alert
                    pass

    def close(self) -> None:
        """Stop listening, and wait for the thread."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
