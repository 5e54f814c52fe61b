"""How the benchmark judges and keeps its figures."""

from xml.etree import ElementTree

import pytest

from benchmarks.measure import Cell, paired, spread
from benchmarks.report import Results, Row, chart, compare, table
from benchmarks.soak import Soak
from flashback_async import Failure, NotFoundError


def row(value, spread=0.02, judged=True, floor=0.0):
    return Row("status", "×", value, value - spread / 2, value + spread / 2, judged, floor)


@pytest.mark.parametrize(
    ("is_", "was", "moved"),
    [
        (row(1.30), row(1.20), True),
        (row(1.24), row(1.20), False),
        (row(1.30, spread=0.3), row(1.20), False),
        (row(1.30), row(1.20, spread=0.3), False),
        (row(9.0, judged=False), row(1.20), False),
        (row(1.30, floor=0.5), row(1.20), False),
    ],
    ids=["beyond", "within", "noisy now", "noisy then", "of this machine only", "too small"],
)
def test_a_figure_that_has_moved_is_told(is_, was, moved):
    told = compare(Results([is_]), Results([was], {"date": "2024-01-15", "python": "3.11"}))
    assert ("| status |" in told) is moved
    assert ("none of" in told) is not moved


def test_results_are_kept(tmp_path):
    results = Results([row(1.23456)])
    results.save(tmp_path / "new" / "results.json")
    kept = Results.load(tmp_path / "new" / "results.json")
    assert kept.about == results.about
    assert kept.rows == [Row("status", "×", 1.235, 1.225, 1.245, True)]


def test_pairs_have_a_median_and_quartiles():
    assert paired([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 3.0, 4.0)
    assert spread([7.0]) == (7.0, 7.0, 7.0)


def test_cells_have_names():
    assert Cell.of("status-3-64") == Cell("status", 3, 64)
    assert Cell("list", 100, 1).name == "list-100-1"


def test_table_is_aligned():
    lines = table("Title", ["", "µs"], [["a", "1.0"], ["long name", "10"]]).splitlines()
    assert {len(line) for line in lines[3:]} == {len(lines[-1])}


def test_chart_is_svg():
    bars = {"this SDK": 80.0, "aiohttp": 100.0, "typed <x>": 160.0, "httpx": 1240.0}
    drawn = ElementTree.fromstring(chart("Title & more", "note", {"3 nodes": bars}, "this SDK"))
    rects = [element for element in drawn if element.tag.endswith("rect")]
    assert [rect.get("class") for rect in rects] == ["ours", "bar", "bar", "bar"]
    widths = [float(rect.get("width")) for rect in rects]
    assert widths[0] * 2 == pytest.approx(widths[2], abs=0.2)
    assert widths[3] == widths[2]
    assert len([element for element in drawn if element.tag.endswith("path")]) == 1


def test_soak_sees_what_is_wrong():
    soak = Soak(keys=3)
    keys = list(soak.keys_until(float("inf")))
    error = NotFoundError("no", status=404)
    for outcome in (
        Failure(0, keys[0], error, 0.004),
        Failure(0, keys[0], error, 0.004),
        Failure(1, keys[2], error, 0.004),
    ):
        soak.take(outcome)
    soak.peak, soak.tasks, soak.descriptors = 9 * 2**20, (1, 2), (7, 8)
    assert soak.problems() == [
        "1 keys had no outcome",
        "1 outcomes came twice",
        "1 outcomes are of other keys",
        "only 0.0000% succeeded",
        "memory grew by 9.0 MiB",
        "tasks before and after: (1, 2)",
        "descriptors before and after: (7, 8)",
    ]
    assert soak.percentile(99) == pytest.approx(4, rel=0.03)


def test_soak_that_ran_out_of_time():
    soak = Soak(keys=3)
    assert list(soak.keys_until(float("-inf"))) == []
    assert "time was up after 0 of 3 keys" in soak.problems()
