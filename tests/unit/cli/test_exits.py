"""Exit codes: the one that wins if several apply."""

import pytest

from flashback_async import (
    AuthenticationError,
    ConfigurationError,
    DeadlineExceededError,
    Failure,
    InvalidArgumentError,
    NotFoundError,
    ServerError,
)
from flashback_async.cli import exits
from flashback_async.cli.exits import Deadline, Exit, Tally, exit_of


def passed_deadline(monkeypatch):
    deadline = Deadline(5.0)
    started = exits.time.monotonic()
    monkeypatch.setattr(exits.time, "monotonic", lambda: started + 5.0)
    return deadline


def code(deadline, *errors):
    tally = Tally(deadline)
    for place, error in enumerate(errors):
        tally.count(Failure(place, f"b{place}", error, 0.0))
    return tally.code()


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([], Exit.OK),
        ([None], Exit.OK),
        ([None, NotFoundError("x")], Exit.SOME_FAILED),
        ([NotFoundError("x")], Exit.NOTHING_SUCCEEDED),
        ([None, AuthenticationError("x"), NotFoundError("x")], Exit.TOKEN_REJECTED),
        # One slow bucket is not the end of the run.
        ([None, DeadlineExceededError("x")], Exit.SOME_FAILED),
    ],
)
def test_the_code_says_the_most_telling_thing(errors, expected):
    assert code(Deadline(None), *errors) is expected


def test_a_deadline_that_passed_outranks_that_nothing_succeeded(monkeypatch):
    deadline = passed_deadline(monkeypatch)
    assert code(deadline, DeadlineExceededError("x")) is Exit.DEADLINE
    assert code(deadline, NotFoundError("x")) is Exit.NOTHING_SUCCEEDED
    assert code(deadline, None) is Exit.OK
    both = [DeadlineExceededError("x"), AuthenticationError("x")]
    assert code(deadline, *both) is Exit.TOKEN_REJECTED


def test_the_time_left_is_never_nothing(monkeypatch):
    assert Deadline(None).left() is None
    assert passed_deadline(monkeypatch).left() > 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConfigurationError("x"), Exit.USAGE),
        (InvalidArgumentError("x"), Exit.USAGE),
        (AuthenticationError("x"), Exit.TOKEN_REJECTED),
        (ServerError("x"), Exit.NOTHING_SUCCEEDED),
        (DeadlineExceededError("x"), Exit.NOTHING_SUCCEEDED),
    ],
)
def test_an_error_that_ends_the_run_has_its_code(error, expected):
    assert exit_of(error, Deadline(None)) is expected


def test_a_search_that_outlasts_the_deadline_has_the_code_of_a_deadline(monkeypatch):
    error = DeadlineExceededError("x")
    assert exit_of(error, passed_deadline(monkeypatch)) is Exit.DEADLINE


def test_only_the_first_failures_are_kept():
    tally = Tally(Deadline(None))
    for place in range(100):
        tally.count(Failure(place, "b", NotFoundError("x"), 0.0))
    assert (tally.failed, len(tally.first_failures)) == (100, 20)
