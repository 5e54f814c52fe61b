"""Bytes become wire shapes, checked strictly by msgspec, and these become models by cattrs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from operator import eq
from typing import Any, TypeVar

import msgspec
from cattrs.preconf.msgspec import make_converter

from flashback_async.errors import DecodeError
from flashback_async.frozen import fast_maker
from flashback_async.models import BucketStats, BucketStatus, DailyNodeStats, NodeState, NodeStatus
from flashback_async.values import Misdirected, Refused

W = TypeVar("W")
M = TypeVar("M")

_WORD = range(-(2**63), 2**64)
_AT = re.compile(r"(.*) - at `(\$.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`")


# The wire, field by field as the API's pages name it. All is optional there but what makes an
# answer usable: the lists, and the id of a bucket in a list. Items hold no references to each
# other, so the garbage collector need not look at them.


class _NodeStatus(msgspec.Struct, gc=False):
    ip: str | None = None
    region: str | None = None
    version: str | None = None
    status: str | None = None
    latency_ms: float | None = None
    latency_ms_: float | None = msgspec.field(default=None, name="latencyMs")
    last_updated: datetime | None = msgspec.field(default=None, name="lastUpdated")


class _Answer(msgspec.Struct):
    success: bool | None = None


class _Status(_Answer, kw_only=True):
    bucket_id: str | None = msgspec.field(default=None, name="bucketId")
    nodes: list[_NodeStatus] | msgspec.UnsetType = msgspec.field(
        default=msgspec.UNSET, name="nodeStatus"
    )


class _BucketStats(msgspec.Struct, gc=False):
    bucket_id: str = msgspec.field(name="bucketId")
    total_count: int | str | None = msgspec.field(default=None, name="totalCount")
    total_upload_bytes: int | str | None = msgspec.field(default=None, name="totalUploadBytes")
    total_download_bytes: int | str | None = msgspec.field(default=None, name="totalDownloadBytes")
    total_size_change: int | str | None = msgspec.field(default=None, name="totalSizeChange")


class _StatsList(_Answer, kw_only=True):
    stats: list[_BucketStats] | msgspec.UnsetType = msgspec.UNSET


class _RawStatsList(_Answer, kw_only=True):
    stats: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


class _DailyNodeStats(msgspec.Struct, gc=False):
    ip: str | None = None
    host: str | None = None
    perc_uptime: float | None = None
    avg_latency_ms: float | None = None
    version: str | None = None
    node_status: str | None = None
    last_updated: datetime | None = None
    last_latency_ms: float | None = None


class _NodeStatsList(_Answer, kw_only=True):
    node_stats: list[_DailyNodeStats] | msgspec.UnsetType = msgspec.field(
        default=msgspec.UNSET, name="nodeStats"
    )


class _Identity(msgspec.Struct):
    bucket_id: str = msgspec.field(name="bucketId")


_STATUS = msgspec.json.Decoder(_Status)
_STATS_LIST = msgspec.json.Decoder(_StatsList)
_RAW_STATS_LIST = msgspec.json.Decoder(_RawStatsList)
_BUCKET_STATS = msgspec.json.Decoder(_BucketStats)
_NODE_STATS_LIST = msgspec.json.Decoder(_NodeStatsList)
_ANSWER = msgspec.json.Decoder(_Answer)
_IDENTITY = msgspec.json.Decoder(_Identity)


class _BadField(ValueError):
    """A value of the right JSON type that still is not what the field holds."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(field, rule)
        self.field = field
        self.rule = rule


def decode_status(body: bytes, asked: str) -> BucketStatus:
    """Decode ``GET /bucket/{bucketId}/status``.

    Raises:
        DecodeError: The answer is not what the API documents.
        Refused: It says ``"success": false``.
        Misdirected: It is about another bucket.
    """
    wire = _parse(_STATUS, body)
    nodes = _models(_present(wire.nodes, "nodeStatus"), _to_node_statuses, "nodeStatus")
    if wire.bucket_id is None:
        return BucketStatus(asked, tuple(nodes))
    if wire.bucket_id != asked and wire.bucket_id.casefold() != asked.casefold():
        raise Misdirected(wire.bucket_id)
    return BucketStatus(wire.bucket_id, tuple(nodes))


