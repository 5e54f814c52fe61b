"""One task of the benchmark in a clean process: a job as JSON in, its result as JSON out."""

from __future__ import annotations

import json
import sys

from benchmarks import decode, latency, measure, memory, scale, transports
from benchmarks.processes import free_a_large_block

TASKS = {
    task.__name__: task
    for task in (
        measure.cpu,
        latency.latency,
        memory.memory_in_flight,
        memory.memory_per_key,
        measure.first_result,
        decode.decode,
        decode.imports,
        scale.growth_of_fan_out,
        scale.growth_of_statuses,
        scale.throughput,
        transports.blocks,
    )
}


def main() -> None:
    job = json.load(sys.stdin)
    free_a_large_block()
    print(json.dumps(TASKS[job.pop("task")](**job)))


if __name__ == "__main__":
    main()
