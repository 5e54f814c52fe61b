"""What the dashboard sends: records, and deltas that lead from one snapshot to the next."""

import json
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from flashback_async.pages.dashboard.details import Histories, details
from flashback_async.pages.dashboard.picture import Picture
from flashback_async.pages.estate import Trouble
from tests.unit.pages.views import ERROR, NOW, bucket, change, node

AT = int(NOW.timestamp())


def snapshot(picture):
    return json.loads(picture.snapshot())


def advanced(before, picture):
    """Return the picture that a page has, after the next version."""
    delta = picture.delta()
    if delta is None:
        return snapshot(picture)
    delta = json.loads(delta)
    assert delta["v"] == before["v"] + 1
    after = {**before, "v": delta["v"], "buckets": list(before["buckets"])}
    after |= {name: delta[name] for name in ("states", "regions") if name in delta}
    for place, record in delta["buckets"]:
        after["buckets"][place] = record
    after["news"] = list(deque([*reversed(before["news"]), *reversed(delta["news"])], 30))[::-1]
    return after


def names_of(picture, place, item):
    """Return the states (item 0) or regions (1) of a bucket's nodes."""
    shown = snapshot(picture)
    names = shown["states" if item == 0 else "regions"]
    return [names[number] for number in shown["buckets"][place][1][item::2]]


def test_a_bucket_is_a_short_record_of_states_and_regions():
    picture = Picture()
    picture.put(bucket("b", node(), node("2", "OFFLINE", "westus", age=5)), None)
    picture.put(bucket("a", node(region=None)), None)
    picture.put(bucket("c", asked=False), None)
    assert picture.delta() is None  # buckets have come
    assert snapshot(picture)["ids"] == ["a", "b", "c"]
    assert names_of(picture, 1, 0) == ["ONLINE", "OFFLINE"]
    assert names_of(picture, 1, 1) == ["eastus", "westus"]
    assert names_of(picture, 0, 1) == [None]
    records = snapshot(picture)["buckets"]
    assert records[0] == [0, records[0][1]]
    assert records[1][2:] == [[[1, "2", AT - 5]]]
    assert records[2] == [1, []]


def test_a_bucket_in_trouble_says_since_when_and_why():
    picture = Picture()
    picture.put(bucket("a", node(), error=ERROR), Trouble("UNKNOWN", NOW, ERROR))
    picture.put(bucket("b"), Trouble("GONE", NOW, None))
    picture.delta()
    unknown, gone = snapshot(picture)["buckets"]
    assert (unknown[0], unknown[2:]) == (2, [[], AT, "ServerError: 503 Service Unavailable"])
    assert gone == [3, [], [], AT, None]


def test_a_bucket_that_is_as_it_was_makes_no_delta():
    picture = Picture()
    picture.put(bucket("a", node()), None)
    picture.delta()
    assert not picture.has_changed
    picture.put(bucket("a", node(age=600)), None)  # nobody asks since when it is ONLINE
    assert not picture.has_changed
    picture.put(bucket("a", node(state="OFFLINE")), None)
    assert picture.has_changed


def test_texts_of_the_api_are_not_taken_apart():
    odd = '</script>\u2028"\ud800\n'
    picture = Picture()
    picture.put(bucket(odd, node(odd, odd, odd)), None)
    picture.delta()
    assert "\n" not in picture.snapshot()
    assert picture.snapshot().isascii()
    assert snapshot(picture)["ids"] == [odd]
    assert names_of(picture, 0, 0) == [odd]


def test_the_names_of_an_api_that_makes_them_up_are_bounded():
    picture = Picture()
    for number in range(2_000):
        picture.put(bucket("a", node(state=f"STATE-{number}")), None)
    picture.delta()
    assert len(snapshot(picture)["states"]) <= 501
    assert names_of(picture, 0, 0) == ["(other)"]


BUCKETS = st.sampled_from("abcde")
STATES = st.sampled_from(["ONLINE", "OFFLINE", "DISCONNECTED", "ODD", None])
REGIONS = st.sampled_from(["eastus", "westus", None])
NODES = st.lists(st.builds(lambda s, r, a: node("1", s, r, a), STATES, REGIONS, st.just(9)))
TROUBLES = st.sampled_from([None, Trouble("UNKNOWN", NOW, ERROR), Trouble("GONE", NOW, None)])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), BUCKETS, NODES, TROUBLES),
        st.tuples(st.just("drop"), BUCKETS),
        st.tuples(st.just("tell"), BUCKETS),
        st.tuples(st.just("publish")),
    ),
    max_size=40,
)


@given(STEPS)
def test_deltas_lead_to_what_a_snapshot_shows(steps):
    picture = Picture()
    picture.delta()
    page = snapshot(picture)
    for step in [*steps, ("publish",)]:
        match step:
            case ("put", name, nodes, trouble):
                picture.put(bucket(name, *nodes), trouble)
            case ("drop", name):
                picture.drop(name)
            case ("tell", name):
                picture.tell(change("STATE", name, "1", "ONLINE", "OFFLINE"))
            case _:
                # A viewer may come at any moment: what it gets lacks nothing that a delta has not.
                late = snapshot(picture)
                delta_is_next = advanced(page, picture)
                assert delta_is_next == snapshot(picture)
                page = delta_is_next
                assert late["v"] == page["v"] - 1


@given(STEPS, STEPS)
def test_a_viewer_that_comes_between_two_versions_misses_nothing(before, after):
    picture = Picture()
    for step in before:
        apply(picture, step)
    picture.delta()
    for step in after:
        apply(picture, step)
    page = snapshot(picture)
    assert advanced(page, picture) == snapshot(picture)


def apply(picture, step):
    match step:
        case ("put", name, nodes, trouble):
            picture.put(bucket(name, *nodes), trouble)
        case ("drop", name):
            picture.drop(name)
        case ("tell", name):
            picture.tell(change("STATE", name, "1", "ONLINE", "OFFLINE"))


def test_the_changes_of_a_bucket_are_few_and_leave_with_it():
    histories = Histories()
    for number in range(50):
        histories.add(change("STATE", "a", f"ip-{number}", "ONLINE", "OFFLINE"))
    kept = histories.of("a")
    assert [record["ip"] for record in kept] == [f"ip-{n}" for n in range(49, 29, -1)]
    assert kept[0]["at"] == "2025-06-30T12:00:00Z"
    assert (kept[0]["before"], kept[0]["after"], kept[0]["kind"]) == ("ONLINE", "OFFLINE", "STATE")
    histories.drop("a")
    assert histories.of("a") == []


def test_the_details_of_a_bucket_hold_its_nodes_and_why_it_is_unknown():
    histories = Histories()
    histories.add(change("UNKNOWN", "a", error=ERROR))
    view = bucket("a", node("#1", "OFFLINE"), error=ERROR)
    found = details(view, Trouble("UNKNOWN", NOW, ERROR), histories.of("a"))
    assert json.loads(json.dumps(found)) == found
    assert (found["condition"], found["since"]) == ("UNKNOWN", "2025-06-30T12:00:00Z")
    assert found["error"] == "ServerError: 503 Service Unavailable"
    (only,) = found["nodes"]
    assert (only["ip"], only["state"], only["region"]) == ("#1", "OFFLINE", "eastus")
    assert only["since"] == "2025-06-30T11:59:00Z"
    assert found["changes"][0]["error"] == "ServerError: 503 Service Unavailable"