def decode_stats(body: bytes) -> list[BucketStats]:
    """Decode ``GET /bucket/stats``; one corrupt item spoils the whole.

    Raises:
        DecodeError: The answer is not what the API documents.
        Refused: It says ``"success": false``.
    """
    wire = _parse(_STATS_LIST, body)
    return _models(_present(wire.stats, "stats"), _to_bucket_stats, "stats")


def decode_stats_apart(body: bytes) -> list[tuple[str | None, BucketStats | DecodeError]]:
    """Decode ``GET /bucket/stats`` so that a corrupt item spoils only itself.

    Gives each item's id (None where even that cannot be read) with its model or its error.

    Raises:
        DecodeError: There is no list of items.
        Refused: The answer says ``"success": false``.
    """
    try:
        return [(model.bucket_id, model) for model in decode_stats(body)]
    except DecodeError:
        wire = _parse(_RAW_STATS_LIST, body)
    items = _present(wire.stats, "stats")
    return [_one_apart(bytes(item), f"stats[{n}]") for n, item in enumerate(items)]


def decode_node_stats(body: bytes) -> list[DailyNodeStats]:
    """Decode ``POST /bucket/{bucketId}/stats``.

    Raises:
        DecodeError: The answer is not what the API documents.
        Refused: It says ``"success": false``.
    """
    wire = _parse(_NODE_STATS_LIST, body)
    return _models(_present(wire.node_stats, "nodeStats"), _to_daily_node_stats, "nodeStats")


def encode_day(day: str) -> bytes:
    """Encode the body that asks for the node stats of a day."""
    return msgspec.json.encode({"day": day})


def _parse(decoder: msgspec.json.Decoder[W], body: bytes) -> W:
    """Read JSON into its wire shape; an answer that says no is told apart from a broken one."""
    try:
        # The parser skips over unknown fields without a look at their encoding.
        if not body.isascii():
            body.decode()
        wire = decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        failure = _unreadable(error, body)
    else:
        if isinstance(wire, _Answer) and wire.success is False:
            raise Refused
        return wire
    raise failure


def _unreadable(error: Exception, body: bytes) -> DecodeError | Refused:
    """Say why bytes are not the JSON that they should be."""
    if isinstance(error, msgspec.ValidationError):
        return Refused() if _says_no(body) else _misfit(str(error))
    if isinstance(error, msgspec.DecodeError):
        return _malformed(str(error), body)
    if isinstance(error, UnicodeDecodeError):
        return DecodeError(f"the body is not UTF-8: byte {error.start} is none")
    return DecodeError("the nesting of the JSON is too deep")


def _says_no(body: bytes) -> bool:
    """Tell whether an answer of the wrong shape is the API's way to refuse."""
    try:
        return _ANSWER.decode(body).success is False
    except (msgspec.DecodeError, RecursionError):
        return False


def _misfit(text: str) -> DecodeError:
    """Say where JSON differs from the wire shape, by the path that the parser gives."""
    at = _AT.fullmatch(text)
    rule, path = (at[1], at[2]) if at else (text, "$")
    missing = _MISSING.fullmatch(rule)
    if missing:
        return DecodeError(f"{path}.{missing[1]} is missing", path=f"{path}.{missing[1]}")
    rule = rule.replace("`", "")
    return DecodeError(f"{path}: {rule[:1].lower()}{rule[1:]}", path=path)


def _malformed(text: str, body: bytes) -> DecodeError:
    if not body.strip():
        return DecodeError("empty body")
    if text != "Input data was truncated":
        return DecodeError(text)
    if body.rstrip().endswith(b"}"):  # the parser says the same of half an escaped character
        return DecodeError("JSON is malformed: a string ends within an escaped character")
    return DecodeError(f"the JSON ended early, after {len(body)} bytes")


def _present(items: list[W] | msgspec.UnsetType, name: str) -> list[W]:
    if isinstance(items, msgspec.UnsetType):
        raise DecodeError(f"$.{name} is missing", path=f"$.{name}")
    return items


def _models(items: list[W], to_models: Callable[[list[W], Any], list[M]], name: str) -> list[M]:
    try:
        return to_models(items, None)
    except _BadField:
        pass
    # Once more, slowly: to the item that is bad.
    return [_model(item, to_models, f"{name}[{n}]") for n, item in enumerate(items)]


