"""What Pydantic asks of a model, so that models can be its fields and stand in FastAPI routes.

The JSON form of a model is described to Pydantic as a typed dict, which is made from the fields of
the model. Pydantic is not a dependency: it is imported only when it asks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, get_args, get_origin, get_type_hints

import attrs

from flashback_async.iso_time import time_of, time_text

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

_WIRE_NAMES = re.compile(r" \(``[^)]*\)")


def _core_schema(
    kind: type[attrs.AttrsInstance], source: object, handler: GetCoreSchemaHandler, /
) -> CoreSchema:
    """Return how Pydantic validates, serializes and documents a model."""
    from pydantic import WrapSerializer, WrapValidator
    from pydantic_core import PydanticSerializationUnexpectedValue

    def validate(value: object, validate_record: Callable[[object], dict[str, Any]]) -> object:
        return value if isinstance(value, kind) else kind(**validate_record(value))

    def record_of(model: object) -> dict[str, object]:
        if not isinstance(model, kind):  # the union that this field is in tries its next member
            raise PydanticSerializationUnexpectedValue(f"expected {kind.__name__}")
        return {name: _json_value(getattr(model, name)) for name in attrs.fields_dict(kind)}

    # A lambda, because Pydantic would document the annotated return type instead of the record.
    serializer = WrapSerializer(lambda model, write_record: write_record(record_of(model)))
    record: Any = _record_type(kind)
    return handler.generate_schema(Annotated[record, WrapValidator(validate), serializer])


# To be put into the body of a model.
pydantic_hook = classmethod(_core_schema)


def _json_value(value: object) -> object:
    """Return the JSON form of a field; the nodes of a list are left to their own schema."""
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"JSON cannot hold {value}")
    return value


# Cached, because it stands in the OpenAPI document once for each type of it.
@cache
def _record_type(kind: type[attrs.AttrsInstance]) -> Any:
    """Return the typed dict that is the JSON form of a model."""
    from pydantic import ConfigDict, Field
    from typing_extensions import TypedDict  # Pydantic takes no other before Python 3.12

    hints = get_type_hints(kind)
    about, descriptions = _descriptions(kind)
    fields: dict[str, Any] = {}
    for field in attrs.fields(kind):
        described = Field(description=descriptions.get(field.name))
        item: Any = Annotated[_json_type(hints[field.name]), described]
        # Output has all fields. But if it required them, input and output would get two names.
        fields[field.name] = item if field.default is attrs.NOTHING else NotRequired[item]
    typed_dict: Any = TypedDict  # whose arguments no type checker can follow
    record = typed_dict(kind.__name__, fields)
    record.__doc__, record.__module__ = about, kind.__module__
    record.__pydantic_config__ = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)
    return record


def _json_type(hint: Any) -> Any:
    """Return the type of a field in the JSON form, with the rule that turns it into the model's."""
    from pydantic import AfterValidator, WithJsonSchema

    if get_origin(hint) is tuple:
        return Annotated[list[get_args(hint)[0]], AfterValidator(tuple)]  # type: ignore[misc]  # made at run time
    parts = [part for part in get_args(hint) if isinstance(part, type)]
    if datetime in parts:
        form: dict[str, Any] = {"type": "string", "format": "date-time"}
        return Annotated[str, AfterValidator(_time), WithJsonSchema(form)] | None
    for states in parts:
        if issubclass(states, Enum):
            known: dict[str, Any] = {state.value: state for state in states}
            form = {"anyOf": [{"type": "string", "enum": [*known]}, {"type": "string"}]}
            rule = AfterValidator(partial(_known_or_same, known))
            return Annotated[str, rule, WithJsonSchema(form)] | None
    return hint


def _known_or_same(known: dict[str, Any], text: str) -> Any:
    return known.get(text, text)


def _time(text: str) -> datetime:
    from pydantic_core import PydanticCustomError

    moment = time_of(text)
    if moment is None:
        raise PydanticCustomError("iso_time", "Input should be a time in ISO 8601")
    return moment


def _descriptions(kind: type[attrs.AttrsInstance]) -> tuple[str, dict[str, str]]:
    """Return what a docstring says of a model and of each field, without the names on the wire."""
    documented = kind.__doc__ or ""  # Python can be told to drop docstrings
    about, _, attributes = documented.partition("Attributes:\n")
    names = "|".join(attrs.fields_dict(kind))
    _, *parts = re.split(rf"^\s+({names}): ", attributes, flags=re.MULTILINE)
    return _plain(about.partition("\n\n")[0]), {
        name: _plain(said) for name, said in zip(parts[::2], parts[1::2], strict=True)
    }


def _plain(text: str) -> str:
    return _WIRE_NAMES.sub("", " ".join(text.split())).replace("``", "")
