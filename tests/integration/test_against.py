"""The comparison of two trees: each process measures the tree that it is meant to measure."""

import shutil
import sys

import pytest

from benchmarks.against import CASES, ROOT, Comparison, tell
from benchmarks.processes import server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the benchmarks need POSIX")

SIZES = {"at_once": 2, "ids_in_list": 2, "calls": 4, "lists": 2, "warm_ups": 1, "blocks": 2}


@pytest.fixture(scope="module")
def ports():
    with server("benchmarks.server") as canned:
        yield canned.told


@pytest.fixture
def other(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "flashback_async", tmp_path / "flashback_async", ignore=ignored)
    return tmp_path


@pytest.mark.slow
def test_both_trees_are_measured_in_every_case(ports, other):
    files = set(other.rglob("*"))
    measured = Comparison(other, ports, **SIZES).run(pairs=1)
    assert {name: len(pairs) for name, pairs in measured.items()} == {"this": 1, "other": 1}
    for pairs in measured.values():
        assert list(pairs[0]) == list(CASES)
        assert all(len(costs) == 2 and min(costs) > 0 for costs in pairs[0].values())
    assert tell(measured).count("[") == 1 + len(CASES)
    assert set(other.rglob("*")) == files  # the other tree is left as it was


@pytest.mark.slow
def test_it_is_the_other_trees_package_that_is_measured(ports, other):
    package = other / "flashback_async" / "__init__.py"
    package.write_text(package.read_text("utf-8") + "\nraise SystemExit('the other one')\n")
    with pytest.raises(SystemExit, match="the measurement failed"):
        Comparison(other, ports, **SIZES).run(pairs=1)


@pytest.mark.slow
def test_a_package_from_elsewhere_is_noticed(ports, other):
    package = other / "flashback_async" / "__init__.py"
    package.write_text(package.read_text("utf-8") + "\n__file__ = '/elsewhere/__init__.py'\n")
    with pytest.raises(SystemExit, match="measured /elsewhere/"):
        Comparison(other, ports, **SIZES).run(pairs=1)
