"""Child processes: servers that run as long as they are needed, and jobs that return a result."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import psutil  # type: ignore[import-untyped] # it has no types

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
LOOPS = ("asyncio", "uvloop")
_DESCRIPTORS = 8192
_COLD = str(128 * 1024)  # glibc's initial threshold; one that is set explicitly stays


class Server:
    """A server in a process of its own; it reports its ports first and its counts at the end.

    One with TLS reports the certificate of its authority too.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = start(module, *arguments)
        self.told: dict[str, Any] = json.loads(self._line())
        self.said: dict[str, int] = {}

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self.said = json.loads(self._line() or "{}")
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.wait(timeout=10)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def server(module: str, *arguments: str) -> Iterator[Server]:
    running = Server(module, *arguments)
    try:
        yield running
    finally:
        running.stop()


def start(module: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start a module of this project with pipes and additional environment variables."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def do(task: str, *, cold: bool = False, **job: object) -> Any:
    """Run a task of ``benchmarks.worker`` in a clean process and return its result."""
    variables = {"MALLOC_MMAP_THRESHOLD_": _COLD} if cold else {}
    with start("benchmarks.worker", **variables) as process:
        answer, _ = process.communicate(json.dumps({"task": task, **job}))
    if process.returncode:
        raise SystemExit(f"the task {task!r} of the benchmark failed")
    return json.loads(answer)


def run(main: Callable[[], Coroutine[Any, Any, T]], loop: str = "asyncio") -> T:
    """Run a coroutine on one of the two event loops."""
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


def loops() -> list[str]:
    """Return the names of the event loops that are installed."""
    return [name for name in LOOPS if find_spec(name)]


def free_a_large_block() -> None:
    """Make glibc keep blocks of up to 8 MiB in its heap, as it does once one of them was freed.

    asyncio reads into a new block of 256 KiB each time. Until a larger one was freed, glibc maps
    every block from the system and unmaps it again, which costs page faults.
    """
    block = bytearray(8 * 2**20)
    del block


def raise_descriptor_limit() -> None:
    """Raise the limit of open connections as far as needed and as the system allows."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def give_way() -> None:
    """Keep this process from preempting another one for each request that arrives.

    A server on another machine could not; one that shares too few cores does so for every third
    request.
    """
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def resident() -> int:
    """Return the bytes of memory that this process holds now."""
    held: int = psutil.Process().memory_info().rss
    return held
