"""Pydantic reads and writes a model exactly as the JSON form does."""

import json
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from flashback_async import DecodeError, NodeStatus, from_dict, from_json, to_dict, to_json
from tests.property import strategies
from tests.property.model_strategies import kinds, models_with, records

nodes, models = models_with(st.text(max_size=10))
adapter_of = cache(TypeAdapter)
node_objects = st.lists(records, max_size=3).map(lambda items: {"bucket_id": "b", "nodes": items})


@given(models)
def test_a_model_is_written_in_its_json_form(model):
    adapter = adapter_of(type(model))
    assert json.loads(adapter.dump_json(model)) == json.loads(to_json(model))
    assert adapter.dump_python(model) == adapter.dump_python(model, mode="json") == to_dict(model)


@given(models)
def test_a_model_comes_back_as_it_was(model):
    adapter = adapter_of(type(model))
    found = adapter.validate_json(adapter.dump_json(model))
    assert found == model == adapter.validate_python(to_dict(model))
    # A repr also tells a state from text, and an int from a float.
    assert repr(found) == repr(from_json(type(model), to_json(model)))
    assert adapter.validate_python(model) is model


@given(st.lists(nodes, max_size=3))
def test_a_list_comes_back_as_it_was(items):
    adapter = adapter_of(list[NodeStatus])
    assert json.loads(adapter.dump_json(items)) == to_dict(items)
    assert adapter.validate_json(to_json(items)) == items


@given(
    kinds,
    st.one_of(records, node_objects, strategies.any_json, st.lists(records, max_size=3)),
    st.booleans(),
)
def test_any_json_is_judged_as_from_dict_judges_it(kind, value, listed):
    kind = list[kind] if listed else kind
    try:
        expected = from_dict(kind, value)
    except DecodeError as error:
        with pytest.raises(ValidationError) as caught:
            adapter_of(kind).validate_python(value)
        assert error.path in map(path_of, caught.value.errors())  # noqa: PT017 - a second error
    else:
        assert repr(adapter_of(kind).validate_python(value)) == repr(expected)


def path_of(error):
    """Return the location of a validation error as a path in JSON."""
    return "$" + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error["loc"])
