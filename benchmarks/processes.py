"""Child processes: servers that live as long as they are needed, and jobs that give a result."""

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
_COLD = str(128 * 1024)  # what glibc starts with; set by hand, it stays


class Server:
    """A server in a process of its own; it tells first where it is, and at its end what it saw."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = start(module, *arguments)
        self.told: dict[str, int] = json.loads(self._line())
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
    """Start a module of ours, with pipes to talk to it and more environment variables."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def do(task: str, *, cold: bool = False, **job: object) -> Any:
    """Have a task of ``benchmarks.worker`` done in a clean process and give its result."""
    variables = {"MALLOC_MMAP_THRESHOLD_": _COLD} if cold else {}
    with start("benchmarks.worker", **variables) as process:
        answer, _ = process.communicate(json.dumps({"task": task, **job}))
    if process.returncode:
        raise SystemExit(f"the task {task!r} of the benchmark failed")
    return json.loads(answer)


def run(main: Callable[[], Coroutine[Any, Any, T]], loop: str = "asyncio") -> T:
    """Run a coroutine under one of the two loops."""
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


def loops() -> list[str]:
    """Name the loops that are installed here."""
    return [name for name in LOOPS if find_spec(name)]


def free_a_large_block() -> None:
    """Have glibc keep blocks of up to 8 MiB in its heap, as it does once one of them was freed.

    asyncio reads into a new block of 256 KiB each time. Until something larger was freed, every
    one of them is mapped from the system and given back, with a page fault on the way.
    """
    block = bytearray(8 * 2**20)
    del block


def raise_descriptor_limit() -> None:
    """Make room for the connections of several contenders, up to what the system allows."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def give_way() -> None:
    """Keep this process from pushing another off its core for each thing that comes in.

    A server elsewhere could not; one that shares too few cores does so for every third request.
    """
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def resident() -> int:
    """Give the bytes of memory that this process holds now."""
    held: int = psutil.Process().memory_info().rss
    return held
