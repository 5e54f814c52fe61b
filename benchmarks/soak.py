"""``python -m benchmarks.soak``: poll a server that fails at times, and check that nothing leaks.

Every key must have exactly one outcome, with its own answer. Memory must stay flat, and tasks and
descriptors must be as many afterwards as before. It exits with 1 if any of these checks fails.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import time
from collections import Counter
from collections.abc import Iterator

import attrs
import psutil  # type: ignore[import-untyped] # it has no types
from attrs import field

from benchmarks.answers import TOKEN, bucket_id
from benchmarks.processes import free_a_large_block, resident, server
from flashback_async import BucketStatus, FlashbackClient, Outcome

_MIB = 2**20
_GROWTH = 8 * _MIB
_SUCCESS = 0.999
_FAULTS = 0.05
_SAMPLE = 500  # outcomes between two measurements of memory


@attrs.define
class Soak:
    """The observations of a soak."""

    keys: int
    seconds: float = 0.0
    asked: int = 0  # keys that the run has read; fewer than ``keys`` if time ran out
    outcomes: Counter[str] = field(factory=Counter)
    repeated: int = 0
    mistaken: int = 0  # answers that belong to another key
    start: int = 0  # resident bytes: after the warm-up, at most, at the end
    peak: int = 0
    end: int = 0
    tasks: tuple[int, int] = (0, 0)  # before and after
    descriptors: tuple[int, int] = (0, 0)
    served: dict[str, int] = field(factory=dict)
    _times: Counter[int] = field(factory=Counter)
    _seen: bytearray = field(factory=bytearray)

    def __attrs_post_init__(self) -> None:
        # Written once, so that all its pages exist before memory is measured.
        self._seen = bytearray(b"\1") * self.keys
        self._seen[:] = bytes(self.keys)

    def keys_until(self, ends: float) -> Iterator[str]:
        """Yield keys as long as there is time."""
        while self.asked < self.keys and time.monotonic() < ends:
            self.asked += 1
            yield bucket_id(self.asked - 1)

    def take(self, outcome: Outcome[str, BucketStatus]) -> None:
        self.repeated += self._seen[outcome.index]
        self._seen[outcome.index] = 1
        own = outcome.key == bucket_id(outcome.index)
        if outcome.value is not None:
            own = own and outcome.value.bucket_id == outcome.key and len(outcome.value.nodes) == 3
        self.mistaken += not own
        self.outcomes["ok" if outcome.error is None else type(outcome.error).__name__] += 1
        self._times[_bin(outcome.elapsed)] += 1

    def problems(self) -> list[str]:
        """Return the promises that were broken."""
        grown = self.peak - self.start
        unseen = self.asked - sum(self._seen)
        found = {
            f"time was up after {self.asked:,} of {self.keys:,} keys": self.asked < self.keys,
            f"{unseen:,} keys had no outcome": unseen != 0,
            f"{self.repeated:,} outcomes came twice": self.repeated != 0,
            f"{self.mistaken:,} outcomes are of other keys": self.mistaken != 0,
            f"only {self.share:.4%} succeeded": self.share < _SUCCESS,
            f"memory grew by {grown / _MIB:.1f} MiB": grown > _GROWTH,
            f"tasks before and after: {self.tasks}": len(set(self.tasks)) > 1,
            f"descriptors before and after: {self.descriptors}": len(set(self.descriptors)) > 1,
        }
        return [problem for problem, is_so in found.items() if is_so]

    @property
    def share(self) -> float:
        return self.outcomes["ok"] / max(1, self.outcomes.total())

    def report(self) -> str:
        faults = {kind: n for kind, n in self.served.items() if kind != "requests"}
        lines = {
            "keys": f"{self.asked:,}, {self.share:.4%} ok",
            "requests": f"{self.served.get('requests', 0):,}",
            "seconds": f"{self.seconds:,.1f}, {self.asked / self.seconds:,.0f} keys a second",
            "latency": f"p50 {self.percentile(50):.1f} ms, p99 {self.percentile(99):.1f} ms",
            "resident": f"{self.start / _MIB:.1f} MiB after the warm-up, "
            f"at most {self.peak / _MIB:.1f}, at the end {self.end / _MIB:.1f}",
            "outcomes": _counted(self.outcomes),
            "faults": f"{sum(faults.values()):,}: {_counted(Counter(faults))}",
        }
        return "\n".join(f"{name:<10}{text}" for name, text in lines.items())

    def percentile(self, share: int) -> float:
        """Return the milliseconds that this share of the keys did not exceed, to some percent."""
        left = math.ceil(self._times.total() * share / 100)
        for place in sorted(self._times):
            left -= self._times[place]
            if left <= 0:
                return 1.02**place * 1e-3
        return math.nan


def _bin(seconds: float) -> int:
    """Return the bin of a duration; each is 2 % wider than the one before."""
    return math.ceil(math.log(max(seconds, 1e-6) * 1e6, 1.02))


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.most_common())


async def poll(soak: Soak, port: int, minutes: float) -> None:
    """Poll every key once with a client of default settings."""
    descriptors, tasks = _descriptors(), len(asyncio.all_tasks())
    began = time.monotonic()
    warm_up = min(20_000, soak.keys // 4)
    async with FlashbackClient(TOKEN, base_url=f"http://127.0.0.1:{port}") as client:
        keys = soak.keys_until(began + minutes * 60)
        async for outcome in client.status.iter_many(keys):
            soak.take(outcome)
            done = soak.outcomes.total()
            if done == warm_up:
                gc.collect()
                soak.start = soak.peak = resident()
            elif done > warm_up and done % _SAMPLE == 0:
                soak.peak = max(soak.peak, resident())
    soak.seconds = time.monotonic() - began
    gc.collect()
    soak.end = resident()
    soak.peak = max(soak.peak, soak.end)
    soak.tasks = tasks, len(asyncio.all_tasks())
    soak.descriptors = descriptors, _descriptors()


def _descriptors() -> int:
    open_now: int = psutil.Process().num_fds()
    return open_now


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000, help="keys to poll")
    parser.add_argument("--minutes", type=float, default=15, help="give up after so many")
    parser.add_argument("--seed", type=int, default=1, help="of the faults")
    arguments = parser.parse_args()
    free_a_large_block()
    soak = Soak(arguments.requests)
    with server("benchmarks.faulty", str(arguments.seed), str(_FAULTS)) as faulty:
        asyncio.run(poll(soak, faulty.told["port"], arguments.minutes))
    soak.served = faulty.said
    print(soak.report())
    problems = soak.problems()
    for problem in problems:
        print(f"BROKEN    {problem}")
    raise SystemExit(1 if problems else 0)


if __name__ == "__main__":
    main()
