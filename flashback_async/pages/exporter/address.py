"""The address that a server listens on, as text."""

from __future__ import annotations

import re
from typing import NamedTuple, Self

from flashback_async import InvalidArgumentError

_FORM = re.compile(r"(?:\[([^\[\]\s]+)\]|([^:\[\]/@\s]+)):([0-9]{1,5})")
_MOST = 65_535


class Address(NamedTuple):
    """A host, which is a name or an IP address, and a port; port 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address that a text names.

        Raises:
            InvalidArgumentError: It names none; the message begins with "listen".
        """
        if text.startswith("*:"):
            rule = "must name its host: 0.0.0.0 is every IPv4 address, [::] every IPv6 address"
            raise InvalidArgumentError(f"listen {rule}; not {text!a}")
        found = _FORM.fullmatch(text)
        if found is None:
            rule = "must be HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464"
            raise InvalidArgumentError(f"listen {rule}, not {text!a}")
        port = int(found[3])
        if port > _MOST:
            raise InvalidArgumentError(f"listen must have a port from 0 to {_MOST}, not {port}")
        return cls(found[1] or found[2], port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
