"""The decoding of buckets' traffic counters and of nodes' daily statistics."""

from __future__ import annotations

from flashback_async.api import wire
from flashback_async.api.fields import STATES, BadField, count, models_of, moved, utc
from flashback_async.errors import APIError, DecodeError, FlashbackError
from flashback_async.frozen import fast_maker
from flashback_async.models import BucketStats, DailyNodeStats

_make_bucket_stats = fast_maker(BucketStats)
_make_daily_node_stats = fast_maker(DailyNodeStats)


def decode_stats(body: bytes) -> list[BucketStats]:
    """Return the answer to ``GET /bucket/stats``; one bad item fails the whole.

    Raises:
        DecodeError: The answer, or an item, is not what the API documents.
        APIError: The answer, or an item, has ``"success": false``.
    """
    models = _decode_at_once(body)
    if models is None:
        models = []
        for _, item in _decode_one_by_one(body):
            if isinstance(item, FlashbackError):
                raise item
            models.append(item)
    return models


def decode_stats_apart(body: bytes) -> list[tuple[str | None, BucketStats | FlashbackError]]:
    """Return each item of ``GET /bucket/stats``: its id, with its model or its error.

    An item that is invalid, or has ``"success": false``, does not affect the others. Its id is
    None if it cannot be read.

    Raises:
        DecodeError: There is no list of items.
        APIError: The answer has ``"success": false``.
    """
    models = _decode_at_once(body)
    if models is None:
        return _decode_one_by_one(body)
    return [(model.bucket_id, model) for model in models]


def decode_node_stats(body: bytes) -> list[DailyNodeStats]:
    """Return the answer to ``POST /bucket/{bucketId}/stats``.

    Raises:
        DecodeError: It is not what the API documents.
        APIError: It has ``"success": false``.
    """
    answer = wire.parse(wire.NODE_STATS, body)
    items = wire.present(answer.node_stats, "nodeStats")
    return models_of(items, _daily_node_stats, "nodeStats")


def _decode_at_once(body: bytes) -> list[BucketStats] | None:
    """Return the models of all items; None unless each of them is good."""
    try:
        answer = wire.parse(wire.STATS, body)
        return _bucket_stats(wire.present(answer.stats, "stats"))
    except (DecodeError, BadField):
        return None


def _decode_one_by_one(body: bytes) -> list[tuple[str | None, BucketStats | FlashbackError]]:
    items = wire.present(wire.parse(wire.RAW_STATS, body).stats, "stats")
    return [_decode_item(bytes(item), f"$.stats[{n}]") for n, item in enumerate(items)]


def _decode_item(item: bytes, place: str) -> tuple[str | None, BucketStats | FlashbackError]:
    error: FlashbackError
    try:
        shape = wire.parse(wire.BUCKET_STATS, item)
        return shape.bucket_id, _bucket_stats([shape])[0]
    except BadField as bad:
        error = bad.at(place)
    except DecodeError as broken:
        error = moved(broken, place)
    except APIError as unsuccessful:
        error = unsuccessful.with_traceback(None)
    return wire.identity(item), error


def _bucket_stats(items: list[wire.BucketStatsShape]) -> list[BucketStats]:
    models = []
    for item in items:
        if item.success is False:
            raise BadField("success", "expected true")
        model = _make_bucket_stats(
            item.bucket_id,
            count(item.total_count, "totalCount"),
            count(item.total_upload_bytes, "totalUploadBytes"),
            count(item.total_download_bytes, "totalDownloadBytes"),
            count(item.total_size_change, "totalSizeChange"),
        )
        models.append(model)
    return models


def _daily_node_stats(items: list[wire.DailyNodeStatsShape]) -> list[DailyNodeStats]:
    models, state_of = [], STATES.get
    for item in items:
        model = _make_daily_node_stats(
            item.ip,
            item.host,
            item.perc_uptime,
            item.avg_latency_ms,
            item.version,
            state_of(item.node_status, item.node_status),
            None if item.last_updated is None else utc(item.last_updated, "last_updated"),
            item.last_latency_ms,
        )
        models.append(model)
    return models
