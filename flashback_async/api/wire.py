"""Shapes of the API's JSON, checked strictly by msgspec, and the decoding of a status."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Generic, TypeVar, cast

import msgspec

from flashback_async.api.fields import STATES, malformed, misfit, missing, models_of, utc
from flashback_async.api.urls import fold
from flashback_async.errors import APIError, DecodeError, show
from flashback_async.frozen import mutable_twin
from flashback_async.models import BucketStatus, NodeState, NodeStatus

S = TypeVar("S", bound=str)  # the states of nodes: those that are known, or any text

# Fields have the names of the API's pages. Only what makes an answer usable is required: the
# lists, and the id of a bucket in a list. Items hold no references to each
# other, so the garbage collector need not track them (``gc=False``).


class Envelope(msgspec.Struct):
    success: bool | None = None


class NodeStatusShape(msgspec.Struct, Generic[S], gc=False):
    ip: str | None = None
    region: str | None = None
    version: str | None = None
    status: S | None = None
    latency_ms: float | None = None
    latency_ms_: float | None = msgspec.field(default=None, name="latencyMs")
    last_updated: datetime | None = msgspec.field(default=None, name="lastUpdated")


class StatusEnvelope(Envelope, Generic[S], kw_only=True):
    bucket_id: str | None = msgspec.field(default=None, name="bucketId")
    nodes: list[NodeStatusShape[S]] | msgspec.UnsetType = msgspec.field(
        default=msgspec.UNSET, name="nodeStatus"
    )


class BucketStatsShape(Envelope, gc=False, kw_only=True):
    """An item of the list, which reports its own failure as a whole answer does."""

    bucket_id: str = msgspec.field(name="bucketId")
    total_count: int | str | None = msgspec.field(default=None, name="totalCount")
    total_upload_bytes: int | str | None = msgspec.field(default=None, name="totalUploadBytes")
    total_download_bytes: int | str | None = msgspec.field(default=None, name="totalDownloadBytes")
    total_size_change: int | str | None = msgspec.field(default=None, name="totalSizeChange")


class StatsEnvelope(Envelope, kw_only=True):
    stats: list[BucketStatsShape] | msgspec.UnsetType = msgspec.UNSET


class RawStatsEnvelope(Envelope, kw_only=True):
    stats: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


class DailyNodeStatsShape(msgspec.Struct, gc=False):
    ip: str | None = None
    host: str | None = None
    perc_uptime: float | None = None
    avg_latency_ms: float | None = None
    version: str | None = None
    node_status: str | None = None
    last_updated: datetime | None = None
    last_latency_ms: float | None = None


class NodeStatsEnvelope(Envelope, kw_only=True):
    node_stats: list[DailyNodeStatsShape] | msgspec.UnsetType = msgspec.field(
        default=msgspec.UNSET, name="nodeStats"
    )


class Identity(msgspec.Struct):
    bucket_id: str | None = msgspec.field(default=None, name="bucketId")


W = TypeVar("W", bound=Envelope)
T = TypeVar("T")

_ENVELOPE = msgspec.json.Decoder(Envelope)
_IDENTITY = msgspec.json.Decoder(Identity)
_STATUS = cast(
    "msgspec.json.Decoder[StatusEnvelope[str]]", msgspec.json.Decoder(StatusEnvelope[NodeState])
)
_STATUS_OF_ANY_STATE = msgspec.json.Decoder(StatusEnvelope[str])
BUCKET_STATS = msgspec.json.Decoder(BucketStatsShape)
STATS = msgspec.json.Decoder(StatsEnvelope)
RAW_STATS = msgspec.json.Decoder(RawStatsEnvelope)
NODE_STATS = msgspec.json.Decoder(NodeStatsEnvelope)

_begin_node_status = mutable_twin(NodeStatus)


def decode_status(body: bytes, asked: str) -> BucketStatus:
    """Return the answer to ``GET /bucket/{bucketId}/status``.

    Raises:
        DecodeError: It is not what the API documents, or is about another bucket.
        APIError: It has ``"success": false``.
    """
    answer = _parse_status(body)
    nodes = models_of(present(answer.nodes, "nodeStatus"), _node_statuses, "nodeStatus")
    bucket_id = asked if answer.bucket_id is None else answer.bucket_id
    if bucket_id != asked and fold(bucket_id) != fold(asked):
        raise _misdirected(asked, bucket_id)
    return BucketStatus(bucket_id, tuple(nodes))


def encode_day(day: str) -> bytes:
    """Return the body that asks for the node stats of a day."""
    return msgspec.json.encode({"day": day})


def parse(decoder: msgspec.json.Decoder[W], body: bytes) -> W:
    """Return the shape of an answer, or of one item of it.

    Raises:
        DecodeError: It is not JSON of that shape.
        APIError: It has ``"success": false``. The error's body is the raw answer, because only the
            caller knows the token that it may echo.
    """
    try:
        # The parser does not check the encoding of fields that it skips.
        if not body.isascii():
            body.decode()
        wire = decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        failure = _unreadable(error, body)
    else:
        if wire.success is not False:
            return wire
        failure = _unsuccessful(body)
    raise failure


def present(items: list[T] | msgspec.UnsetType, name: str) -> list[T]:
    if isinstance(items, msgspec.UnsetType):
        raise missing(f"$.{name}")
    return items


def identity(item: bytes) -> str | None:
    """Return the bucket id of an item that may be broken; None if that cannot be read."""
    try:
        return _IDENTITY.decode(item).bucket_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _unreadable(error: Exception, body: bytes) -> DecodeError | APIError:
    if isinstance(error, msgspec.ValidationError):
        return _unsuccessful(body) if _reports_failure(body) else misfit(str(error))
    if isinstance(error, msgspec.DecodeError):
        return malformed(str(error), body)
    if isinstance(error, UnicodeDecodeError):
        return DecodeError(f"the body is not UTF-8: byte {error.start} is invalid")
    return DecodeError("the nesting of the JSON is too deep")


def _misdirected(asked: str, got: str) -> DecodeError:
    error = DecodeError(f"$.bucketId: expected {show(asked)}, got {got!a}", path="$.bucketId")
    error._misdirected = True
    return error


def _unsuccessful(body: bytes) -> APIError:
    return APIError(status=200, body=body.decode("utf-8", "replace"))


def _reports_failure(body: bytes) -> bool:
    """Return whether an answer of the wrong shape reports a failure."""
    try:
        return _ENVELOPE.decode(body).success is False
    except (msgspec.DecodeError, RecursionError):
        return False


def _parse_status(body: bytes) -> StatusEnvelope[str]:
    """Return the shape of a status, in which each state that is known is a ``NodeState``.

    msgspec finds these faster than Python does. It refuses any other state, and that is so rare
    that such an answer may be read twice.
    """
    try:
        return parse(_STATUS, body)
    except DecodeError:
        pass
    answer = parse(_STATUS_OF_ANY_STATE, body)
    for wire in present(answer.nodes, "nodeStatus"):
        wire.status = STATES.get(wire.status, wire.status)
    return answer


def _node_statuses(items: list[NodeStatusShape[str]]) -> list[NodeStatus]:
    models, begin = [], _begin_node_status
    for wire in items:
        # Filled in place: a constructor would cost half as much again.
        model = begin()
        model.ip = wire.ip
        model.region = wire.region
        model.version = wire.version
        model.state = wire.status
        latency = wire.latency_ms
        model.latency_ms = wire.latency_ms_ if latency is None else latency
        updated = wire.last_updated
        if updated is not None and updated.tzinfo is not UTC:
            updated = utc(updated, "lastUpdated")
        model.last_updated = updated
        model.__class__ = NodeStatus
        models.append(model)
    return models
