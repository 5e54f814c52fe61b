"""Servers of the same answers under other conditions: more header fields, TLS, late, one each.

``python -m benchmarks.variants`` prints its ports and the certificate of its authority as JSON and
ends when its input does.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from functools import partial

import trustme

from benchmarks.answers import LATENCY
from benchmarks.processes import give_way, raise_descriptor_limit
from benchmarks.server import HOST, Canned, listen, until_input_ends

# With the type and the length of the body they are eleven.
FIELDS = (
    b"Server: nginx/1.24.0\r\n"
    b"Date: Mon, 15 Jan 2024 10:30:00 GMT\r\n"
    b"Connection: keep-alive\r\n"
    b"Cache-Control: private, no-cache\r\n"
    b"Vary: Origin\r\n"
    b'ETag: W/"2f4-Zx3mWqkQ8rJ0vYbJcH1t5n9uTfE"\r\n'
    b"Strict-Transport-Security: max-age=63072000; includeSubDomains\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
    b"X-Request-Id: 5f0c8a52-7d0e-4c69-9b52-6a1f3d0e8b77\r\n"
)


class Late(Canned):
    """Answers that are sent after a while."""

    def send(self, answers: bytes) -> None:
        asyncio.get_running_loop().call_later(LATENCY, self._send, answers)

    def _send(self, answers: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answers)


class Closing(Canned):
    """A server that closes each connection after one answer."""

    def __init__(self, nodes: int) -> None:
        super().__init__(nodes, b"Connection: close\r\n")

    def send(self, answers: bytes) -> None:
        self.transport.write(answers)
        self.transport.close()


async def _serve() -> None:
    give_way()
    raise_descriptor_limit()
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    authority.issue_cert(HOST).configure_cert(tls)
    told = {
        "fields": await listen(partial(Canned, 3, FIELDS)),
        "tls-3": await listen(partial(Canned, 3), tls),
        "tls-50": await listen(partial(Canned, 50), tls),
        "late": await listen(partial(Late, 3)),
        "closing": await listen(partial(Closing, 3), tls),
    }
    certificate = authority.cert_pem.bytes().decode()
    print(json.dumps(told | {"authority": certificate}), flush=True)
    await until_input_ends()


if __name__ == "__main__":
    asyncio.run(_serve())
