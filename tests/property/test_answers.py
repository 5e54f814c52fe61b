"""Any answer is data or one documented error; no message has its text unescaped."""

import math
import pickle

from hypothesis import example, given
from hypothesis import strategies as st

from flashback_async import errors
from flashback_async.api import answers, wire
from flashback_async.values import Response, Retry, Secret
from tests.property import strategies

SECRET = Secret("canary-9f1c")
OF_STATUS = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    429: errors.RateLimitError,
}
tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=6, max_size=40)


def kind_of(status):
    if 200 <= status < 300:
        return errors.DecodeError
    if 300 <= status < 400:
        return errors.RedirectError
    if 400 <= status < 500:
        return OF_STATUS.get(status, errors.APIError)
    return errors.ServerError if 500 <= status < 600 else errors.ProtocolError


@given(strategies.statuses, strategies.headers, strategies.bodies)
def test_an_answer_is_data_or_a_documented_error(status, headers, body):
    response = Response(status, headers, body)
    if answers.is_data(status, headers):
        assert 200 <= status < 300
        try:
            wire.decode_status(body, "b")
            return
        except errors.FlashbackError as failure:
            error = failure
            answers.complete(error, response, SECRET, 1.7e9)
            assert type(error) in (errors.DecodeError, errors.APIError)
    else:
        failure = answers.interpret(response, SECRET, 1.7e9)
        error = failure.error
        if isinstance(error, errors.DecodeError):
            answers.complete(error, response, SECRET, 1.7e9)
        assert type(error) is kind_of(status)
        assert (failure.retry is Retry.NEVER) or status in {408, 425, 429, 500, 502, 503, 504}
        assert failure.retry is not Retry.STALE
    text = str(error)
    strategies.assert_harmless(text)
    assert len(text) < 1500
    if not isinstance(error, errors.ProtocolError):
        assert error.status == status
        assert error.request_id is None or len(error.request_id) <= 200
    if isinstance(error, errors.APIError):
        assert len(error.body) <= 500
        assert error.message is None or len(error.message) <= 500
        assert error.retry_after is None or 0 < error.retry_after < math.inf
    assert str(pickle.loads(pickle.dumps(error))) == text


@given(
    st.lists(strategies.any_text, max_size=2), st.none() | strategies.any_text, st.floats(0, 4e9)
)
def test_a_time_to_wait_is_none_or_finite_and_above_zero(values, date, now):
    headers = [(b"retry-after", v.encode("utf-8", "surrogatepass")) for v in values]
    if date is not None:
        headers.append((b"date", date.encode("utf-8", "surrogatepass")))
    seconds = answers.retry_after(Response(429, tuple(headers), b""), now)
    assert seconds is None or (len(values) == 1 and 0 < seconds < math.inf)


@given(
    st.one_of(
        st.from_regex(r"[-+ ]?[0-9eE._,:]{1,15}[a-z ]?", fullmatch=True),
        st.from_regex(
            r"(Mon|Monday|Foo),? [0-9]{1,2}[ -](Jan|Feb|Xyz)[ -][0-9]{1,6} [0-9:]{4,9}"
            r"( GMT| [-+][0-9]{4}|)",
            fullmatch=True,
        ),
    ),
    st.floats(0, 4e9),
)
def test_a_time_that_is_nearly_right_is_none_or_usable_too(value, now):
    response = Response(503, ((b"Retry-After", value.encode()),), b"")
    seconds = answers.retry_after(response, now)
    assert seconds is None or 0 < seconds < math.inf
    throttled = answers.interpret(response, SECRET, now).retry is Retry.THROTTLED
    assert throttled is (seconds is not None)


@given(st.floats(min_value=1e-6, max_value=1e9, allow_nan=False).map(lambda n: f"{n:.6f}"))
def test_any_number_of_seconds_is_read(text):
    seconds = answers.retry_after(Response(429, ((b"Retry-After", text.encode()),), b""), 0.0)
    assert seconds == (float(text) or None)


def shown_by(error):
    """All that an error shows of its answer."""
    texts = [str(error), repr(error), error.message, error.code, error.body, error.request_id]
    return " ".join(map(str, texts))


@given(tokens, strategies.any_text, strategies.any_text, st.sampled_from([400, 401, 302, 502]))
@example(token="Authen", before="", after="", status=401)  # the class of the error says that too
def test_a_token_that_is_sent_back_shows_nowhere(token, before, after, status):
    def error_with(text, body):
        wire = text.encode("utf-8", "surrogatepass")
        headers = ((b"x-request-id", wire), (b"location", b"https://h/" + wire))
        return answers.api_error(Response(status, headers, body(wire, text)), Secret(token), 0.0)

    for body in (
        lambda wire, text: wire,
        lambda wire, text: strategies.encoded({"message": text, "code": text}),
        lambda wire, text: b"<title>" + wire,
    ):
        # How often the token occurs in any case: in our own words, or in the text around it.
        others = shown_by(error_with(f"{before}***{after}", body)).count(token)
        assert shown_by(error_with(f"{before}{token}{after}", body)).count(token) <= others


@given(strategies.any_text, st.integers(1, 100))
def test_escaped_text_is_short_and_harmless(text, limit):
    shown = answers.escape(text, limit)
    strategies.assert_harmless(shown)
    assert len(shown) <= limit + 2
