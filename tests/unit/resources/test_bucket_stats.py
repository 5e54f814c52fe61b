"""The bucket stats resource: ids in lists, an outcome for each id, refused lists halved."""

import asyncio
import itertools
import math
from urllib.parse import parse_qs, urlsplit

import pytest

from flashback_async.config import Limits, Timeout
from flashback_async.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    DeadlineExceededError,
    DecodeError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
)
from flashback_async.models import BucketStats
from tests.unit.support import TOKEN, Bench, after, answer, no, turns


def item(bucket_id, count="1"):
    return {"bucketId": bucket_id, "totalCount": count}


def asked(request):
    """The ids that a request asks for; None if it asks for all."""
    query = parse_qs(urlsplit(request.target).query)
    return query["bucketId"][0].split(",") if query else None


def stats_of(ids):
    return answer({"success": True, "stats": [item(i) for i in ids]})


def all_found(request, attempt):
    return stats_of(asked(request) or ["x", "y"])


class Api:
    """An API that answers lists, refuses those with a bad id, and leaves missing ids out."""

    def __init__(self, *, bad=(), status=403, missing=(), seconds=0.0):
        self.bad = set(bad)
        self.status = status
        self.missing = set(missing)
        self.seconds = seconds
        self.lists = []

    async def __call__(self, request, attempt):
        ids = asked(request)
        self.lists.append(ids)
        await asyncio.sleep(self.seconds)
        if self.bad & set(ids):
            return no(self.status, "refused", x_request_id="r1")
        return stats_of(i for i in ids if i not in self.missing)


async def collect(outcomes):
    return [outcome async for outcome in outcomes]


async def each(keys):
    for key in keys:
        await asyncio.sleep(0)
        yield key


# get


async def test_get_asks_for_a_list_of_one():
    async with Bench(all_found) as bench:
        assert await bench.bucket_stats.get("b 1") == BucketStats("b 1", 1, None, None, None)
        assert bench.sent[0].request == (
            "bucket_stats.get",
            "GET",
            "/bucket/stats?bucketId=b%201",
            "b 1",
            None,
        )


async def test_get_takes_the_id_in_other_letters_and_the_last_of_two():
    body = {"stats": [item("x"), item("ABC", "1"), item("abc", "2"), item("y")]}
    async with Bench(answer(body)) as bench:
        assert (await bench.bucket_stats.get("Abc")).total_count == 2


async def test_get_never_takes_another_bucket_for_the_one_asked_for():
    # Another way to compare without regard to case holds these two for one.
    async with Bench(answer({"stats": [item("strasse"), item("STRASSE")]})) as bench:
        with pytest.raises(NotFoundError):
            await bench.bucket_stats.get("straße")


async def test_get_of_a_bucket_that_is_not_in_the_answer_is_not_found():
    async with Bench(answer({"stats": [item("other")]}, x_request_id="r1")) as bench:
        with pytest.raises(NotFoundError) as caught:
            await bench.bucket_stats.get("b")
        error = caught.value
        assert (error.status, error.attempts) == (200, 1)
        assert (error.operation, error.bucket_id) == ("bucket_stats.get", "b")
        assert error.request_id == "r1"


@pytest.mark.parametrize("bad", ["", "a/b", "a,b", None, 5, ".."])
async def test_a_bad_id_sends_nothing(bad):
    async with Bench(all_found) as bench:
        with pytest.raises(InvalidArgumentError, match="bucket_id"):
            await bench.bucket_stats.get(bad)
        with pytest.raises(InvalidArgumentError, match="bucket_id"):
            await bench.bucket_stats.list(["a", bad])
        assert bench.sent == []


# list


async def test_list_of_none_asks_for_all():
    async with Bench(all_found) as bench:
        assert [s.bucket_id for s in await bench.bucket_stats.list()] == ["x", "y"]
        assert bench.sent[0].request == ("bucket_stats.list", "GET", "/bucket/stats", None, None)


