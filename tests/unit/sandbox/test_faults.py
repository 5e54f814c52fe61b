"""Faults: how they are made, what they are about, and which requests they strike."""

import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashback_async.sandbox import Fault
from flashback_async.sandbox.log import Exchange
from flashback_async.sandbox.script import Script, Stage

NAIVE = datetime(2026, 1, 5)  # noqa: DTZ001 - without a time zone, to be refused


def exchange(operation="status.get", bucket_id="b1", *, at=0.0, named=None):
    ids = named if named is not None else () if bucket_id is None else (bucket_id,)
    return Exchange("GET", "/", operation, bucket_id, tuple(map(str.lower, ids)), at, 1)


def no_outage(script, begins):
    pass


@pytest.fixture
def stage():
    return Stage(no_outage)


def strikes(stage, *faults, requests):
    """Return the place of the fault that strikes each request, or None."""
    with Script(faults, stage):
        found = []
        for request in requests:
            taken = stage.take(request)
            found.append(None if taken is None else faults.index(taken[1]))
        return found


# How they are made.


def test_a_fault_never_changes():
    fault = Fault.status(503)
    assert fault.first(3) is not fault
    assert fault == Fault.status(503)
    with pytest.raises(AttributeError):
        fault.limit = 5
    assert len({fault, Fault.status(503), fault.first(3)}) == 2
    assert pickle.loads(pickle.dumps(fault.first(3))) == fault.first(3)


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (Fault.status(429, retry_after=2).first(3), "Fault.status(429, retry_after=2).first(3)"),
        (Fault.body(b"<html>"), "Fault.body(b'<html>', status=200)"),
        (Fault.hang().for_bucket("b").every(2), "Fault.hang().for_bucket('b').every(2)"),
        (Fault.down().between(1, 2.5), "Fault.down().between(1, 2.5)"),
        (
            Fault.cut(4).for_operation("status.get").after(2),
            "Fault.cut(4).for_operation('status.get').after(2)",
        ),
    ],
)
def test_it_shows_as_it_was_made(fault, shown):
    assert repr(fault) == shown


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (None, None),
        (0, "0"),
        (2, "2"),
        (0.25, "0.25"),
        ("nonsense, please", "nonsense, please"),
        (datetime(2026, 1, 5, 10, tzinfo=UTC), "Mon, 05 Jan 2026 10:00:00 GMT"),
        (
            datetime(2026, 1, 5, 10, tzinfo=timezone(timedelta(hours=2))),
            "Mon, 05 Jan 2026 08:00:00 GMT",
        ),
    ],
)
def test_the_time_to_wait_is_seconds_a_date_or_text(given, sent):
    assert Fault.status(429, retry_after=given).effect.retry_after == sent


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Fault.status(99), "status must be 200 or more, not 99"),
        (lambda: Fault.status(600), "status must be 599 or less, not 600"),
        (lambda: Fault.status("503"), "status must be a whole number, not '503'"),
        (lambda: Fault.status(True), "status must be a whole number"),
        (lambda: Fault.status(429, retry_after=-1), "retry_after must be 0 or more"),
        (lambda: Fault.status(429, retry_after=float("nan")), "retry_after must be a finite"),
        (lambda: Fault.status(429, retry_after=True), "retry_after must be seconds"),
        (lambda: Fault.status(429, retry_after=b"2"), "retry_after must be seconds"),
        (lambda: Fault.status(429, retry_after="2\r\nx: y"), "retry_after must be ASCII"),
        (lambda: Fault.status(429, retry_after=NAIVE), "retry_after must be a time"),
        (lambda: Fault.body("text"), "body must be bytes, not str"),
        (lambda: Fault.body(b"", status=99), "status must be 200 or more"),
        (lambda: Fault.body(b"", content_type="a\nb"), "content_type must be ASCII"),
        (lambda: Fault.slow(-1), "seconds must be 0 or more, not -1"),
        (lambda: Fault.slow("2"), "seconds must be a finite number"),
        (lambda: Fault.cut(-1), "length must be 0 or more"),
        (lambda: Fault.cut(1.5), "length must be a whole number"),
        (lambda: Fault.drip(0), "rate must be 0.001 or more"),
        (lambda: Fault.hang().first(0), "strikes must be 1 or more"),
        (lambda: Fault.hang().every(0), "requests must be 1 or more"),
        (lambda: Fault.hang().after(-1), "requests must be 0 or more"),
        (lambda: Fault.hang().after(1.0), "requests must be a whole number"),
        (lambda: Fault.hang().for_bucket(7), "bucket_id must be text, not 7"),
        (lambda: Fault.hang().for_operation("status"), "operation must be one of status.get, "),
        (lambda: Fault.hang().between(-1, 2), "begin must be 0 or more"),
        (lambda: Fault.hang().between(2, 2), "end must be more than begin, 2, not 2"),
        (lambda: Fault.down().first(1), r"Fault.down\(\) takes after\(\) and between\(\) only"),
        (lambda: Fault.down().for_bucket("b"), r"only, not for_bucket\(\)"),
        (lambda: Fault.down().every(2), r"only, not every\(\)"),
        (lambda: Fault.down().for_operation("status.get"), r"only, not for_operation\(\)"),
    ],
)
def test_a_wrong_argument_is_named_with_its_rule(make, says):
    with pytest.raises(ValueError, match=says):
        make()


# Which requests they strike.


def test_without_a_condition_it_strikes_every_request(stage):
    assert strikes(stage, Fault.hang(), requests=[exchange(None, None)] * 3) == [0, 0, 0]


