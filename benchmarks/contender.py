"""What every way to make the calls has in common."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, ClassVar, Self

Take = Callable[[Any], object]


class Contender(ABC):
    """One way to make the calls. ``take`` receives each result as soon as a user would have it.

    ``authority`` is the certificate, in PEM, of the only authority that is trusted over TLS.
    """

    name: ClassVar[str]

    def __init__(self, url: str, concurrency: int, authority: str = "") -> None:
        self.url = url
        self.concurrency = concurrency
        self.authority = authority
        self.tls = ssl.create_default_context(cadata=authority) if authority else None

    async def __aenter__(self) -> Self:
        return self

    @abstractmethod
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None: ...

    @abstractmethod
    async def status(self, bucket_id: str) -> object:
        """Get the status of one bucket."""

    @abstractmethod
    async def statuses(self, ids: Iterable[str], take: Take) -> None:
        """Get the status of many buckets."""

    @abstractmethod
    async def node_stats(self, ids: Iterable[str], take: Take) -> None:
        """Get the node statistics of many buckets for one day."""

    @abstractmethod
    async def stats(self, lists: Iterable[Sequence[str]], take: Take) -> None:
        """Get the totals of many lists of buckets."""