@pytest.mark.parametrize("nothing", [[], (), iter([]), {}])
async def test_list_of_nothing_sends_nothing(nothing):
    async with Bench(all_found) as bench:
        assert await bench.bucket_stats.list(nothing) == []
        assert bench.sent == []


async def test_list_is_in_the_order_asked_for_whatever_the_order_of_the_answer():
    body = {"stats": [item("c"), item("a"), item("unasked"), item("b")]}
    async with Bench(answer(body)) as bench:
        found = await bench.bucket_stats.list(iter(["b", "a", "gone", "c"]))
        assert [s.bucket_id for s in found] == ["b", "a", "c"]


async def test_list_names_an_id_once_and_tells_ids_apart_that_differ_in_case():
    async with Bench(answer({"stats": [item("a", "1"), item("A", "2")]})) as bench:
        found = await bench.bucket_stats.list(["a", "A", "a"])
        assert [s.total_count for s in found] == [1, 2]
        assert asked(bench.sent[0].request) == ["a", "A"]


@pytest.mark.parametrize("ids", ["abc", b"abc", 5, 1j], ids=repr)
async def test_what_is_no_iterable_of_ids_is_refused(ids):
    async with Bench(all_found) as bench:
        for use in (bench.bucket_stats.list(ids), bench.bucket_stats.get_many(ids)):
            with pytest.raises(InvalidArgumentError, match="bucket_ids"):
                await use
        with pytest.raises(InvalidArgumentError, match="bucket_ids"):
            bench.bucket_stats.iter_many(ids)
        assert bench.sent == []


async def test_a_long_list_is_cut_into_requests_that_travel_at_once():
    ids = [f"{n:036d}" for n in range(1000)]
    async with Bench(Api(seconds=1)) as bench:
        found = await bench.bucket_stats.list(ids)
        assert [s.bucket_id for s in found] == ids
        longest = max(len("https://api.test" + s.request.target) for s in bench.sent)
        assert 3900 < longest <= 4000
        assert len(bench.sent) == math.ceil(1000 / 101)
        assert set(bench.script.times) == {0}
        assert sorted(itertools.chain(*(asked(s.request) for s in bench.sent))) == ids


async def test_the_first_failure_of_a_long_list_is_raised_and_ends_the_rest():
    ids = [f"{n:036d}" for n in range(1000)]
    async with Bench(Api(bad=[ids[500]], status=400, seconds=1), timeout=Timeout()) as bench:
        with pytest.raises(BadRequestError) as caught:
            await bench.bucket_stats.list(ids)
        assert caught.value.operation == "bucket_stats.list"
        assert caught.value.bucket_id is None
        await turns()
        assert bench.script.under_way == 0


async def test_a_long_list_is_one_call_with_one_total_time():
    ids = [f"{n:036d}" for n in range(1000)]
    options = {"timeout": Timeout(total=4), "limits": Limits(max_concurrency=2)}
    async with Bench(Api(seconds=1), **options) as bench:
        with pytest.raises(DeadlineExceededError) as caught:
            await bench.bucket_stats.list(ids)
        assert caught.value.operation == "bucket_stats.list"
        await turns()
        assert bench.script.under_way == 0


async def test_a_corrupt_item_spoils_a_list():
    async with Bench(answer({"stats": [item("a"), item("b", "x")]})) as bench:
        with pytest.raises(DecodeError) as caught:
            await bench.bucket_stats.list(["a", "b"])
        assert caught.value.path == "$.stats[1].totalCount"


async def test_a_refused_list_is_refused():
    async with Bench(no(403)) as bench:
        with pytest.raises(PermissionDeniedError):
            await bench.bucket_stats.list(["a", "b"])
        assert len(bench.sent) == 1


# get_many


