"""Which buckets are looked at again, and which are unknown or gone."""

from datetime import UTC, datetime, timedelta

from flashback_async.pages.estate import Estate
from tests.unit.pages.views import ERROR, NOW, bucket, change, node, view_of


def looked_at(estate):
    return dict(estate.look())


def test_every_bucket_is_looked_at_first_and_then_those_with_changes():
    view = view_of(*(bucket(f"b{n}", node()) for n in range(600)))
    estate = Estate(view)
    assert looked_at(estate) == view
    estate.note(change("STATE", "b7", "10.0.0.1", "ONLINE", "OFFLINE"))
    assert "b7" in looked_at(estate)


def test_without_changes_every_bucket_has_its_turn_a_few_at_a_time():
    view = view_of(*(bucket(f"b{n}", node()) for n in range(600)))
    estate = Estate(view)
    looked_at(estate)
    turns = [set(looked_at(estate)) for _ in range(4)]
    assert max(map(len, turns)) <= 250
    assert set().union(*turns) == set(view)


def test_a_bucket_that_comes_or_leaves_is_looked_at_at_once():
    view = view_of(*(bucket(f"b{n}") for n in range(600)))
    estate = Estate(view)
    looked_at(estate)
    view["new"] = bucket("new", asked=False)
    assert looked_at(estate)["new"] is view["new"]
    del view["b3"]
    assert looked_at(estate)["b3"] is None


def test_a_bucket_is_unknown_until_it_answers():
    view = view_of(bucket("a", node()))
    estate = Estate(view)
    assert estate.note(change("UNKNOWN", "a", error=ERROR))
    looked_at(estate)
    assert estate.trouble("a") == ("UNKNOWN", NOW, ERROR)
    assert (estate.unknown, estate.gone) == (1, 0)
    estate.note(change("KNOWN", "a"))
    looked_at(estate)
    assert (estate.trouble("a"), estate.unknown) == (None, 0)


def test_a_bucket_that_never_answered_is_unknown_as_well():
    view = view_of(bucket("a", error=ERROR))
    estate = Estate(view)
    looked_at(estate)
    assert estate.trouble("a") == ("UNKNOWN", NOW, ERROR)
    view["a"] = bucket("a", node())
    estate.note(change("APPEARED", "a", "10.0.0.1", after="ONLINE"))
    looked_at(estate)
    assert estate.trouble("a") is None


def test_a_bucket_that_is_gone_and_still_watched_is_in_trouble_until_a_node_appears():
    view = view_of(bucket("a"))
    estate = Estate(view)
    estate.note(change("GONE", "a"))
    looked_at(estate)
    assert estate.trouble("a") == ("GONE", NOW, None)
    assert list(estate.troubles()) == ["a"]
    estate.note(change("APPEARED", "a", "1", after="ONLINE"))
    assert (estate.trouble("a"), estate.gone) == (None, 0)


def test_a_bucket_may_be_gone_for_a_while_before_that_is_a_trouble():
    estate = Estate(view_of(bucket("a"), bucket("b")), gone_after=3_600)
    now = datetime.now(UTC)
    estate.note(change("GONE", "a", at=now - timedelta(seconds=3_590)))
    estate.note(change("GONE", "b", at=now - timedelta(seconds=3_601)))
    assert estate.trouble("a") is None
    assert estate.trouble("b") == ("GONE", now - timedelta(seconds=3_601), None)
    assert (estate.gone, list(estate.troubles())) == (1, ["b"])


def test_a_bucket_that_is_gone_is_not_unknown_any_more():
    estate = Estate(view_of(bucket("a", node())))
    estate.note(change("UNKNOWN", "a", error=ERROR))
    estate.note(change("GONE", "a"))
    estate.note(change("APPEARED", "a", "1", after="ONLINE"))
    assert (estate.trouble("a"), estate.unknown) == (None, 0)


def test_nothing_is_kept_of_a_bucket_that_has_left():
    view = view_of(bucket("a", node()))
    estate = Estate(view)
    estate.note(change("APPEARED", "a", "1", after="ONLINE"))
    looked_at(estate)
    del view["a"]
    estate.note(change("GONE", "a"))
    assert looked_at(estate) == {"a": None}
    assert (estate.trouble("a"), estate.gone, dict(estate.troubles())) == (None, 0, {})
    assert [estate._answered, estate._known, estate._found_at] == [set(), set(), {}]


def test_the_nodes_that_a_first_answer_finds_are_no_news():
    estate = Estate(view_of(bucket("a", node())))
    assert not estate.note(change("APPEARED", "a", "1", after="ONLINE"))
    assert not estate.note(change("APPEARED", "a", "2", after="ONLINE"))
    later = NOW + timedelta(seconds=60)
    assert estate.note(change("APPEARED", "a", "3", after="ONLINE", at=later))
