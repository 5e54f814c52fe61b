"""The models as Pydantic sees them: bytes, errors, the OpenAPI document, and FastAPI around it."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated

import attrs
import httpx
import pytest
from fastapi import Body, FastAPI
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from flashback_async import (
    BucketStats,
    BucketStatus,
    DailyNodeStats,
    NodeState,
    NodeStatus,
    to_json,
)

SEEN = datetime(2024, 1, 15, 10, 30, 0, 250_000, tzinfo=UTC)
NODE = NodeStatus("10.0.0.1", "us-east-1", "1.8.2", NodeState.ONLINE, 14.5, SEEN)
STATUS = BucketStatus("b1", (NODE, NodeStatus(state="IN REPAIR")))
STATS = BucketStats("b1", 10**59 + 1, 2**64, None, -5)
DAILY = DailyNodeStats("10.0.0.1", "*-us-east-1-aws.x", 99.5, 45.25, "1.8.2", "ODD", SEEN, 42.0)
MODELS = [NODE, STATUS, STATS, DAILY]
models = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
NODE_TEXT = (
    '{"ip":"10.0.0.1","region":"us-east-1","version":"1.8.2","state":"ONLINE",'
    '"latency_ms":14.5,"last_updated":"2024-01-15T10:30:00.250000Z"}'
)
BLANK_TEXT = (
    '{"ip":null,"region":null,"version":null,"state":"IN REPAIR",'
    '"latency_ms":null,"last_updated":null}'
)
STATUS_TEXT = f'{{"bucket_id":"b1","nodes":[{NODE_TEXT},{BLANK_TEXT}]}}'
STATS_TEXT = (
    f'{{"bucket_id":"b1","total_count":1{"0" * 58}1,"total_upload_bytes":{2**64},'
    '"total_download_bytes":null,"total_size_change":-5}'
)

JSON = {"Content-Type": "application/json"}


def errors_of(kind, value):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    return {error["loc"]: error["type"] for error in caught.value.errors()}


# Without a framework.


@models
def test_an_instance_is_taken_as_it_is(model):
    assert TypeAdapter(type(model)).validate_python(model) is model
    assert TypeAdapter(type(model)).validate_python(model, strict=True) is model


def test_what_comes_back_has_the_types_of_the_model():
    status = TypeAdapter(BucketStatus).validate_json(STATUS_TEXT)
    assert status == STATUS
    assert type(status.nodes) is tuple
    assert [type(node.state) for node in status.nodes] == [NodeState, str]
    assert status.nodes[0].last_updated.tzinfo is UTC
    assert type(TypeAdapter(NodeStatus).validate_json('{"latency_ms":45}').latency_ms) is float


@models
def test_unknown_fields_are_ignored_and_missing_ones_are_none(model):
    adapter = TypeAdapter(type(model))
    required = [f.name for f in attrs.fields(type(model)) if f.default is attrs.NOTHING]
    given = {name: adapter.dump_python(model)[name] for name in required}
    found = adapter.validate_python({**given, "new": [1, {"a": None}]})
    assert found == type(model)(*[getattr(model, name) for name in required])


@pytest.mark.parametrize(
    ("kind", "value", "errors"),
    [
        (BucketStats, {}, {("bucket_id",): "missing"}),
        (BucketStats, {"bucket_id": None}, {("bucket_id",): "string_type"}),
        (BucketStats, {"bucket_id": "b", "total_count": "1"}, {("total_count",): "int_type"}),
        (BucketStats, {"bucket_id": "b", "total_count": 1.0}, {("total_count",): "int_type"}),
        (BucketStats, {"bucket_id": "b", "total_count": True}, {("total_count",): "int_type"}),
        (NodeStatus, {"latency_ms": "1.5"}, {("latency_ms",): "float_type"}),
        (NodeStatus, {"latency_ms": True}, {("latency_ms",): "float_type"}),
        (NodeStatus, {"latency_ms": float("nan")}, {("latency_ms",): "finite_number"}),
        (NodeStatus, {"state": 5}, {("state",): "string_type"}),
        (NodeStatus, {"state": b"ONLINE"}, {("state",): "string_type"}),
        (NodeStatus, {"last_updated": 5}, {("last_updated",): "string_type"}),
        (NodeStatus, {"last_updated": "5"}, {("last_updated",): "iso_time"}),
        (NodeStatus, {"last_updated": "2024-02-30T00:00:00Z"}, {("last_updated",): "iso_time"}),
        (NodeStatus, [], {(): "dict_type"}),
        (NodeStatus, STATS, {(): "dict_type"}),
        (BucketStatus, {"bucket_id": "b"}, {("nodes",): "missing"}),
        (BucketStatus, {"bucket_id": "b", "nodes": {}}, {("nodes",): "list_type"}),
        (
            BucketStatus,
            {"bucket_id": 5, "nodes": [{}, {"ip": 5, "latency_ms": []}, None]},
            {
                ("bucket_id",): "string_type",
                ("nodes", 1, "ip"): "string_type",
                ("nodes", 1, "latency_ms"): "float_type",
                ("nodes", 2): "dict_type",
            },
        ),
        (list[BucketStats], [{"bucket_id": "b"}, {}], {(1, "bucket_id"): "missing"}),
    ],
)
def test_what_does_not_fit_is_an_error_at_its_place(kind, value, errors):
    assert errors_of(kind, value) == errors


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2024, 1, 15, 10, 30),  # noqa: DTZ001
        datetime(2024, 1, 15, 16, tzinfo=timezone(timedelta(hours=5.5))),
    ],
)
def test_a_time_is_written_in_utc(moment):
    dumped = TypeAdapter(NodeStatus).dump_python(NodeStatus(last_updated=moment))
    assert dumped["last_updated"] == "2024-01-15T10:30:00Z"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_cannot_hold_is_refused_and_not_null(number):
    adapter = TypeAdapter(BucketStatus)
    with pytest.raises(PydanticSerializationError, match=f"JSON cannot hold {number}"):
        adapter.dump_json(BucketStatus("b", (NodeStatus(latency_ms=number),)))


class Page(BaseModel):
    """A model of a user, whose own settings are stricter and looser than ours."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, str_max_length=3)

    title: str
    status: BucketStatus | None = None
    either: BucketStats | BucketStatus | None = None


