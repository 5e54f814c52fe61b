"""An outcome narrows as its users write it. Checked by mypy and pyright, and never run."""

from typing import Never, assert_never, assert_type

from flashback_async import (
    BucketDay,
    BucketStatus,
    DailyNodeStats,
    Failure,
    FlashbackClient,
    FlashbackError,
    NodeStatus,
    Outcome,
    Report,
    Success,
)


async def skips_what_failed(client: FlashbackClient) -> None:
    async for o in client.status.iter_many(["a"]):
        if o.error is not None:
            assert_type(o.error, FlashbackError)
            continue
        assert_type(o.value.nodes, tuple[NodeStatus, ...])


def asks_for_the_error(o: Outcome[str, BucketStatus]) -> None:
    if o.error is None:
        assert_type(o, Success[str, BucketStatus])
        assert_type(o.value, BucketStatus)
        assert_type(o.unwrap(), BucketStatus)
    else:
        assert_type(o, Failure[str])
        assert_type(o.error, FlashbackError)
        assert_type(o.value, None)


def matches(o: Outcome[BucketDay, list[DailyNodeStats]]) -> int:
    match o:
        case Success(key=key, value=value):
            assert_type(key, BucketDay)
            assert_type(value, list[DailyNodeStats])
            return len(value)
        case Failure(key=key, error=error):
            assert_type(key, BucketDay)
            assert_type(error, FlashbackError)
            return 0
        case _:
            assert_never(o)


def asks_for_the_class(report: Report[str, BucketStatus]) -> list[BucketStatus]:
    assert_type([o.error for o in report if isinstance(o, Failure)], list[FlashbackError])
    return [o.value for o in report if isinstance(o, Success)]


def has_the_same_members_either_way(o: Outcome[str, BucketStatus]) -> None:
    assert_type(o.index, int)
    assert_type(o.key, str)
    assert_type(o.elapsed, float)
    assert_type(o.ok, bool)
    assert_type(o.value, BucketStatus | None)
    assert_type(o.error, FlashbackError | None)
    assert_type(o.unwrap(), BucketStatus)


def a_failure_has_nothing_to_unwrap(o: Failure[str]) -> Never:
    o.unwrap()
