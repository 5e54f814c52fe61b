"""The JSON form of models, outcomes, reports and errors, and the models read back from it.

It is the form that the command line prints. A model is an object of its fields, and a report
is a list of outcomes. An outcome is an object of its key's fields with those of its value, or with
``error``. Times are ISO 8601 in UTC with ``Z``, and states are text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any, NoReturn, TypeAlias, TypeVar, cast, get_args, get_origin, overload

from cattrs import ClassValidationError, Converter, IterableValidationError, transform_error
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from flashback_async.bulk.report import Failure, Outcome, Report, Success
from flashback_async.errors import DecodeError, FlashbackError, InvalidArgumentError, show
from flashback_async.iso_time import time_of, time_text
from flashback_async.models import BucketStats, BucketStatus, DailyNodeStats, NodeState, NodeStatus
from flashback_async.resources.node_stats import BucketDay
from flashback_async.watch.changes import Change

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = dict[str, JsonValue]
Model: TypeAlias = BucketStats | BucketStatus | NodeStatus | DailyNodeStats
Record: TypeAlias = Model | Outcome[object, object] | Change | FlashbackError
T = TypeVar(
    "T",
    BucketStats,
    BucketStatus,
    NodeStatus,
    DailyNodeStats,
    list[BucketStats],
    list[BucketStatus],
    list[NodeStatus],
    list[DailyNodeStats],
)

_MODELS = (BucketStats, BucketStatus, NodeStatus, DailyNodeStats)
_NODES = (NodeStatus, DailyNodeStats)
_OUTCOMES = (Success, Failure)
_RECORDS = (*_MODELS, *_OUTCOMES, Change, FlashbackError)
_ERROR_DETAILS = ("status", "code", "request_id", "retry_after", "attempts")


@overload
def to_dict(value: Record, /) -> JsonObject: ...
@overload
def to_dict(value: Sequence[Record], /) -> list[JsonObject]: ...
def to_dict(value: Record | Sequence[Record], /) -> JsonObject | list[JsonObject]:
    """Return the JSON form of a model, an outcome, a change or an error, or a list of these.

    A report becomes a list of the objects of its outcomes. The result equals
    ``json.loads(to_json(value))``.

    Raises:
        InvalidArgumentError: The value is none of these. Or an outcome's key is not a ``str`` or a
            ``BucketDay``, or its value is not a model or a list of nodes. Or JSON cannot represent
            a number in it, such as NaN, whose path the message names.
    """
    record: JsonObject | list[JsonObject] = _record(value)
    _encode(record)
    return record


def to_json(value: Record | Sequence[Record], /) -> str:
    """Return the JSON form of a model, an outcome, a report, a change or an error as one line.

    The text is ASCII. Counts of any size are exact. Readers that hold all numbers as 64-bit
    floats, as JavaScript does, lose digits of counts above 2**53.

    Raises:
        InvalidArgumentError: As in ``to_dict``.
    """
    return _encode(_record(value))


def from_dict(kind: type[T], value: object, /) -> T:
    """Return the model, or the list of models, whose JSON form is given.

    Fields that the model does not have are ignored; missing optional ones are None.

    Args:
        kind: One of the four models, or ``list`` of one, such as ``list[BucketStats]``.
        value: What ``to_dict`` returned, or what was parsed from its JSON text.

    Raises:
        DecodeError: A required field is missing, or a value is not of its field's type; ``.path``
            is its place, such as ``$.nodes[3].latency_ms``.
        InvalidArgumentError: ``kind`` is neither a model nor a list of one.
    """
    _check_kind(kind)
    try:
        return _converter.structure(value, kind)
    except (ClassValidationError, IterableValidationError, ValueError) as error:
        failure = _misfit(error)
    raise failure


def from_json(kind: type[T], data: str | bytes, /) -> T:
    """Return the model, or the list of models, whose JSON text is given.

    Args:
        kind: As in ``from_dict``.
        data: JSON as text, or as bytes in UTF-8.

    Raises:
        DecodeError: The text is not JSON, or as in ``from_dict``.
        InvalidArgumentError: As in ``from_dict``.
    """
    _check_kind(kind)
    return from_dict(kind, _parse(data))


# Values into JSON.


def _record(value: Record | Sequence[Record]) -> Any:
    """Return the record of a value, or the records of a list; its numbers are not checked."""
    items = value if isinstance(value, list | tuple | Report) else [value]
    for item in items:
        if not isinstance(item, _RECORDS):
            raise InvalidArgumentError(f"a value of type {type(item).__name__} has no JSON form")
    return _converter.unstructure(value if items is not value else list(items))


def _error_record(error: FlashbackError) -> dict[str, object]:
    details = {name: getattr(error, name, None) for name in _ERROR_DETAILS}
    return {"type": type(error).__name__, "message": str(error), **details}


def _outcome_record(outcome: Outcome[object, object]) -> dict[str, object]:
    key = _key_record(outcome.key)
    if outcome.error is not None:
        return {**key, "error": _error_record(outcome.error)}
    # The id that the caller gave comes first, and replaces the one in the answer.
    return key | _value_record(outcome.value) | key


def _key_record(key: object) -> dict[str, object]:
    if isinstance(key, BucketDay) and isinstance(key.day, date):
        return {"bucket_id": key.bucket_id, "day": key.day.isoformat()}
    if isinstance(key, str):
        return {"bucket_id": key}
    raise InvalidArgumentError(
        f"the key of an outcome must be a str or a BucketDay, not {show(key)}"
    )


def _value_record(value: object) -> dict[str, object]:
    if isinstance(value, _MODELS):
        return cast("dict[str, object]", _converter.unstructure(value))
    if isinstance(value, list | tuple) and all(isinstance(item, _NODES) for item in value):
        return {"nodes": [_converter.unstructure(node) for node in value]}
    raise InvalidArgumentError(
        f"the value of an outcome must be a model or a list of nodes, not {show(value)}"
    )


def _state_text(state: NodeState | str | None) -> str | None:
    return state.value if isinstance(state, NodeState) else state


def _encode(record: object) -> str:
    """Return JSON text; DEL is escaped too, because terminals act on it."""
    try:
        return json.dumps(record, allow_nan=False).replace("\x7f", "\\u007f")
    except (TypeError, ValueError):
        path, value = _first_unfit(record, "$") or ("$", record)
    raise InvalidArgumentError(f"{path}: JSON cannot hold {show(value)}")


def _first_unfit(value: object, path: str) -> tuple[str, object] | None:
    """Return the path and the value of the first item that has no JSON form."""
    parts: list[tuple[str, object]] = []
    if isinstance(value, dict):
        parts = [(f"{path}.{name}", item) for name, item in value.items()]
    elif isinstance(value, list):
        parts = [(f"{path}[{n}]", item) for n, item in enumerate(value)]
    for place, item in parts:
        if (found := _first_unfit(item, place)) is not None:
            return found
    try:
        json.dumps(None if parts else value, allow_nan=False)
    except (TypeError, ValueError):
        return path, value
    return None


# JSON into models.


def _check_kind(kind: object) -> None:
    item = get_args(kind)[0] if get_origin(kind) is list else kind
    if item not in _MODELS:
        raise InvalidArgumentError(f"kind must be a model or a list of one, not {show(kind)}")


def _parse(data: object) -> object:
    if not isinstance(data, str | bytes):
        raise InvalidArgumentError(f"data must be text or bytes, not {type(data).__name__}")
    try:
        text = data if isinstance(data, str) else data.decode()
        return json.loads(text, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        rule = f"it is not UTF-8 at byte {error.start}"
    except json.JSONDecodeError as error:
        rule = f"{error.msg[:1].lower()}{error.msg[1:]} at character {error.pos}"
    except RecursionError:
        rule = "its nesting is too deep"
    except ValueError as error:
        rule = str(error) if isinstance(error, _Unfit) else "a number has too many digits"
    raise DecodeError(f"the JSON is malformed: {rule}")


class _Unfit(ValueError):
    """A JSON value that its field cannot hold; the message is the rule that it breaks."""


def _refuse_constant(name: str) -> NoReturn:
    raise _Unfit(f"{name} is not a number")


def _expected(rule: str, value: object) -> _Unfit:
    names = {dict: "object", list: "array", type(None): "null"}
    return _Unfit(f"expected {rule}, got {names.get(type(value), type(value).__name__)}")


def _text(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise _expected("str", value)
    return value


def _whole_number(value: object, _: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _expected("int", value)
    return value


def _number(value: object, _: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _expected("float", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _Unfit("expected a finite number")
    return number


def _time(value: object, _: object) -> datetime:
    if not isinstance(value, str):
        raise _expected("str", value)
    moment = time_of(value)
    if moment is None:
        raise _Unfit("expected a time in ISO 8601")
    return moment


def _state(value: object, _: object) -> NodeState | str | None:
    if value is None:
        return None
    text = _text(value, _)
    return NodeState(text) if text in NodeState.__members__ else text


def _misfit(error: BaseException) -> DecodeError:
    """Return the error for JSON of the wrong shape, by its first wrong place."""
    rule, _, path = transform_error(error, format_exception=_rule)[0].rpartition(" @ ")
    if rule == _MISSING:
        return DecodeError(f"{path} {rule}", path=path)
    return DecodeError(f"{path}: {rule}", path=path)


_MISSING = "is missing"


def _rule(error: BaseException, _: object) -> str:
    return _MISSING if isinstance(error, KeyError) else str(error)


def _object_hook(model: type[Any], converter: Converter) -> Callable[[object, object], Any]:
    structure = make_dict_structure_fn(model, converter)

    def hook(value: object, _: object) -> Any:
        if not isinstance(value, dict):
            raise _expected("object", value)
        return structure(value, model)

    return hook


def _array_hook(kind: Any, converter: Converter) -> Callable[[object, object], Any]:
    structure = list_structure_factory(kind, converter)
    collect = get_origin(kind)

    def hook(value: object, _: object) -> Any:
        if not isinstance(value, list):
            raise _expected("array", value)
        return collect(structure(value, kind))

    return hook


def _is_array(kind: object) -> bool:
    return get_origin(kind) in (list, tuple)


def _make_converter() -> Converter:
    """Return a converter whose functions for each model are generated by cattrs."""
    converter = Converter(detailed_validation=True, unstruct_collection_overrides={tuple: list})
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(int, _whole_number)
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(datetime, _time)
    converter.register_structure_hook(NodeState | str | None, _state)
    converter.register_structure_hook_factory(_is_array, _array_hook)
    converter.register_structure_hook_factory(_MODELS.__contains__, _object_hook)

    converter.register_unstructure_hook(datetime, time_text)
    converter.register_unstructure_hook(NodeState | str | None, _state_text)
    records = (*_MODELS, Change)
    converter.register_unstructure_hook_factory(records.__contains__, make_dict_unstructure_fn)
    converter.register_unstructure_hook(FlashbackError, _error_record)
    for kind in _OUTCOMES:
        converter.register_unstructure_hook(kind, _outcome_record)
    return converter


_converter = _make_converter()
