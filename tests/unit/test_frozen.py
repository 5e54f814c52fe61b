"""An instance from the fast maker cannot be told from one that its frozen class made."""

import copy
import pickle
from datetime import UTC, datetime

import attrs
import pytest

from flashback_async import BucketStats, DailyNodeStats, NodeState, NodeStatus, Success
from flashback_async.frozen import fast_maker

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
MADE = [
    (NodeStatus, ("10.0.0.1", "us", "1.2", NodeState.ONLINE, 45.0, NOON)),
    (BucketStats, ("b", 1, 2, 3, None)),
    (DailyNodeStats, ("10.0.0.1", "h", 99.9, 45.0, "1.2", NodeState.ONLINE, NOON, 40.0)),
    (Success, (0, "b", [], 0.5)),
]
kinds = pytest.mark.parametrize(("kind", "values"), MADE, ids=[kind.__name__ for kind, _ in MADE])


@kinds
def test_it_is_the_same_in_all_that_can_be_asked(kind, values):
    made, expected = fast_maker(kind)(*values), kind(*values)
    assert type(made) is kind
    assert made == expected
    assert repr(made) == repr(expected)
    assert attrs.astuple(made) == values
    assert copy.copy(made) == attrs.evolve(made) == expected
    assert pickle.loads(pickle.dumps(made)) == expected
    if kind is not Success:  # which may hold anything
        assert hash(made) == hash(expected)


@kinds
def test_it_is_frozen(kind, values):
    made = fast_maker(kind)(*values)
    name = attrs.fields(kind)[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(made, name, "other")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        delattr(made, name)
    with pytest.raises(AttributeError):
        made.other = 1


def test_a_class_of_another_layout_is_refused_by_python():
    @attrs.frozen
    class Loose:
        a: int

    with pytest.raises(TypeError, match="layout"):
        fast_maker(Loose)(1)
