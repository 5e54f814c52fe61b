"""How two trees are compared, apart from the measurement."""

import pytest

from benchmarks.against import Comparison, ratios, tell, verdict

PORTS = {"3": 1, "50": 2}


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([1.01, 1.02, 1.03, 1.04, 1.05], "3.0 % more"),
        ([0.95, 0.96, 0.97, 0.98, 0.99], "3.0 % less"),
        ([0.97, 0.98, 1.02, 1.03, 1.04], "no difference"),
        ([0.96, 0.97, 0.98, 1.00, 1.01], "no difference"),
        ([1.0] * 5, "no difference"),
    ],
)
def test_a_difference_within_the_quartiles_is_none(found, says):
    assert verdict(found) == says


def test_the_ratio_is_of_neighbouring_blocks_and_not_of_the_medians():
    measured = {
        "this": [{"a call": [11.0, 110.0, 22.0]}, {"a call": [33.0, 12.0, 110.0]}],
        "other": [{"a call": [10.0, 100.0, 20.0]}, {"a call": [30.0, 10.0, 100.0]}],
    }
    assert ratios(measured["this"], measured["other"], "a call") == pytest.approx([1.1, 1.1])
    line = tell(measured).splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["a call", "27.5", "25.0", "1.100 [1.100–1.100]", "10.0 % more"]


def test_a_folder_without_the_package_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="there is no package flashback_async in it"):
        Comparison(tmp_path, PORTS)
