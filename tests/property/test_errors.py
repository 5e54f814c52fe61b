"""Every error survives pickling and copying, whatever it holds."""

import copy
import pickle

from hypothesis import given
from hypothesis import strategies as st

from flashback_async import errors
from flashback_async.errors import APIError, DecodeError, FlashbackError
from tests import inside
from tests.property.strategies import any_text

KINDS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, FlashbackError)
]
maybe_text = st.none() | any_text
seconds = st.floats(allow_nan=False)
common = {
    "operation": maybe_text,
    "bucket_id": maybe_text,
    "attempts": st.integers(0),
    "elapsed": seconds,
}
of_api = {
    "status": st.integers(),
    "code": maybe_text,
    "message": maybe_text,
    "request_id": maybe_text,
    "retry_after": st.none() | seconds,
    "body": any_text,
}
of_decoding = {"path": any_text, "status": st.integers(), "request_id": maybe_text}


@st.composite
def all_errors(draw):
    kind = draw(st.sampled_from(KINDS))
    fields = dict(common)
    if issubclass(kind, APIError):
        fields |= of_api
    if issubclass(kind, DecodeError):
        fields |= of_decoding
    error = kind(draw(any_text), **draw(st.fixed_dictionaries({}, optional=fields)))
    for remark in draw(st.lists(any_text, max_size=3)):
        inside.remark(error, remark)
    return error


@given(all_errors(), st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_an_error_says_and_holds_the_same_after_travel(error, protocol):
    for other in (
        pickle.loads(pickle.dumps(error, protocol)),
        copy.copy(error),
        copy.deepcopy(error),
    ):
        assert type(other) is type(error)
        assert vars(other) == vars(error)
        assert (str(other), repr(other), other.args) == (str(error), repr(error), error.args)