def _model(item: W, to_models: Callable[[list[W], Any], list[M]], at: str) -> M:
    try:
        return to_models([item], None)[0]
    except _BadField as bad:
        path = f"$.{at}.{bad.field}"
        failure = DecodeError(f"{path}: {bad.rule}", path=path)
    raise failure


def _one_apart(item: bytes, at: str) -> tuple[str | None, BucketStats | DecodeError]:
    try:
        model = _model(_parse(_BUCKET_STATS, item), _to_bucket_stats, at)
    except DecodeError as error:
        if not error.path.startswith(f"$.{at}"):
            path = f"$.{at}{error.path[1:]}"
            error = DecodeError(str(error).replace(error.path, path, 1), path=path)
        return _identity(item), error
    return model.bucket_id, model


def _identity(item: bytes) -> str | None:
    try:
        return _IDENTITY.decode(item).bucket_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _count(value: int | str | None, field: str) -> int | None:
    """Read a counter: decimal text, or a JSON integer of 64 bits."""
    if value is None:
        return None
    if isinstance(value, str):
        digits = value.removeprefix("-")  # a pattern would cost three times as much
        if digits.isdecimal() and digits.isascii() and len(digits) <= 100:
            return int(value)
        raise _BadField(field, "expected decimal text of at most 100 digits, got other text")
    if value in _WORD:
        return value
    raise _BadField(field, "expected an integer of 64 bits, got a larger one")


def _utc(value: datetime, field: str) -> datetime:
    """Read a time; without an offset it is UTC."""
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise _BadField(field, "expected a time in the years 1 to 9999, in UTC") from None


_STATES: dict[str | None, NodeState] = {state.value: state for state in NodeState}


# A hook is for a list, since a call for each item would cost as much again as the item.

_make_node = fast_maker(NodeStatus)
_make_bucket_stats = fast_maker(BucketStats)
_make_daily_node_stats = fast_maker(DailyNodeStats)


def _node_statuses(items: list[_NodeStatus], _: object) -> list[NodeStatus]:
    models = []
    for wire in items:
        updated = wire.last_updated
        if updated is not None and updated.tzinfo is not UTC:
            updated = _utc(updated, "lastUpdated")
        model = _make_node(
            wire.ip,
            wire.region,
            wire.version,
            _STATES.get(wire.status, wire.status),
            wire.latency_ms_ if wire.latency_ms is None else wire.latency_ms,
            updated,
        )
        models.append(model)
    return models


def _bucket_stats(items: list[_BucketStats], _: object) -> list[BucketStats]:
    models = []
    for wire in items:
        model = _make_bucket_stats(
            wire.bucket_id,
            _count(wire.total_count, "totalCount"),
            _count(wire.total_upload_bytes, "totalUploadBytes"),
            _count(wire.total_download_bytes, "totalDownloadBytes"),
            _count(wire.total_size_change, "totalSizeChange"),
        )
        models.append(model)
    return models


def _daily_node_stats(items: list[_DailyNodeStats], _: object) -> list[DailyNodeStats]:
    models = []
    for wire in items:
        model = _make_daily_node_stats(
            wire.ip,
            wire.host,
            wire.perc_uptime,
            wire.avg_latency_ms,
            wire.version,
            _STATES.get(wire.node_status, wire.node_status),
            None if wire.last_updated is None else _utc(wire.last_updated, "last_updated"),
            wire.last_latency_ms,
        )
        models.append(model)
    return models


_converter = make_converter()
_converter.register_structure_hook_func(partial(eq, list[NodeStatus]), _node_statuses)
_converter.register_structure_hook_func(partial(eq, list[BucketStats]), _bucket_stats)
_converter.register_structure_hook_func(partial(eq, list[DailyNodeStats]), _daily_node_stats)
# Looked up once: the converter's own dispatch costs as much as a small model.
_to_node_statuses = _converter.get_structure_hook(list[NodeStatus])
_to_bucket_stats = _converter.get_structure_hook(list[BucketStats])
_to_daily_node_stats = _converter.get_structure_hook(list[DailyNodeStats])
