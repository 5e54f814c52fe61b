"""The package and every use of it pass the strictest checks of mypy."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("check_types.py")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_public_call_has_the_types_that_are_documented(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(FILE)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_public_name_is_checked() -> None:
    import flashback_async

    text = FILE.read_text(encoding="utf-8")
    missing = [name for name in flashback_async.__all__ if f"    {name},\n" not in text]
    assert not missing