async def test_get_many_asks_in_lists_and_has_an_outcome_for_each_id():
    ids = [f"{n:036d}" for n in range(250)]
    async with Bench(Api(missing=[ids[7]])) as bench:
        report = await bench.bucket_stats.get_many(ids)
        assert [o.key for o in report] == ids
        assert [o.index for o in report] == list(range(250))
        assert [n for n, o in enumerate(report) if not o.ok] == [7]
        assert len(bench.sent) == 3
        error = report[7].error
        assert isinstance(error, NotFoundError)
        assert (error.status, error.attempts) == (200, 1)
        assert (error.operation, error.bucket_id) == ("bucket_stats.list", ids[7])


async def test_get_many_matches_ids_without_regard_to_case():
    body = {"stats": [item("ABC", "7"), item("unasked"), item("d", "1"), item("D", "2")]}
    async with Bench(answer(body)) as bench:
        report = await bench.bucket_stats.get_many(["abc", "Abc", "d"])
        assert [o.unwrap().total_count for o in report] == [7, 7, 1]
        assert asked(bench.sent[0].request) == ["abc", "Abc", "d"]


async def test_ids_that_differ_in_more_than_the_case_of_ascii_letters_are_others():
    body = {"stats": [item("strasse", "1"), item("É", "2"), item("K", "3"), item("ABC", "4")]}
    async with Bench(answer(body)) as bench:
        report = await bench.bucket_stats.get_many(["straße", "é", "\N{KELVIN SIGN}", "abc"])
        assert [type(o.error) for o in report] == [NotFoundError] * 3 + [type(None)]
        assert report[3].value.total_count == 4


async def test_an_exact_spelling_goes_before_another_that_comes_later():
    async with Bench(answer({"stats": [item("abc", "1"), item("ABC", "2")]})) as bench:
        report = await bench.bucket_stats.get_many(["abc", "Abc", "ABC"])
        assert [o.value.total_count for o in report] == [1, 2, 2]


async def test_get_many_asks_once_for_an_id_given_twice():
    api = Api()
    async with Bench(api) as bench:
        report = await bench.bucket_stats.get_many(["a", "b", "a"])
        assert [o.key for o in report] == ["a", "b", "a"]
        assert api.lists == [["a", "b"]]


async def test_a_bad_id_is_its_own_outcome_and_is_not_sent():
    api = Api()
    async with Bench(api) as bench:
        report = await bench.bucket_stats.get_many(["a", "x,y", "", "b", None, ["c"], 5])
        assert [o.ok for o in report] == [True, False, False, True, False, False, False]
        assert {type(o.error) for o in report if not o.ok} == {InvalidArgumentError}
        assert api.lists == [["a", "b"]]


async def test_only_bad_ids_send_nothing():
    async with Bench(all_found) as bench:
        report = await bench.bucket_stats.get_many(["", "a/b"])
        assert [type(o.error) for o in report] == [InvalidArgumentError] * 2
        assert bench.sent == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (414, APIError),
    ],
)
async def test_a_refused_list_is_halved_until_the_culprit_stands_alone(status, kind):
    ids = [f"b{n}" for n in range(100)]
    api = Api(bad=["b37"], status=status)
    async with Bench(api) as bench:
        report = await bench.bucket_stats.get_many(ids)
        assert [o.key for o in report if not o.ok] == ["b37"]
        error = report[37].error
        assert type(error) is kind
        assert (error.status, error.message, error.request_id) == (status, "refused", "r1")
        assert (error.operation, error.bucket_id) == ("bucket_stats.list", "b37")
        assert len(api.lists) <= 1 + 2 * math.ceil(math.log2(100))
        assert ["b37"] in api.lists


async def test_each_of_several_culprits_stands_alone():
    ids = [f"b{n}" for n in range(64)]
    bad = ["b0", "b1", "b31", "b63"]
    api = Api(bad=bad, missing=["b2"])
    async with Bench(api) as bench:
        report = await bench.bucket_stats.get_many(ids)
        assert [o.key for o in report if isinstance(o.error, PermissionDeniedError)] == bad
        assert [o.key for o in report if isinstance(o.error, NotFoundError)] == ["b2"]
        assert len(api.lists) <= 1 + 2 * 6 * len(bad)


