"""Models are plain values."""

import copy
import pickle
from datetime import UTC, datetime

import attrs
import pytest

from flashback_async.models import BucketStats, BucketStatus, DailyNodeStats, NodeState, NodeStatus

MOMENT = datetime(2024, 1, 15, tzinfo=UTC)
NODE = NodeStatus("10.0.0.1", "us-east-1", "1.2", NodeState.ONLINE, 4.5, MOMENT)
MODELS = [
    BucketStats("b", 1, 2, 3, -4),
    NODE,
    BucketStatus("b", (NODE, NODE)),
    DailyNodeStats("10.0.0.1", "*.x", 99.5, 4.5, "1.2", "ODD", MOMENT, 5.0),
]
FIELDS = {
    BucketStats: "bucket_id total_count total_upload_bytes total_download_bytes total_size_change",
    NodeStatus: "ip region version state latency_ms last_updated",
    BucketStatus: "bucket_id nodes",
    DailyNodeStats: (
        "ip host uptime_percent avg_latency_ms version state last_updated last_latency_ms"
    ),
}


@pytest.mark.parametrize("kind", FIELDS)
def test_fields_are_the_documented_ones_in_their_order(kind):
    assert [field.name for field in attrs.fields(kind)] == FIELDS[kind].split()
    assert all(f"{name}:" in kind.__doc__ for name in FIELDS[kind].split())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_models_are_frozen_values(model):
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(model, attrs.fields(type(model))[0].name, "x")
    with pytest.raises(AttributeError):
        model.other = 1
    assert not hasattr(model, "__dict__")
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other == model
        assert hash(other) == hash(model)


def test_states_are_text():
    assert list(NodeState) == ["ONLINE", "OFFLINE", "DISCONNECTED"]
    assert NodeState.OFFLINE == "OFFLINE"
    assert f"{NodeState.OFFLINE}" == "OFFLINE"


@pytest.mark.parametrize(
    ("host", "region", "provider"),
    [
        ("*-us-east-1-aws.flashback.tech", "us-east-1", "aws"),
        ("*-europe-west1-gcp.flashback.tech", "europe-west1", "gcp"),
        ("*-eastus2-azure.flashback.tech", "eastus2", "azure"),
        ("*-ap-southeast-2-aws.nodes.example.com", "ap-southeast-2", "aws"),
        (None, None, None),
        ("", None, None),
        ("us-east-1-aws.flashback.tech", None, None),
        ("*.flashback.tech", None, None),
        ("*-aws.flashback.tech", None, None),
        ("*--aws.flashback.tech", None, None),
        ("*-us-east-1-.flashback.tech", None, None),
        ("*-us-east-1-aws", None, None),
        ("*-us-east-1-aws.", None, None),
        ("*-us.east-1-aws.flashback.tech", None, None),
        ("x*-us-east-1-aws.flashback.tech", None, None),
        ("*-us-east-1-aws.flashback.tech\n", None, None),
    ],
)
def test_region_and_provider_are_read_from_the_host(host, region, provider):
    daily = DailyNodeStats(host=host)
    assert (daily.region, daily.provider) == (region, provider)


def test_region_and_provider_are_neither_compared_nor_shown():
    daily = DailyNodeStats(host="*-us-east-1-aws.flashback.tech")
    assert "region" not in repr(daily)
    assert "region" not in attrs.asdict(daily)


@pytest.mark.parametrize("kind", FIELDS)
def test_what_is_optional_defaults_to_none(kind):
    required = {"bucket_id": "b", "nodes": ()}
    needed = {n: v for n, v in required.items() if n in FIELDS[kind].split()}
    model = kind(**needed)
    others = [getattr(model, n) for n in FIELDS[kind].split() if n not in needed]
    assert others == [None] * len(others)