def test_faults_take_turns_down_the_list(stage):
    faults = Fault.status(500).first(2), Fault.status(502).first(1), Fault.status(503).first(1)
    assert strikes(stage, *faults, requests=[exchange()] * 6) == [0, 0, 1, 2, None, None]


@pytest.mark.parametrize(
    ("fault", "struck"),
    [
        (Fault.hang().after(3), [4, 5, 6, 7, 8, 9, 10]),
        (Fault.hang().every(3), [3, 6, 9]),
        (Fault.hang().first(2), [1, 2]),
        (Fault.hang().after(2).every(3), [5, 8]),
        (Fault.hang().after(2).every(3).first(1), [5]),
        (Fault.hang().first(1).after(2), [3]),
        (Fault.token_expired(), [1]),
        (Fault.token_expired().after(4), [5]),
        (Fault.token_expired().first(5), [1]),
    ],
)
def test_conditions_count_the_requests_that_fit(stage, fault, struck):
    found = strikes(stage, fault, requests=[exchange()] * 10)
    assert [n for n, place in enumerate(found, 1) if place == 0] == struck


def test_a_request_that_an_earlier_fault_took_is_not_counted_by_a_later_one(stage):
    faults = Fault.status(500).every(2), Fault.status(503).every(2)
    # The second one counts the requests 1, 3, 5 and 7 alone.
    found = strikes(stage, *faults, requests=[exchange()] * 8)
    assert found == [None, 0, 1, 0, None, 0, 1, 0]


def test_it_may_be_about_one_bucket_whatever_its_case_and_lists_that_name_it(stage):
    requests = [
        exchange(bucket_id="B1"),
        exchange(bucket_id="b2"),
        exchange("bucket_stats.list", None, named=["b0", "b1"]),
        exchange("bucket_stats.list", None, named=["b0"]),
        exchange("bucket_stats.list", None, named=[]),
    ]
    fault = Fault.hang().for_bucket("b1")
    assert strikes(stage, fault, requests=requests) == [0, None, 0, None, None]


def test_it_may_be_about_one_operation(stage):
    kinds = ["status.get", "node_stats.get", "bucket_stats.list", None]
    requests = [exchange(kind) for kind in kinds]
    for place, kind in enumerate(kinds[:3]):
        found = strikes(stage, Fault.hang().for_operation(kind), requests=requests)
        assert [n for n, struck in enumerate(found) if struck == 0] == [place]


def test_it_may_be_about_a_time_since_the_script_began(stage):
    with Script([Fault.hang().between(1.0, 2.0)], stage) as script:
        found = [
            stage.take(exchange(at=script._began + age)) is not None
            for age in (0.0, 0.99, 1.0, 1.99, 2.0, 9.0)
        ]
    assert found == [False, False, True, True, False, False]


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=4
    ),
    st.integers(0, 40),
)
def test_any_list_strikes_as_a_plain_model_says(conditions, requests):
    faults = [
        Fault.slow(number).after(after).every(every).first(first)
        for number, (after, every, first) in enumerate(conditions)
    ]
    counts = [0] * len(faults)
    struck = [0] * len(faults)
    expected = []
    for _ in range(requests):
        taken = None
        for n, (after, every, first) in enumerate(conditions):
            counts[n] += 1
            beyond = counts[n] - after
            if beyond > 0 and beyond % every == 0 and struck[n] < first:
                struck[n] += 1
                taken = n
                break
        expected.append(taken)
    stage = Stage(no_outage)
    assert strikes(stage, *faults, requests=[exchange()] * requests) == expected


# Scripts.


def test_an_inner_script_comes_first_and_the_end_of_the_block_lifts_what_is_left(stage):
    outer, inner = Fault.status(500), Fault.status(503).first(1)
    with Script([outer], stage), Script([inner], stage) as script:
        assert stage.take(exchange())[1] is inner
        assert stage.take(exchange())[1] is outer
        assert [fault for fault, _ in script.struck] == [inner]
    assert stage.take(exchange()) is None


def test_a_fault_may_stand_in_several_scripts_which_count_for_themselves(stage):
    fault = Fault.status(503).first(1)
    for _ in range(2):
        assert strikes(stage, fault, requests=[exchange()] * 2) == [0, None]


def test_a_script_is_in_force_once(stage):
    script = Script([], stage)
    with script:
        pass
    with pytest.raises(RuntimeError, match="only once"), script:
        pass


def test_check_names_every_fault_that_never_struck(stage):
    faults = Fault.status(503).first(1), Fault.hang().after(5), Fault.slow(1).every(9)
    with Script(faults, stage) as script:
        stage.take(exchange())
    with pytest.raises(AssertionError) as caught:
        script.check()
    assert str(caught.value) == "never struck: Fault.hang().after(5), Fault.slow(1).every(9)"


def test_check_passes_over_an_outage(stage):
    with Script([Fault.down().between(5, 6)], stage) as script:
        pass
    script.check()


def test_what_was_struck_shows_what_became_of_the_request(stage):
    with Script([Fault.slow(1)], stage) as script:
        request = exchange()
        stage.take(request)
        ((fault, seen),) = script.struck
        assert (fault, seen.status, seen.fault) == (Fault.slow(1), None, Fault.slow(1))
        request.status = 200
        assert script.struck[0][1].status == 200


def test_scripts_are_lifted_all_at_once_and_left_later_without_harm(stage):
    with Script([Fault.hang()], stage):
        stage.lift_all()
        assert stage.take(exchange()) is None
    assert stage.take(exchange()) is None