async def test_a_list_of_one_is_not_halved():
    api = Api(bad=["a"])
    async with Bench(api) as bench:
        report = await bench.bucket_stats.get_many(["a"])
        assert isinstance(report[0].error, PermissionDeniedError)
        assert api.lists == [["a"]]


@pytest.mark.parametrize("failure", [no(500), no(405), no(401), answer(b"{"), answer(b"<", 302)])
async def test_any_other_failure_is_the_error_of_each_id(failure):
    async with Bench(failure) as bench:
        report = await bench.bucket_stats.get_many(["a", "b", "c"])
        kinds = {type(o.error) for o in report}
        assert len(kinds) == 1
        assert len({id(o.error) for o in report}) == 3
        for outcome in report:
            assert outcome.error.bucket_id == outcome.key
            assert outcome.error.operation == "bucket_stats.list"
        requests = 3 if kinds == {ServerError} else 1
        assert len(bench.sent) == requests
        assert {o.error.attempts for o in report} == {requests}


async def test_a_corrupt_item_is_the_error_of_its_own_id():
    body = {"stats": [item("a"), item("b", "x"), item("c")]}
    async with Bench(answer(body, x_request_id="r9")) as bench:
        report = await bench.bucket_stats.get_many(["a", "b", "c"])
        assert [o.ok for o in report] == [True, False, True]
        error = report[1].error
        assert isinstance(error, DecodeError)
        assert error.path == "$.stats[1].totalCount"
        assert (error.operation, error.bucket_id, error.attempts) == ("bucket_stats.list", "b", 1)
        assert (error.status, error.request_id) == (200, "r9")


@pytest.mark.parametrize("flaw", [{}, {"totalCount": "1"}, {"message": "no access"}])
async def test_an_item_that_says_no_fails_its_own_id_alone(flaw):
    refused = {"bucketId": "b", "success": False, "message": "no access", **flaw}
    body = {"success": True, "stats": [item("a"), refused, item("c")]}
    async with Bench(answer(body, x_request_id="r9")) as bench:
        report = await bench.bucket_stats.get_many(["a", "b", "c"])
        outcomes = await collect(bench.bucket_stats.iter_many(["a", "b", "c"]))
        for found in (report, outcomes):
            assert [o.ok for o in found] == [True, False, True]
            error = found[1].error
            assert type(error) is APIError
            assert (error.message, error.status, error.request_id) == ("no access", 200, "r9")
            assert (error.operation, error.bucket_id) == ("bucket_stats.list", "b")
            assert error.attempts == 1


async def test_an_item_without_an_id_is_the_error_of_each_id_left_over():
    body = {"stats": [item("a"), {"totalCount": "1"}]}
    async with Bench(answer(body)) as bench:
        report = await bench.bucket_stats.get_many(["a", "b", "c"])
        assert [type(o.error) for o in report] == [type(None), DecodeError, DecodeError]
        assert report[1].error.path == "$.stats[1].bucketId"
        assert report[1].error is not report[2].error


@pytest.mark.parametrize("named", [True, False])
async def test_an_item_without_success_is_the_error_of_its_own_id_and_says_why(named):
    bad = {"success": False, "message": f"not for {TOKEN}", "error_code": "E7"}
    items = [item("a"), bad | ({"bucketId": "b"} if named else {}), item("c")]
    async with Bench(lambda *_: answer({"success": True, "stats": items})) as bench:
        report = await bench.bucket_stats.get_many(["a", "b", "c"])
        assert set(report.succeeded) == {"a", "c"}
        for call in (bench.bucket_stats.list(["a", "b", "c"]), bench.bucket_stats.get("b")):
            with pytest.raises(APIError) as caught:
                await call
            assert caught.value.message == "not for ***"
    error = report.failed["b"]
    assert type(error) is APIError
    assert (error.status, error.code, error.message) == (200, "E7", "not for ***")
    assert error.bucket_id == "b"
    assert "200 OK, success is false, 'not for ***', code 'E7'" in str(error)
    assert TOKEN not in error.body


