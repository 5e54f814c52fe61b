"""Metrics of a client for OpenTelemetry: the duration of every request."""

from __future__ import annotations

from opentelemetry.metrics import MeterProvider, get_meter

from flashback_async import AttemptEnded, Observer, __version__

# Seconds, as the semantic conventions for HTTP recommend.
_BOUNDARIES = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]


class OTelObserver(Observer):
    """An observer that records each attempt in the histogram ``http.client.request.duration``.

    The values are seconds. The attributes are those of the semantic conventions for HTTP. None of
    them names a bucket, so the number of time series stays small. ``error.type`` is the status
    from 400 on. Where no usable answer arrived, it is the class of the error.

    Args:
        meter_provider: Where the histogram is made. None takes the global provider.
    """

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        meter = get_meter("flashback_async", __version__, meter_provider)
        self._duration = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )

    def attempt_ended(self, fact: AttemptEnded) -> None:
        """Record the duration of an attempt."""
        attributes: dict[str, str | int] = {
            "http.request.method": fact.method,
            "server.address": fact.server_address,
            "server.port": fact.server_port,
            "url.template": fact.url_template,
        }
        if fact.status is not None:
            attributes["http.response.status_code"] = fact.status
        if fact.status is not None and fact.status >= 400:
            attributes["error.type"] = str(fact.status)
        elif fact.error is not None:
            attributes["error.type"] = fact.error
        self._duration.record(fact.elapsed, attributes)
