"""A status server that fails at times, in its own process; the soak test polls it.

``python -m benchmarks.faulty SEED SHARE`` prints its port as JSON, ends when its input does, and
says then how many requests it saw and what it did to them.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial

from benchmarks.answers import status_parts
from benchmarks.processes import raise_descriptor_limit
from benchmarks.server import Requests, bucket_of, listen, until_input_ends, with_head

_BEFORE, _AFTER = status_parts(3)
_LENGTH = len(_BEFORE) + 36 + len(_AFTER)
_BUSY = b'{"success":false,"message":"Service temporarily unavailable"}'
_THROTTLED = b'{"success":false,"message":"Too many requests"}'
_PAUSE = 0.05  # seconds of the Retry-After of a 429


class Faulty(Requests):
    """A protocol that answers with a status, or fails in one of the ways in which networks fail."""

    def __init__(self, chance: random.Random, share: float, seen: Counter[str]) -> None:
        super().__init__()
        self._chance = chance
        self._share = share
        self._seen = seen

    def answer(self, method: bytes, target: bytes) -> bytes:
        self._seen["requests"] += 1
        whole = with_head(_BEFORE, _LENGTH) + bucket_of(target) + _AFTER
        if self._chance.random() >= self._share:
            return whole
        (kind,) = self._chance.choices(_KINDS, _WEIGHTS)
        self._seen[kind.__name__] += 1
        return kind(self, whole)

    def busy(self, whole: bytes) -> bytes:
        """Send a 503 without `Retry-After`."""
        return _refusal(b"503 Service Unavailable", _BUSY)

    def throttled(self, whole: bytes) -> bytes:
        """Send a 429, the first time with a pause."""
        is_first = self._seen["throttled"] == 1
        pause = b"Retry-After: %g\r\n" % _PAUSE if is_first else b""
        return _refusal(b"429 Too Many Requests", _THROTTLED, pause)

    def reset_before(self, whole: bytes) -> bytes:
        """Reset the connection instead of answering."""
        self._reset()
        return b""

    def reset_within(self, whole: bytes) -> bytes:
        """Reset the connection in the middle of the body."""
        self.transport.write(whole[: -len(_AFTER) // 2])
        self._later(self._reset)
        return b""

    def truncated(self, whole: bytes) -> bytes:
        """Close the connection in the middle of the body."""
        self._later(self.transport.close)
        return whole[: -len(_AFTER) // 2]

    def slow(self, whole: bytes) -> bytes:
        """Send the right answer a few milliseconds late."""
        self._later(partial(self.transport.write, whole))
        return b""

    def stale(self, whole: bytes) -> bytes:
        """Send the right answer, and close the connection soon after, idle or in use again."""
        self._later(self.transport.close)
        return whole

    def _later(self, action: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(self._chance.uniform(0, 0.008), action)

    def _reset(self) -> None:
        sock: socket.socket | None = self.transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


# A 429 is rare and names a time only once: a client takes each that does for a limit, and slows
# down for a while.
_SHARES: dict[Callable[[Faulty, bytes], bytes], int] = {
    Faulty.busy: 20,
    Faulty.reset_before: 16,
    Faulty.reset_within: 16,
    Faulty.truncated: 16,
    Faulty.slow: 16,
    Faulty.stale: 15,
    Faulty.throttled: 1,
}
_KINDS, _WEIGHTS = list(_SHARES), list(_SHARES.values())


def _refusal(status: bytes, body: bytes, more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"
    return head % (status, more, len(body)) + body


async def _serve(seed: int, share: float) -> None:
    raise_descriptor_limit()
    seen: Counter[str] = Counter()
    port = await listen(partial(Faulty, random.Random(seed), share, seen))
    print(json.dumps({"port": port}), flush=True)
    await until_input_ends()
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
