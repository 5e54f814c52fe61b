"""The histogram that OpenTelemetry gets."""

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from flashback_async import AttemptEnded, ConnectError, ConnectionLostError, Observer
from flashback_async.otel import OTelObserver
from tests.unit.support import Bench, answer, lost, no, status_body

COMMON = {
    "http.request.method": "GET",
    "server.address": "api.test",
    "server.port": 443,
    "url.template": "/bucket/{bucketId}/status",
}


@pytest.fixture
def reader():
    return InMemoryMetricReader()


@pytest.fixture
def observer(reader):
    provider = MeterProvider([reader], shutdown_on_exit=False)
    yield OTelObserver(provider)
    provider.shutdown()


def metric_of(reader):
    (resource,) = reader.get_metrics_data().resource_metrics
    (scope,) = resource.scope_metrics
    assert scope.scope.name == "flashback_async"
    (metric,) = scope.metrics
    return metric


def told(status, error, elapsed=0.02):
    place = ("GET", "/bucket/{bucketId}/status", "api.test", 443)
    return AttemptEnded("status.get", *place, "b", 1, status, error, "r1", elapsed)


@pytest.mark.parametrize(
    ("status", "error", "more"),
    [
        (200, None, {"http.response.status_code": 200}),
        (503, "ServerError", {"http.response.status_code": 503, "error.type": "503"}),
        (404, "NotFoundError", {"http.response.status_code": 404, "error.type": "404"}),
        (None, "ConnectError", {"error.type": "ConnectError"}),
        (
            200,
            "ConnectionLostError",
            {"http.response.status_code": 200, "error.type": "ConnectionLostError"},
        ),
    ],
)
def test_an_attempt_is_recorded_with_the_attributes_of_the_conventions(
    observer, reader, status, error, more
):
    observer.attempt_ended(told(status, error))
    metric = metric_of(reader)
    assert (metric.name, metric.unit) == ("http.client.request.duration", "s")
    (point,) = metric.data.data_points
    assert dict(point.attributes) == COMMON | more
    assert (point.count, point.sum) == (1, 0.02)
    boundaries = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    assert tuple(point.explicit_bounds) == boundaries


async def test_a_client_records_every_attempt_and_no_bucket(observer, reader):
    script = [no(503), lost(ConnectError("refused")), answer(status_body())]
    async with Bench(*script, observer=observer) as bench:
        await bench.status.get("b")
    points = metric_of(reader).data.data_points
    assert sum(point.count for point in points) == 3
    assert {point.attributes.get("error.type") for point in points} == {None, "503", "ConnectError"}
    assert not any("b" in point.attributes.values() for point in points)


def test_it_needs_no_provider_of_its_own():
    observer = OTelObserver()
    assert isinstance(observer, Observer)
    observer.attempt_ended(told(None, ConnectionLostError.__name__))