def test_a_model_of_a_user_can_hold_models():
    page = Page(title=" a ", status=STATUS, either=STATS)
    text = page.model_dump_json()
    assert text == f'{{"title":"a","status":{STATUS_TEXT},"either":{STATS_TEXT}}}'
    assert Page.model_validate_json(text) == Page.model_validate(page.model_dump()) == page
    assert Page(title="a", either=STATUS).model_dump()["either"] == page.model_dump()["status"]


def test_settings_of_a_user_end_at_the_models():
    record = {"bucket_id": " long text ", "nodes": [], "new": 1}
    assert Page(title="a", status=record).status == BucketStatus(" long text ", ())
    assert list(errors_of(Page, {"title": "a", "status": {"nodes": []}})) == [
        ("status", "bucket_id")
    ]


def test_fields_can_be_left_out_as_of_any_model():
    page = Page(title="a", status=BucketStatus("b", (NodeStatus("10.0.0.1"),)))
    assert page.model_dump(exclude_none=True) == {
        "title": "a",
        "status": {"bucket_id": "b", "nodes": [{"ip": "10.0.0.1"}]},
    }
    assert page.model_dump(include={"status": {"bucket_id"}}) == {"status": {"bucket_id": "b"}}
    left = page.model_dump(exclude={"status": {"nodes": {0: {"state", "region"}}}})
    assert list(left["status"]["nodes"][0]) == ["ip", "version", "latency_ms", "last_updated"]


@models
def test_input_and_output_have_the_same_schema(model):
    adapter = TypeAdapter(type(model))
    schema = adapter.json_schema(mode="validation")
    assert schema == adapter.json_schema(mode="serialization")
    assert list(schema["properties"]) == [field.name for field in attrs.fields(type(model))]
    for name, described in schema["properties"].items():
        assert described["description"].endswith("."), name
        assert "`" not in described["description"]


