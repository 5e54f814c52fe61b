"""How two trees are compared, apart from the measurement."""

import pytest

from benchmarks import against_worker
from benchmarks.against import Comparison, ratios, tell, verdict
from benchmarks.against_worker import transport_of

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


@pytest.mark.parametrize(
    ("wanted", "now", "before"),
    [(None, {}, {}), ("aiohttp", {"transport": "aiohttp"}, {})],
    ids=["the default", "the path over aiohttp"],
)
def test_a_tree_without_transports_has_that_of_aiohttp(wanted, now, before, monkeypatch):
    assert transport_of({"transport": wanted}) == now
    monkeypatch.setattr(against_worker, "FlashbackClient", lambda token, *, base_url: None)
    assert transport_of({"transport": wanted}) == before


def test_a_tree_without_a_direct_transport_is_told(monkeypatch):
    assert transport_of({"transport": "direct"}) == {"transport": "direct"}
    monkeypatch.setattr(against_worker, "FlashbackClient", lambda token, *, base_url: None)
    with pytest.raises(SystemExit, match="this tree's client has no transport 'direct'"):
        transport_of({"transport": "direct"})


def test_a_folder_without_the_package_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="there is no package flashback_async in it"):
        Comparison(tmp_path, PORTS)
