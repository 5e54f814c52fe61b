"""The memory that many keys need, and the throughput that a second process adds."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from benchmarks.answers import TOKEN, bucket_ids
from benchmarks.measure import Ports
from benchmarks.processes import ROOT, free_a_large_block, resident, run
from flashback_async import FlashbackClient, fan_out

_MIB = 2**20


def growth_of_fan_out(keys: int) -> dict[str, float]:
    """Return the MiB by which a run over many keys grows if its function does nothing."""

    async def nothing(key: int) -> None:
        return None

    async def main() -> dict[str, float]:
        async for _ in fan_out(nothing, range(20_000)):
            pass
        start, peak, seen = resident(), 0, 0
        began = time.process_time()
        async for _ in fan_out(nothing, range(keys)):
            seen += 1
            if seen % 20_000 == 0:
                peak = max(peak, resident())
        used = time.process_time() - began
        assert seen == keys
        return {"MiB": (peak - start) / _MIB, "µs a key": used / keys * 1e6}

    return run(main)


def growth_of_statuses(ports: Ports, keys: int) -> dict[str, float]:
    """Return the MiB by which a run over many statuses grows after the first few thousand."""

    async def main() -> dict[str, float]:
        start = peak = seen = 0
        async with FlashbackClient(TOKEN, base_url=f"http://127.0.0.1:{ports['3']}") as client:
            async for _ in client.status.iter_many(bucket_ids(3000)):
                pass
            start = resident()
            async for outcome in client.status.iter_many(bucket_ids(keys)):
                outcome.unwrap()
                seen += 1
                if seen % 1000 == 0:
                    peak = max(peak, resident())
        assert seen == keys
        return {"MiB": (peak - start) / _MIB}

    return run(main)


def throughput(ports: Ports, processes: int, seconds: float) -> float:
    """Return the statuses per second that several processes reach together."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.scale", str(ports["3"]), str(seconds)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()  # it is warm
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    rates: list[float] = [json.loads(worker.communicate()[0]) for worker in workers]
    return sum(rates)


def _poll(port: int, seconds: float) -> None:
    """Poll for some seconds once a line arrives, and print the rate."""
    free_a_large_block()

    async def main() -> None:
        async with FlashbackClient(TOKEN, base_url=f"http://127.0.0.1:{port}") as client:
            async for outcome in client.status.iter_many(bucket_ids(2000)):
                outcome.unwrap()
            print("ready", flush=True)
            sys.stdin.readline()
            began, done = time.monotonic(), 0
            async for outcome in client.status.iter_many(bucket_ids(10_000_000)):
                outcome.unwrap()
                done += 1
                if done % 100 == 0 and time.monotonic() - began > seconds:
                    break
            print(json.dumps(done / (time.monotonic() - began)), flush=True)

    run(main)


if __name__ == "__main__":
    _poll(int(sys.argv[1]), float(sys.argv[2]))
