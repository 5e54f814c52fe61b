"""Models of every kind, and objects that are nearly the JSON form of one."""

from datetime import UTC

import attrs
from hypothesis import strategies as st

from flashback_async import BucketStats, BucketStatus, DailyNodeStats, NodeState, NodeStatus
from tests.property import strategies

count = st.none() | st.integers() | st.integers(-(10**100), 10**100)
number = st.none() | st.floats(allow_nan=False, allow_infinity=False)
moment = st.none() | st.datetimes(timezones=st.just(UTC))
kinds = st.sampled_from([NodeStatus, DailyNodeStats, BucketStats, BucketStatus])
FIELDS = ["bucket_id", "nodes", *attrs.fields_dict(NodeStatus), *attrs.fields_dict(BucketStats)]
records = st.dictionaries(st.sampled_from(FIELDS), strategies.any_json, max_size=5)


def models_with(text):
    """Return nodes, and models of every kind, that hold such text."""
    optional_text = st.none() | text
    unknown = text.filter(lambda state: state not in list(NodeState))
    state = st.none() | st.sampled_from(NodeState) | unknown
    nodes = st.builds(NodeStatus, *[optional_text] * 3, state, number, moment)
    days = st.builds(
        DailyNodeStats, *[optional_text] * 2, number, number, optional_text, state, moment, number
    )
    models = st.one_of(
        nodes,
        days,
        st.builds(BucketStats, text, count, count, count, count),
        st.builds(BucketStatus, text, st.lists(nodes, max_size=3).map(tuple)),
    )
    return nodes, models