# On the routes of FastAPI.


@pytest.fixture
async def visitor():
    app = FastAPI()

    @app.get("/status")
    async def status() -> BucketStatus:
        return STATUS

    @app.get("/stats")
    async def stats() -> list[BucketStats]:
        return [STATS, STATS]

    @app.get("/days")
    async def days() -> list[DailyNodeStats]:
        return [DAILY]

    @app.post("/status")
    async def echo(status: Annotated[BucketStatus, Body()]) -> BucketStatus:
        assert type(status) is BucketStatus
        return status

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://backend") as visitor:
        yield visitor


async def test_a_route_answers_with_the_json_form(visitor):
    assert (await visitor.get("/status")).text == STATUS_TEXT
    assert (await visitor.get("/stats")).text == f"[{STATS_TEXT},{STATS_TEXT}]"
    assert (await visitor.get("/days")).json() == json.loads(to_json([DAILY]))


async def test_a_route_takes_a_model_as_its_body(visitor):
    sent = await visitor.post("/status", content=STATUS_TEXT, headers=JSON)
    assert (sent.status_code, sent.text) == (200, STATUS_TEXT)
    record = {"bucket_id": "b", "new": 1, "nodes": [{"state": "ONLINE"}]}
    assert (await visitor.post("/status", json=record)).json()["nodes"][0]["state"] == "ONLINE"


async def test_a_body_that_does_not_fit_is_422_at_its_place(visitor):
    refused = await visitor.post(
        "/status", json={"nodes": [{"last_updated": 5}, {"last_updated": "today"}]}
    )
    assert refused.status_code == 422
    assert [error["loc"] for error in refused.json()["detail"]] == [
        ["body", "bucket_id"],
        ["body", "nodes", 0, "last_updated"],
        ["body", "nodes", 1, "last_updated"],
    ]


async def test_the_openapi_page_shows_the_json_form_once(visitor):
    page = (await visitor.get("/openapi.json")).json()
    schemas = page["components"]["schemas"]
    assert {"BucketStats", "BucketStatus", "NodeStatus", "DailyNodeStats"} == {
        name for name in schemas if "ValidationError" not in name
    }
    reference = {"$ref": "#/components/schemas/BucketStatus"}
    route = page["paths"]["/status"]
    answer = route["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == reference
    assert route["post"]["requestBody"]["content"]["application/json"]["schema"] == reference
    assert schemas["BucketStatus"] == {
        "title": "BucketStatus",
        "description": "Current node status of one bucket.",
        "type": "object",
        "required": ["bucket_id", "nodes"],
        "properties": {
            "bucket_id": {
                "title": "Bucket Id",
                "type": "string",
                "description": "The bucket; the id asked for if the answer names none.",
            },
            "nodes": {
                "title": "Nodes",
                "type": "array",
                "items": {"$ref": "#/components/schemas/NodeStatus"},
                "description": "The bucket's nodes in the order of the answer; may be empty.",
            },
        },
    }


async def test_the_openapi_page_shows_states_times_and_numbers(visitor):
    schemas = (await visitor.get("/openapi.json")).json()["components"]["schemas"]
    null = {"type": "null"}
    fields = schemas["NodeStatus"]["properties"]
    known = {"type": "string", "enum": ["ONLINE", "OFFLINE", "DISCONNECTED"]}
    assert fields["state"]["anyOf"] == [known, {"type": "string"}, null]
    assert fields["last_updated"]["anyOf"] == [{"type": "string", "format": "date-time"}, null]
    assert fields["latency_ms"]["anyOf"] == [{"type": "number"}, null]
    assert fields["latency_ms"]["description"] == "Latency of the node in milliseconds."
    assert "required" not in schemas["NodeStatus"]
    assert schemas["BucketStats"]["required"] == ["bucket_id"]
    assert schemas["BucketStats"]["properties"]["total_count"]["anyOf"] == [
        {"type": "integer"},
        null,
    ]
