"""Which buckets are unknown, and which are gone."""

import pytest

from flashback_async.pages.exporter.conditions import Condition, Conditions
from tests.unit.pages.made_up import ERROR, bucket, change, node


class World:
    """One bucket, what it was last, and whether it has ever answered."""

    def __init__(self, answered=True):
        self.view = {}
        self.answered = {"a"} if answered else set()
        self.conditions = Conditions(self.view, self.answered)

    def condition(self, now, *changes):
        self.view["a"] = now
        for one in changes:
            self.conditions.note(one)
            if one.kind == "GONE" and one.ip is None:
                self.answered.discard("a")
        return self.conditions.of(now)


FINE, FAILING = bucket("a", node()), bucket("a", node(), error=ERROR)
EMPTY, FAILING_EMPTY = bucket("a"), bucket("a", error=ERROR)


def test_a_bucket_that_was_not_asked_yet_is_neither():
    world = World(answered=False)
    assert world.condition(bucket("a", asked=False)) is Condition.UNASKED


def test_a_failed_poll_alone_changes_nothing():
    world = World()
    assert world.condition(FINE) is Condition.ANSWERING
    assert world.condition(FAILING) is Condition.ANSWERING


def test_a_bucket_is_unknown_from_one_change_to_the_other():
    world = World()
    assert world.condition(FAILING, change("UNKNOWN", "a")) is Condition.UNKNOWN
    assert world.condition(FAILING) is Condition.UNKNOWN
    # Its answer counts at once, though the change may wait.
    assert world.condition(FINE) is Condition.ANSWERING
    assert world.condition(FAILING, change("KNOWN", "a")) is Condition.ANSWERING


def test_a_bucket_that_never_answered_is_unknown_at_once():
    world = World(answered=False)
    assert world.condition(FAILING_EMPTY) is Condition.UNKNOWN
    world.answered.add("a")
    assert world.condition(EMPTY) is Condition.ANSWERING
    assert world.condition(FAILING_EMPTY) is Condition.ANSWERING


def test_a_bucket_that_is_missing_from_its_first_poll_on_is_gone():
    world = World(answered=False)
    assert world.condition(EMPTY) is Condition.GONE  # the answer that there is no such bucket
    assert world.condition(EMPTY, change("GONE", "a")) is Condition.GONE


@pytest.mark.parametrize("back", [FINE, EMPTY], ids=["with nodes", "without nodes"])
def test_a_bucket_that_is_gone_is_gone_until_it_answers(back):
    world = World()
    assert world.condition(EMPTY, change("GONE", "a", "10.0.0.1")) is Condition.ANSWERING
    assert world.condition(EMPTY, change("GONE", "a")) is Condition.GONE
    assert world.condition(FAILING_EMPTY) is Condition.GONE
    world.answered.add("a")
    assert world.condition(back) is Condition.ANSWERING
    for found in back.nodes:
        assert world.condition(back, change("APPEARED", "a", found.ip)) is Condition.ANSWERING
    # And one that loses its nodes later, or fails once, is not gone.
    assert world.condition(EMPTY) is Condition.ANSWERING
    assert world.condition(FAILING_EMPTY) is Condition.ANSWERING


def test_gone_ends_unknown():
    world = World()
    world.condition(FAILING, change("UNKNOWN", "a"))
    world.condition(EMPTY, change("GONE", "a"))
    world.answered.add("a")
    assert world.condition(FAILING, change("APPEARED", "a", "x")) is Condition.ANSWERING


def test_nothing_is_kept_of_a_bucket_that_is_not_watched_any_more():
    world = World()
    world.conditions.note(change("UNKNOWN", "a"))
    world.conditions.note(change("GONE", "a"))
    assert world.condition(FAILING) is Condition.ANSWERING  # when it is listed again
