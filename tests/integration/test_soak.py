"""A short run of the soak test: faults for minutes, and nothing lost or left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the soak counts POSIX descriptors")


def test_soak():
    # In a process of its own: what other tests hold or let go would count as its memory.
    clean = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "--requests", "20000", "--minutes", "0.8"],
        cwd=ROOT,
        env=clean,
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "keys      20,000," in done.stdout
