"""What a scrape exports, without a server."""

import re
from collections import Counter

import pytest
from prometheus_client.openmetrics import parser

from flashback_async import BucketStats
from flashback_async.pages.exporter.exposition import Form
from flashback_async.pages.exporter.metrics import Detail, Scrape
from tests.unit.pages.made_up import ERROR, bucket, change, facts, node


def scraped(known, detail="node", between=lambda: None):
    """Return the value of each series; `between` is called between two slices."""
    scrape = Scrape(known, Detail(detail), Form.OPENMETRICS)
    for _ in scrape.slices():
        between()
    text = b"".join(scrape.blocks()).decode()
    # The parser accepts a series twice; Prometheus does not.
    lines = Counter(re.findall(r"^([^#].*) \S+$", text, re.MULTILINE))
    assert set(lines.values()) <= {1}
    return {
        (sample.name.removeprefix("flashback_"), *sample.labels.values()): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def about(series, *names):
    return {key: value for key, value in series.items() if key[0].startswith(names)}


def test_the_nodes_of_a_bucket_are_series_with_their_state_and_latency():
    found = scraped(facts(bucket("a", node("1"), node("2", "OFFLINE", "west", None))))
    assert about(found, "node_") == {
        ("node_up", "a", "1", "eastus"): 1,
        ("node_up", "a", "2", "west"): 0,
        ("node_latency_seconds", "a", "1", "eastus"): 0.01,
    }
    assert about(found, "bucket_") == {
        ("bucket_answered", "a"): 1,
        ("bucket_last_answer_timestamp_seconds", "a"): 1000.5,
    }


def test_a_latency_in_seconds_has_no_more_digits_than_in_milliseconds():
    scrape = Scrape(facts(bucket("a", node("1", latency_ms=33.3))), Detail.NODE, Form.TEXT)
    assert list(scrape.slices()) == []
    text = b"".join(scrape.blocks()).decode()
    assert re.findall(r"node_latency_seconds\{.*\} (.*)", text) == ["0.0333"]


def test_nodes_are_counted_by_region_and_state_and_known_states_are_never_absent():
    nodes = [node("1"), node("2", "DRAINING"), node("3", None), node("4", region=None)]
    found = scraped(facts(bucket("a", *nodes), bucket("b", node())), "region")
    assert about(found, "nodes") == {
        ("nodes", "eastus", "ONLINE"): 2,
        ("nodes", "eastus", "OFFLINE"): 0,
        ("nodes", "eastus", "DISCONNECTED"): 0,
        ("nodes", "eastus", "DRAINING"): 1,
        ("nodes", "eastus", "unreported"): 1,
        ("nodes", "", "ONLINE"): 1,
        ("nodes", "", "OFFLINE"): 0,
        ("nodes", "", "DISCONNECTED"): 0,
    }


def test_no_region_and_an_empty_one_are_the_same():
    found = scraped(facts(bucket("a", node("1", region=None), node("2", region=""))))
    assert found["nodes", "", "ONLINE"] == 2


def test_what_is_reported_of_traffic_is_exported_and_what_is_not_is_left_out():
    totals = {"a": BucketStats("a", 3, 10**30, None, -5), "other": BucketStats("other", 1)}
    found = scraped(facts(bucket("a"), totals=totals), "bucket")
    assert about(found, "bucket_") == {
        ("bucket_answered", "a"): 1,
        ("bucket_last_answer_timestamp_seconds", "a"): 1000.5,
        ("bucket_objects", "a"): 3,
        ("bucket_uploaded_bytes_total", "a"): 10**30,
        ("bucket_size_change_bytes", "a"): -5,
    }


def test_an_unknown_bucket_has_no_node_series_and_its_nodes_count_as_unknown():
    known = facts(bucket("a", node("1"), error=ERROR), bucket("b", node("1")))
    assert scraped(known)["bucket_answered", "a"] == 1  # one failed poll
    known.conditions.note(change("UNKNOWN", "a"))
    found = scraped(known)
    assert {key[1] for key in about(found, "node_")} == {"b"}
    assert (found["bucket_answered", "a"], found["bucket_answered", "b"]) == (0, 1)
    assert found["bucket_last_answer_timestamp_seconds", "a"] == 1000.5
    assert found["nodes", "eastus", "ONLINE"] == 1
    assert found["nodes", "eastus", "unknown"] == 1


def test_a_bucket_that_never_answered_has_one_series():
    found = scraped(facts(bucket("a", error=ERROR), answered={}))
    assert about(found, "bucket_", "node") == {("bucket_answered", "a"): 0}


def test_a_bucket_that_was_not_asked_yet_or_is_gone_has_no_series():
    totals = {key: BucketStats(key, 1, 2, 3, 4) for key in "ab"}
    known = facts(bucket("a", asked=False), bucket("b"), totals=totals)
    known.conditions.note(change("GONE", "b"))
    del known.last_answers["b"]
    assert about(scraped(known), "bucket_", "node") == {}


def test_lag_and_requests_are_exported_at_every_detail():
    requests = {("status.get", "success"): 5, ("status.get", "ServerError"): 1}
    known = facts(bucket("a", node()), requests=requests)
    for detail in Detail:
        found = scraped(known, detail)
        assert found["watch_lag_seconds",] == 0.25
        assert about(found, "requests") == {
            ("requests_total", "status.get", "success"): 5,
            ("requests_total", "status.get", "ServerError"): 1,
        }


@pytest.mark.parametrize(
    ("detail", "names"),
    [
        ("region", {"nodes", "watch", "requests"}),
        ("bucket", {"nodes", "watch", "requests", "bucket"}),
        ("node", {"nodes", "watch", "requests", "bucket", "node"}),
    ],
)
def test_each_detail_adds_to_the_one_before(detail, names):
    known = facts(bucket("a", node()), requests={("status.get", "success"): 1})
    assert {key[0].partition("_")[0] for key in scraped(known, detail)} == names


def test_what_changes_between_two_slices_is_in_the_scrape_once():
    known = facts(*(bucket(f"b{n}", node("1"), node("2")) for n in range(300)))

    def change_all():
        for bucket_id in list(known.view):
            known.view[bucket_id] = bucket(bucket_id, node("2", "OFFLINE"), node("3"))
        known.view.pop("b299", None)

    class Shrinking(dict):
        def __iter__(self):
            return iter(list(self.keys()))

    known.view = Shrinking(known.view)
    found = scraped(known, between=change_all)
    ups = about(found, "node_up")
    for n in range(299):
        assert {key[2] for key in ups if key[1] == f"b{n}"} in ({"1", "2"}, {"2", "3"})
    assert not any(key[1] == "b299" for key in found if len(key) > 1)
    # The count of nodes fits to the nodes.
    assert sum(about(found, "nodes").values()) == len(ups) == 598


def test_a_slice_is_short_also_within_a_bucket_of_many_nodes():
    known = facts(bucket("a", *(node(str(n)) for n in range(1050))))
    assert len(list(Scrape(known, Detail.NODE, Form.TEXT).slices())) == 10
