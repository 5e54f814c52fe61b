"""The text formats, as the parsers of prometheus_client read them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser as text_parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from flashback_async.pages.exporter.exposition import Family, Form, Page, escaped, label_set, number

GAUGE = Family("flashback_things", "gauge", "Things by kind.")
SECONDS = Family("flashback_wait_seconds", "gauge", "How long it waits.", "seconds")
BYTES = Family("flashback_sent_bytes", "counter", "Bytes sent.", "bytes")
FAMILIES = (GAUGE, SECONDS, BYTES)
PARSERS = {Form.TEXT: text_parser, Form.OPENMETRICS: openmetrics_parser}
FORMS = pytest.mark.parametrize("form", Form)


def parsed(form, *series, families=FAMILIES):
    """Return what a parser reads from a page with these series."""
    page = Page(form, families)
    for one in series:
        page.add(*one)
    page.pack()
    text = b"".join(page.blocks()).decode()
    return {family.name: family for family in PARSERS[form].text_string_to_metric_families(text)}


def values(families):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
    }


@FORMS
def test_families_stay_together_whatever_the_order_of_their_series(form):
    found = parsed(
        form,
        (GAUGE, label_set(kind="a"), 1),
        (BYTES, label_set(to="x"), 10),
        (GAUGE, label_set(kind="b"), 2),
        (SECONDS, "", 0.5),
    )
    assert values(found) == {
        ("flashback_things", "a"): 1,
        ("flashback_things", "b"): 2,
        ("flashback_sent_bytes_total", "x"): 10,
        ("flashback_wait_seconds",): 0.5,
    }
    assert found["flashback_things"].documentation == "Things by kind."
    assert {family.type for family in found.values()} == {"gauge", "counter"}


def test_openmetrics_has_units_and_an_end_and_its_counters_have_names_without_total():
    found = parsed(Form.OPENMETRICS, (BYTES, "", 1), (SECONDS, "", 1))
    assert (found["flashback_sent_bytes"].type, found["flashback_sent_bytes"].unit) == (
        "counter",
        "bytes",
    )
    assert found["flashback_wait_seconds"].unit == "seconds"
    assert found["flashback_things"].unit == ""
    page = Page(Form.OPENMETRICS, ())
    assert list(page.blocks()) == [b"# EOF\n"]


def test_plain_text_has_neither_units_nor_an_end_and_declares_counters_with_total():
    page = Page(Form.TEXT, [BYTES])
    page.add(BYTES, "", 1)
    page.pack()
    assert b"".join(page.blocks()) == (
        b"# HELP flashback_sent_bytes_total Bytes sent.\n"
        b"# TYPE flashback_sent_bytes_total counter\n"
        b"flashback_sent_bytes_total 1\n"
    )


@FORMS
@given(labels=st.lists(st.text(), min_size=1, max_size=5, unique=True))
def test_any_text_is_read_back_from_a_label(form, labels):
    found = parsed(form, *((GAUGE, label_set(kind=text), n) for n, text in enumerate(labels)))
    assert values(found) == {("flashback_things", text): n for n, text in enumerate(labels)}


@FORMS
@given(text=st.text(st.characters(categories=["Cs"])) | st.text(st.characters()))
def test_lone_surrogates_break_no_scrape(form, text):
    ((_, read),) = values(parsed(form, (GAUGE, label_set(kind=text), 1)))
    assert read == "".join(rf"\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in text)


def test_what_a_label_cannot_hold_is_escaped():
    assert escaped('a\\b"c\nd') == r"a\\b\"c\nd"
    assert escaped("\ud83d") == r"\\ud83d"
    assert escaped("é 漢 \r\t🎉") == "é 漢 \r\t🎉"
    assert label_set(a="1", b='"') == r'{a="1",b="\""}'


@FORMS
@given(value=st.integers(-(10**100), 10**100) | st.floats())
def test_any_number_is_read_back(form, value):
    ((_, read),) = values(parsed(form, (GAUGE, label_set(kind="a"), value))).items()
    assert read == pytest.approx(float(value), rel=0, abs=0, nan_ok=True)


def test_numbers_are_written_as_the_formats_want_them():
    assert [number(n) for n in (True, False, 2**70, -1, 0.25)] == [
        "1",
        "0",
        "1180591620717411303424",
        "-1",
        "0.25",
    ]
    assert [number(n) for n in (math.inf, -math.inf, math.nan)] == ["+Inf", "-Inf", "NaN"]


@FORMS
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, None])
def test_what_no_counter_can_be_is_left_out(form, value):
    found = parsed(form, (BYTES, "", value), (BYTES, label_set(to="x"), 0))
    assert values(found) == {("flashback_sent_bytes_total", "x"): 0}


def test_a_series_without_a_value_is_left_out():
    assert values(parsed(Form.TEXT, (GAUGE, "", None))) == {}
