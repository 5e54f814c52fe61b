"""The cost of decoding without a request, and the cost of an import."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.answers import bucket_id, bucket_ids, stats_body, status_parts
from benchmarks.models import StatsList, Status, converter
from benchmarks.processes import ROOT
from flashback_async.api.stats import decode_stats
from flashback_async.api.wire import decode_status

_BLOCK = 0.004  # seconds of json.loads in a block
_NODES = (3, 50, 500)
_STATS = (100, 10_000)

IMPORTS = {
    "nothing": "pass",
    "aiohttp": "import aiohttp",
    "httpx": "import httpx",
    "flashback_async": "import flashback_async",
    "FlashbackClient": "from flashback_async import FlashbackClient",
}


def decode(rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the CPU microseconds per answer of each decoder in every round, for each size."""
    bucket = bucket_id(7)
    results = {}
    for nodes in _NODES:
        before, after = status_parts(nodes)
        results[f"status-{nodes}"] = _compare(
            before + bucket.encode() + after,
            {
                "json.loads": json.loads,
                "json + cattrs": lambda body: converter.structure(json.loads(body), Status),
                "this SDK": lambda body: decode_status(body, bucket),
            },
            rounds,
        )
    for items in _STATS:
        results[f"stats-{items}"] = _compare(
            stats_body(i.encode() for i in bucket_ids(items)),
            {
                "json.loads": json.loads,
                "json + cattrs": lambda body: converter.structure(json.loads(body), StatsList),
                "this SDK": decode_stats,
            },
            rounds,
        )
    return results


def _compare(
    body: bytes, decoders: dict[str, Callable[[bytes], object]], rounds: int
) -> dict[str, list[float]]:
    repeats = max(1, round(_BLOCK / _time(json.loads, body, 20) * 1e6))
    order = list(decoders)
    costs: dict[str, list[float]] = {name: [] for name in order}
    for number in range(rounds + 2):
        gc.collect()
        first = number % len(order)
        for name in order[first:] + order[:first]:
            cost = _time(decoders[name], body, repeats)
            if number >= 2:
                costs[name].append(cost)
    return costs


def _time(decoder: Callable[[bytes], object], body: bytes, repeats: int) -> float:
    began = time.process_time()
    for _ in range(repeats):
        decoder(body)
    return (time.process_time() - began) / repeats * 1e6


def imports(rounds: int) -> dict[str, list[float]]:
    """Return the CPU milliseconds of a fresh interpreter that imports each, in every round."""
    import resource

    costs: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for number in range(rounds + 1):
        for name, code in IMPORTS.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if number:  # the first round fills the caches
                used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
                costs[name].append(used * 1e3)
    return costs