async def test_a_rejected_token_ends_the_run():
    ids = [f"{n:036d}" for n in range(1000)]
    async with Bench(after(1, no(401))) as bench:
        report = await bench.bucket_stats.get_many(ids, concurrency=2)
        assert len(report) == 1000
        assert {type(o.error) for o in report} == {AuthenticationError}
        assert len(bench.sent) == 2
        assert {o.error.bucket_id for o in report} == set(ids)
        assert {o.error.operation for o in report} == {"bucket_stats.list"}
        assert {o.error.attempts for o in report} == {0, 1}


async def test_the_deadline_reaches_every_id():
    ids = [f"{n:036d}" for n in range(1000)]
    async with Bench(Api(seconds=2)) as bench:
        report = await bench.bucket_stats.get_many(ids, concurrency=1, deadline=3)
        assert len(report) == 1000
        assert sum(o.ok for o in report) == 101
        assert {type(o.error) for o in report if not o.ok} == {DeadlineExceededError}
        assert {o.error.bucket_id for o in report if not o.ok} == set(ids[101:])


async def test_the_limit_of_the_client_rules_lists_too():
    ids = [f"{n:036d}" for n in range(1000)]
    async with Bench(Api(seconds=1), limits=Limits(max_concurrency=3)) as bench:
        await bench.bucket_stats.get_many(ids, concurrency=50)
        assert bench.script.most_under_way == 3


# iter_many


@pytest.mark.parametrize("source", [list, iter, each])
async def test_iter_many_gives_an_outcome_for_each_place(source):
    ids = [f"{n:036d}" for n in range(250)]
    async with Bench(Api()) as bench:
        outcomes = await collect(bench.bucket_stats.iter_many(source([*ids, ids[0]])))
        assert sorted(o.index for o in outcomes) == list(range(251))
        assert all(o.unwrap().bucket_id == o.key for o in outcomes)


async def test_iter_many_sends_a_list_when_it_is_full():
    ids = (f"{n:036d}" for n in itertools.count())
    async with Bench(Api(seconds=1)) as bench:
        taken = 0
        async for outcome in bench.bucket_stats.iter_many(ids, concurrency=2):
            assert outcome.ok
            taken += 1
            if taken == 101:
                break
        await turns()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert len(bench.sent) <= 4


A_LIST = [f"{n:0250}" for n in range(15)]  # as many as fit into one request
ANOTHER = [f"{n:0250}" for n in range(15, 30)]


async def test_a_list_leaves_an_id_to_an_earlier_list_that_asks_for_it_already():
    ids = [*A_LIST, *ANOTHER[:10], *A_LIST]
    api = Api(seconds=1)
    async with Bench(api) as bench:
        outcomes = await collect(bench.bucket_stats.iter_many(ids))
        assert api.lists == [A_LIST, ANOTHER[:10]]
        assert sorted((o.index, o.key) for o in outcomes) == list(enumerate(ids))
        assert all(o.unwrap().bucket_id == o.key for o in outcomes)


async def test_a_list_of_nothing_but_ids_in_flight_is_not_sent():
    api = Api(seconds=1, missing=A_LIST[:1])
    async with Bench(api) as bench:
        outcomes = await collect(bench.bucket_stats.iter_many([*A_LIST, *ANOTHER, *A_LIST]))
        assert api.lists == [A_LIST, ANOTHER]
        assert len(outcomes) == 45
        missing = [o.error for o in outcomes if not o.ok]
        assert [type(error) for error in missing] == [NotFoundError] * 2
        assert missing[0] is not missing[1]


