"""Which shard goes to which worker, and at which rate. It knows no Dask and never waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from flashback_async.dask.keys import Shard

AnyShard = Shard[Any]

MOST_STRIKES = 4
_NOTABLE = 1.01  # a part of the rate that has grown by less is not worth a message


class Place(NamedTuple):
    """Where a shard may go now.

    ``shard`` is one that goes out again; None stands for new keys. ``share`` is the worker's part
    of the rate, in requests a second.
    """

    worker: str
    shard: AnyShard | None
    share: float | None


class Placement:
    """The workers of a run with the shards that each has, and the shards that wait to go again.

    A shard whose worker was lost is a suspect: it may be what brings workers down. It goes out
    alone, so that the next loss is the fault of no other shard.

    Attributes:
        workers_lost: How many workers were lost.
        again: How many shards had to be sent again.
    """

    def __init__(self, ahead: int, rate: float | None) -> None:
        self._condemned: list[AnyShard] = []
        self.workers_lost = 0
        self.again = 0
        self._ahead = ahead
        self._rate = rate
        self._out: dict[str, list[AnyShard]] = {}
        self._unfit: set[str] = set()
        self._shares: dict[str, float] = {}
        self._suspects: deque[AnyShard] = deque()
        self._returned: deque[AnyShard] = deque()

    @property
    def workers(self) -> int:
        """How many workers take part."""
        return len(self._out) - len(self._unfit)

    @property
    def is_idle(self) -> bool:
        """Whether no shard is out, and none waits to go again."""
        return not (self._suspects or self._returned or any(self._out.values()))

    @property
    def waits(self) -> bool:
        """Whether a shard waits to go again."""
        return bool(self._suspects or self._returned)

    def saw(self, workers: Collection[str]) -> None:
        """Record which workers there are; the shards of those that are gone are suspects."""
        for worker in self._out.keys() - set(workers):
            shards = self._out.pop(worker)
            self._unfit.discard(worker)
            self._shares.pop(worker, None)
            self.workers_lost += 1
            for shard in shards:
                self._strike(shard)
        for worker in workers:
            self._out.setdefault(worker, [])

    def has(self, worker: str, shard: AnyShard) -> bool:
        """Return whether a worker still has a shard to answer."""
        return shard in self._out.get(worker, ())

    def sent(self, worker: str, shard: AnyShard, share: float | None) -> None:
        """Record that a worker got a shard."""
        self._out[worker].append(shard)
        if share is not None:
            self._shares[worker] = share

    def done(self, worker: str, shard: AnyShard) -> None:
        """Record that a shard was answered."""
        self._out[worker].remove(shard)

    def failed(self, worker: str, shard: AnyShard) -> None:
        """Record that a shard was lost, perhaps with its worker."""
        self.done(worker, shard)
        self._strike(shard)

    def refused(self, worker: str, shard: AnyShard) -> None:
        """Record that a worker cannot poll; it gets nothing more."""
        self.done(worker, shard)
        self._unfit.add(worker)
        self._returned.append(shard)
        self.again += 1

    def take_condemned(self) -> list[AnyShard]:
        """Return the shards that brought down too many workers, and forget them."""
        condemned, self._condemned = self._condemned, []
        return condemned

    def take_all(self) -> list[AnyShard]:
        """Return every shard without an answer, and forget them, because the run ends."""
        shards = [*self.sent_out(), *self._suspects, *self._returned]
        self._suspects.clear()
        self._returned.clear()
        for out in self._out.values():
            out.clear()
        return sorted(shards, key=lambda shard: shard.places[0][0])

    def take_waiting(self) -> list[AnyShard]:
        """Return the shards that wait to go again, and forget them."""
        shards = [*self._suspects, *self._returned]
        self._suspects.clear()
        self._returned.clear()
        return shards

    def sent_out(self) -> Iterator[AnyShard]:
        """Return the shards that workers have."""
        return (shard for shards in self._out.values() for shard in shards)

    def next_place(self) -> Place | None:
        """Return where the next shard may go; None if no worker may get one now."""
        fit = [worker for worker in self._out if worker not in self._unfit]
        fit.sort(key=lambda worker: len(self._out[worker]))
        if self._suspects and fit and not self._out[fit[0]]:
            share = self._share(fit[0], len(fit))
            if share is None or share > 0:
                return Place(fit[0], self._suspects.popleft(), share)
        # Those with the least to do are left to become idle, for the suspects.
        for worker in fit[len(self._suspects) :]:
            if len(self._out[worker]) >= self._ahead or any(s.strikes for s in self._out[worker]):
                continue
            share = self._share(worker, len(fit))
            if share is None or share > 0:
                shard = self._returned.popleft() if self._returned else None
                return Place(worker, shard, share)
        return None

    def take_raises(self) -> list[tuple[str, float]]:
        """Return the workers whose part of the rate has grown, each with it, as if it were sent.

        A worker without a shard gets its part with the next one.
        """
        fit = [worker for worker in self._out if worker not in self._unfit]
        raises = []
        for worker in fit:
            share = self._share(worker, len(fit)) if self._out[worker] else None
            if share is not None and share > self._shares.get(worker, share) * _NOTABLE:
                self._shares[worker] = share
                raises.append((worker, share))
        return raises

    def _share(self, worker: str, workers: int) -> float | None:
        """Return a worker's part of the rate; 0 if others still have too much of it.

        A worker keeps the figure of its last shard. So one that comes late waits until the
        others have been sent a lower one, within their next shards.
        """
        if self._rate is None:
            return None
        fair = self._rate / workers
        others = sum(
            share
            for other, share in self._shares.items()
            if other != worker and self._out.get(other)
        )
        share = min(fair, self._rate - others)
        return share if share >= fair / 2 else 0.0

    def _strike(self, shard: AnyShard) -> None:
        shard.strikes += 1
        if shard.strikes >= MOST_STRIKES:
            self._condemned.append(shard)
        else:
            self._suspects.append(shard)
            self.again += 1
