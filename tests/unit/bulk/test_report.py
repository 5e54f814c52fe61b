"""Outcomes and reports."""

import copy
import pickle

import pytest

from flashback_async.bulk.report import Failure, Report, Success, can_hash
from flashback_async.errors import FlashbackError, NotFoundError, ServerError

GONE = NotFoundError("gone", status=404)
BROKEN = ServerError("broken", status=500)
GOOD = Success(0, "a", 1, 0.5)
BAD = Failure(1, "b", GONE, 0.25)
WORSE = Failure(2, "c", BROKEN, 0.0)
REPORT = Report([GOOD, BAD, WORSE])


def test_an_outcome_is_a_value_or_an_error():
    assert GOOD.ok is True
    assert GOOD.unwrap() == GOOD.value == 1
    assert GOOD.error is None
    assert BAD.ok is False
    assert BAD.value is None
    assert BAD.error is GONE
    with pytest.raises(NotFoundError) as caught:
        BAD.unwrap()
    assert caught.value is GONE


def test_an_outcome_with_the_value_none_is_still_good():
    outcome = Success(0, "a", None, 0.0)
    assert outcome.ok
    assert outcome.unwrap() is outcome.value is None


def test_an_outcome_never_changes_and_travels():
    for outcome, name in ((GOOD, "value"), (GOOD, "error"), (BAD, "error"), (BAD, "ok")):
        with pytest.raises(AttributeError):
            setattr(outcome, name, None)
    assert pickle.loads(pickle.dumps(GOOD)) == GOOD == copy.copy(GOOD)
    assert str(pickle.loads(pickle.dumps(BAD)).error) == str(GONE)


def test_a_report_is_a_sequence_of_outcomes():
    assert len(REPORT) == 3
    assert list(REPORT) == [GOOD, BAD, WORSE]
    assert REPORT[0] is GOOD
    assert REPORT[-1] is WORSE
    assert BAD in REPORT
    assert REPORT.index(BAD) == 1
    with pytest.raises(IndexError):
        REPORT[3]
    part = REPORT[1:]
    assert isinstance(part, Report)
    assert list(part) == [BAD, WORSE]
    assert list(reversed(REPORT)) == [WORSE, BAD, GOOD]


def test_a_report_tells_what_succeeded_and_what_failed():
    assert not REPORT.ok
    assert REPORT.succeeded == {"a": 1}
    assert REPORT.succeeded is REPORT.succeeded, "who looks keys up in it need not keep it"
    assert REPORT.failed == {"b": GONE, "c": BROKEN}
    assert repr(REPORT) == "<Report: 1 succeeded, 2 failed>"
    with pytest.raises(ExceptionGroup) as caught:
        REPORT.raise_for_errors()
    assert caught.value.exceptions == (GONE, BROKEN)
    assert "2 of 3" in str(caught.value)
    assert caught.group_contains(NotFoundError)
    assert caught.group_contains(FlashbackError)


@pytest.mark.parametrize("report", [Report([]), Report([GOOD]), REPORT[:1]])
def test_a_report_without_errors_is_fine(report):
    assert report.ok
    assert report.failed == {}
    report.raise_for_errors()


def test_a_key_that_no_dict_can_hold_is_left_out_of_the_failed_only():
    odd = Failure(0, ["x"], GONE, 0.0)
    report = Report([odd, GOOD])
    assert report.failed == {}
    assert not report.ok
    assert report[0] is odd
    with pytest.raises(ExceptionGroup):
        report.raise_for_errors()


def test_a_report_travels():
    other = pickle.loads(pickle.dumps(REPORT[:1]))
    assert list(other) == [GOOD]
    assert len(copy.deepcopy(REPORT)) == 3


@pytest.mark.parametrize(("key", "can"), [("a", True), (None, True), ([], False), (([],), False)])
def test_whether_a_dict_can_hold_a_key(key, can):
    assert can_hash(key) is can
