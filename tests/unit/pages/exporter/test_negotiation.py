"""What a scraper's headers ask for."""

import pytest

from flashback_async.pages.exporter.exposition import Form
from flashback_async.pages.exporter.negotiation import accepts_gzip, chosen_form

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form.TEXT),
        ("*/*", Form.TEXT),
        ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", Form.TEXT),
        ("text/plain", Form.TEXT),
        ("application/json", Form.TEXT),
        (PROMETHEUS, Form.OPENMETRICS),
        ("application/openmetrics-text", Form.OPENMETRICS),
        ('Application/OpenMetrics-Text; Version="1.0.0"', Form.OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1", Form.TEXT),
        ("application/openmetrics-text;q=0", Form.TEXT),
        ("application/openmetrics-text;q=0.3,text/plain;q=0.5", Form.TEXT),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.5", Form.OPENMETRICS),
        ("application/openmetrics-text;q=nonsense", Form.TEXT),
        ("application/openmetrics-text;q=nan", Form.TEXT),
        (";;,=,q=1,", Form.TEXT),
    ],
)
def test_the_format_is_the_one_that_is_preferred(accept, form):
    assert chosen_form([accept]) is form


def test_several_headers_are_one():
    assert chosen_form(["text/plain;q=0.1", "application/openmetrics-text"]) is Form.OPENMETRICS


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ([], False),
        (["gzip"], True),
        (["deflate, GZIP;q=0.5"], True),
        (["deflate", "gzip"], True),
        (["gzip;q=0"], False),
        (["identity", "br"], False),
        (["x-gzip"], False),
    ],
)
def test_an_answer_is_compressed_only_if_that_is_accepted(accepted, expected):
    assert accepts_gzip(accepted) is expected
