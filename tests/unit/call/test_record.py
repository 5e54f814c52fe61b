"""The facts of a call in its log lines, beside whatever an application adds to its records."""

import logging

import pytest

from flashback_async.values import Request
from tests.unit.support import Bench, answer, no, status_body

FACTS = {"operation", "bucket_id", "attempt", "status", "elapsed", "request_id"}
ASK = Request("status.get", "GET", "/bucket/b/status", "b")


@pytest.fixture
def factory():
    """A function that sets the application's record factory."""
    before = logging.getLogRecordFactory()
    yield logging.setLogRecordFactory
    logging.setLogRecordFactory(before)


async def records_of(caplog, *answers):
    caplog.set_level(logging.DEBUG, "flashback_async")
    async with Bench(*answers) as bench:
        await bench.caller.call(ASK, len)
    return [record for record in caplog.records if record.name == "flashback_async"]


async def test_every_record_carries_its_facts_one_by_one_and_together(caplog):
    records = await records_of(caplog, no(503, x_request_id="r1"), answer(status_body()))
    assert [record.levelname for record in records] == ["DEBUG", "INFO", "DEBUG", "DEBUG"]
    for record in records:
        assert set(record.flashback) == FACTS
        assert {name: getattr(record, name) for name in FACTS} == record.flashback
    first = records[0].flashback
    assert (first["operation"], first["bucket_id"], first["attempt"]) == ("status.get", "b", 1)
    assert (first["status"], first["request_id"]) == (503, "r1")
    assert records[0].funcName != "_log", "a record names the place that logged"


@pytest.mark.parametrize("name", [*sorted(FACTS), "flashback"])
async def test_a_name_that_the_application_has_taken_stays_its_own(caplog, factory, name):
    default = logging.getLogRecordFactory()

    def make(*args, **kwargs):
        record = default(*args, **kwargs)
        setattr(record, name, "the application's")
        return record

    factory(make)
    records = await records_of(caplog, no(500), answer(status_body()))
    assert len(records) == 4
    for record in records:
        assert set(record.flashback) == FACTS
        for fact in FACTS - {name}:
            assert getattr(record, fact) == record.flashback[fact]
        if name != "flashback":
            assert getattr(record, name) == "the application's"


async def test_a_record_may_be_of_a_class_whose_attributes_cannot_be_set(caplog, factory):
    class Record(logging.LogRecord):
        @property
        def request_id(self):
            return "the request of the web page"

    factory(Record)
    attempt, end = await records_of(caplog, answer(status_body(), x_request_id="r1"))
    assert attempt.request_id == end.request_id == "the request of the web page"
    assert attempt.flashback["request_id"] == "r1"


async def test_a_record_may_be_of_a_class_that_takes_every_name_for_itself(caplog, factory):
    def taken(self):
        raise RuntimeError("looked at")

    kind = type("Taken", (logging.LogRecord,), {name: property(taken) for name in FACTS})
    kind.flashback = property(lambda self: "the application's")
    factory(kind)
    for record in await records_of(caplog, answer(status_body())):
        assert record.flashback == "the application's"
        assert set(vars(record)["flashback"]) == FACTS


async def test_a_logger_that_is_silent_costs_no_record(factory, monkeypatch):
    def make(*_, **__):
        raise AssertionError("a record was made")

    monkeypatch.setattr(logging.getLogger("flashback_async"), "level", logging.CRITICAL)
    monkeypatch.setattr(logging.getLogger("flashback_async"), "_cache", {})
    factory(make)
    async with Bench(no(500), no(429, retry_after=1), answer(status_body())) as bench:
        await bench.caller.call(ASK, len)
