"""Every model survives its JSON form, and any JSON is a model or one documented error."""

import json
import math
from datetime import UTC, datetime

import attrs
from hypothesis import given
from hypothesis import strategies as st

from flashback_async import (
    DecodeError,
    NodeState,
    NodeStatus,
    from_dict,
    from_json,
    to_dict,
    to_json,
)
from tests.property import strategies
from tests.property.model_strategies import kinds, models_with, records

# Any Python text, lone surrogates included.
nodes, models = models_with(st.text(st.characters(codec=None, exclude_categories=()), max_size=10))


@given(models)
def test_a_model_comes_back_as_it_was(model):
    assert from_json(type(model), to_json(model)) == model
    assert from_dict(type(model), to_dict(model)) == model
    assert to_dict(model) == json.loads(to_json(model))


@given(st.lists(nodes, max_size=3))
def test_a_list_comes_back_as_it_was(items):
    assert from_json(list[NodeStatus], to_json(items)) == items


@given(kinds, st.one_of(records, strategies.any_json, st.lists(records, max_size=3)), st.booleans())
def test_any_json_is_a_model_or_a_documented_error(kind, value, listed):
    kind = list[kind] if listed else kind
    try:
        found = from_dict(kind, value)
    except DecodeError as error:
        assert_names_a_place(error)
    else:
        assert to_dict(found) == to_dict(from_json(kind, to_json(found)))
        for model in found if listed else [found]:
            assert_typed(model)


@given(kinds, strategies.bodies)
def test_any_bytes_are_a_model_or_a_documented_error(kind, body):
    try:
        assert_typed(from_json(kind, body))
    except DecodeError as error:
        assert_names_a_place(error)


def assert_names_a_place(error):
    assert error.path == "$" or str(error).startswith(error.path)


def assert_typed(model):
    for field in attrs.fields(type(model)):
        value = getattr(model, field.name)
        if field.name == "nodes":
            assert type(value) is tuple
            for node in value:
                assert_typed(node)
        elif isinstance(value, float):
            assert math.isfinite(value)
        elif isinstance(value, datetime):
            assert value.tzinfo is UTC
        else:
            assert value is None or type(value) in (str, int, NodeState)
