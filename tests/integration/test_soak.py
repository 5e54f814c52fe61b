"""A short run of the soak test: thousands of faults, and nothing lost or left behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the soak counts POSIX descriptors")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_soak_leaves_nothing_behind():
    # In a process of its own, because memory that other tests hold or free would count.
    clean = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "--requests", "20000", "--minutes", "9"],
        cwd=ROOT,
        env=clean,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "keys      20,000," in done.stdout
