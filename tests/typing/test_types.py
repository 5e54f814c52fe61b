"""The package and every use of it pass the strictest checks of mypy; outcomes pyright's as well."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("check_types.py")
NARROWING = Path(__file__).with_name("check_narrowing.py")
# No dependency of the tests: they bring Node along, 280 MB with it.
PYRIGHT = shutil.which("pyright") or shutil.which("basedpyright")


def run(*command: str) -> None:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow  # `make lint` checks these files too
def test_every_public_call_has_the_types_that_are_documented(tmp_path: Path) -> None:
    files = map(str, (FILE, NARROWING))
    run(sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), *files)


@pytest.mark.skipif(PYRIGHT is None, reason="pyright is not installed")
def test_pyright_narrows_an_outcome_too() -> None:
    assert PYRIGHT is not None
    run(PYRIGHT, "--level", "error", "--pythonpath", sys.executable, str(NARROWING))


def test_every_public_name_is_checked() -> None:
    import flashback_async

    text = FILE.read_text(encoding="utf-8")
    missing = [name for name in flashback_async.__all__ if f"    {name},\n" not in text]
    assert not missing