async def test_a_million_times_the_same_id_is_few_entries_at_once_and_few_requests():
    read = 0

    def ids():
        nonlocal read
        for _ in range(20_000):
            read += 1
            yield "a"

    taken = 0
    api = Api(seconds=1)
    async with Bench(api) as bench:
        async for outcome in bench.bucket_stats.iter_many(ids(), concurrency=3):
            assert outcome.ok
            taken += 1
            assert read - taken <= 6 * 1000 + 3
    assert taken == 20_000
    assert api.lists == [["a"]] * 7


async def test_a_list_keeps_the_answers_that_came_before_the_deadline_of_an_earlier_one():
    async def slow_at_first(request, attempt):
        ids = asked(request)
        await asyncio.sleep(100 if ids == A_LIST else 1)
        return stats_of(ids)

    async with Bench(slow_at_first, timeout=Timeout(total=200, attempt=200)) as bench:
        ids = [*A_LIST, ANOTHER[0], A_LIST[0], *ANOTHER[1:]]
        outcomes = await collect(bench.bucket_stats.iter_many(ids, deadline=5))
        late = [o for o in outcomes if not o.ok]
        assert sorted(o.index for o in late) == [*range(15), 16]
        assert {type(o.error) for o in late} == {DeadlineExceededError}
        assert {(o.error.attempts, o.error.bucket_id == o.key) for o in late} == {(1, True)}
        assert sorted(o.key for o in outcomes if o.ok) == ANOTHER


async def test_a_list_whose_earlier_one_is_cut_off_in_a_halted_run_has_its_outcomes():
    async def rejects_the_second(request, attempt):
        await asyncio.sleep(100 if asked(request) == A_LIST else 1)
        return no(401)

    async with Bench(rejects_the_second, timeout=Timeout(total=200, attempt=200)) as bench:
        ids = [*A_LIST, *ANOTHER, *A_LIST]
        outcomes = await collect(bench.bucket_stats.iter_many(ids, deadline=5))
        assert sorted(o.index for o in outcomes) == list(range(45))
        for outcome in outcomes:
            in_flight = outcome.key in A_LIST  # until the deadline, which is its error
            kind = DeadlineExceededError if in_flight else AuthenticationError
            assert type(outcome.error) is kind
            assert outcome.error.bucket_id == outcome.key


async def test_iter_many_over_an_async_source_leaves_nothing_after_break():
    ids = each(f"{n:036d}" for n in itertools.count())
    async with Bench(Api(seconds=1)) as bench:
        async for _ in bench.bucket_stats.iter_many(ids, concurrency=2):
            break
        await turns()
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_run_is_refused_once_the_client_is_closed():
    bench = Bench(all_found)
    await bench.state.close()
    with pytest.raises(ClientClosedError):
        await bench.bucket_stats.get_many(["a"])
    with pytest.raises(ClientClosedError):
        bench.bucket_stats.iter_many(["a"])
    with pytest.raises(ClientClosedError):
        await bench.bucket_stats.list(["a"])
    with pytest.raises(ClientClosedError):
        await bench.bucket_stats.list()


REFUSED = {"bucketId": "b", "success": False, "message": "gone"}


async def test_an_item_that_says_no_fails_no_call_for_other_buckets():
    items = [{"bucketId": "a", "totalCount": "1"}, REFUSED, {"bucketId": "c", "totalCount": "3"}]
    async with Bench(answer({"success": True, "stats": items})) as bench:
        assert (await bench.bucket_stats.get("a")).total_count == 1
        assert [s.total_count for s in await bench.bucket_stats.list(["c", "a"])] == [3, 1]
        for call in (bench.bucket_stats.get("b"), bench.bucket_stats.list(["a", "b"])):
            with pytest.raises(APIError) as caught:
                await call
            assert caught.value.message == "gone"
        with pytest.raises(APIError, match="gone"):
            await bench.bucket_stats.list()
