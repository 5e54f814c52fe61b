"""Exports over real sockets: what is kept, what is asked, and every way in which one can end."""

import asyncio
import threading
from datetime import UTC, date, datetime, timedelta

import pytest

from flashback_async import (
    AuthenticationError,
    BucketDay,
    ClientClosedError,
    ConfigurationError,
    FlashbackClient,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    RetryPolicy,
    ServerError,
    TokenProviderError,
    day_range,
)
from flashback_async.history import export_days, history_status, keeper, read_history
from flashback_async.history.rows import values_of
from flashback_async.sandbox import Sandbox

FIRST, LAST = date(2026, 1, 1), date(2026, 1, 4)
DAYS = day_range(FIRST, LAST)
UNKNOWN = "00000000-0000-4000-8000-000000000000"

forms = pytest.mark.parametrize("form", ["sqlite", "parquet"])


@pytest.fixture
async def sandbox():
    async with Sandbox(buckets=4, nodes=2) as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox):
    retry = RetryPolicy(max_attempts=1)
    async with FlashbackClient(sandbox.token, base_url=sandbox.base_url, retry=retry) as client:
        yield client
    assert [t for t in threading.enumerate() if t.name.startswith("flashback-history")] == []


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history"


def days_at(path):
    return [day for day, _ in read_history(path)]


def failing(sandbox, monkeypatch, fails):
    """Make the sandbox answer 503 where a function of the bucket, the day and the turn says so."""
    turns = {}
    daily = sandbox._world.daily

    def answer(number, day, now):
        bucket_id = sandbox.bucket_ids[number]
        turn = turns[bucket_id, day] = turns.get((bucket_id, day), 0) + 1
        if fails(bucket_id, day, turn):
            raise RuntimeError("made up")  # becomes a 500
        return daily(number, day, now)

    monkeypatch.setattr(sandbox._world, "daily", answer)
    return turns


# What is kept.


@forms
async def test_every_answer_is_kept_as_it_was(client, sandbox, path, form):
    told = []
    report = await export_days(
        client,
        iter(sandbox.bucket_ids),
        "2026-01-01",
        datetime(2026, 1, 4, 12, tzinfo=UTC),
        path,
        format=form,
        on_day=lambda *args: told.append(args),
    )
    assert told == [(day, 8) for day in reversed(DAYS)]
    assert (report.days, report.rows, report.ok) == (DAYS, 32, True)
    assert (report.skipped, report.failed, report.unsettled, report.other_ids) == ([], {}, [], [])
    asked = (await client.node_stats.get_many(sandbox.bucket_ids, DAYS)).succeeded
    expected = {}
    for (bucket_id, day), nodes in asked.items():
        values = values_of(bucket_id, day, nodes)
        expected.setdefault(day, []).extend(tuple(values[n : n + 13]) for n in (0, 13))
    assert dict(read_history(path)) == {day: sorted(rows) for day, rows in expected.items()}


@forms
async def test_a_second_run_asks_only_for_what_is_missing(client, sandbox, path, form):
    await export_days(client, sandbox.bucket_ids, DAYS[1], DAYS[2], path, format=form)
    sandbox.log.clear()
    report = await export_days(client, sandbox.bucket_ids, FIRST, LAST, path, format=form)
    assert (report.days, report.skipped) == ([DAYS[0], DAYS[3]], [DAYS[1], DAYS[2]])
    assert len(sandbox.log) == 8
    report = await export_days(client, sandbox.bucket_ids, FIRST, LAST, path, format=form)
    assert (report.days, report.rows, report.skipped, len(sandbox.log)) == ([], 0, DAYS, 8)


@forms
async def test_small_chunks_are_written_while_more_is_asked(
    client, sandbox, path, form, monkeypatch
):
    monkeypatch.setattr(keeper, "_CHUNK", 3)
    report = await export_days(client, sandbox.bucket_ids, FIRST, LAST, path, format=form)
    assert report.rows == sum(len(rows) for _, rows in read_history(path)) == 32


async def test_an_id_that_is_given_twice_is_asked_for_once(client, sandbox, path):
    first = sandbox.bucket_ids[0]
    report = await export_days(client, [first, first], FIRST, FIRST, path)
    assert (report.rows, len(sandbox.log)) == (2, 1)


async def test_days_asked_with_other_ids_are_named_until_they_are_asked_again(
    client, sandbox, path
):
    ids = sandbox.bucket_ids
    await export_days(client, ids[:2], FIRST, LAST, path)
    report = await export_days(client, ids, FIRST, LAST, path, redo=[DAYS[1], DAYS[3]])
    assert report.days == [DAYS[1], DAYS[3]]
    assert report.other_ids == history_status(path).other_ids == [DAYS[0], DAYS[2]]
    assert [len(rows) for _, rows in read_history(path)] == [4, 8, 4, 8]
    report = await export_days(client, reversed(ids), DAYS[1], DAYS[1], path)
    assert report.other_ids == []


async def test_today_and_days_that_ended_just_now_are_left_out_and_named(client, sandbox, path):
    today = datetime.now(UTC).date()
    report = await export_days(
        client, sandbox.bucket_ids, today - timedelta(3), today, path, settle=timedelta(hours=25)
    )
    assert report.unsettled[-2:] == [today - timedelta(1), today]
    assert today - timedelta(3) in report.days
    assert not {*report.days} & {*report.unsettled}


# Failures.


@forms
async def test_a_failure_is_asked_again_at_the_end_of_its_day(
    client, sandbox, path, form, monkeypatch
):
    turns = failing(sandbox, monkeypatch, lambda bucket_id, day, turn: turn == 1)
    report = await export_days(client, sandbox.bucket_ids, FIRST, LAST, path, format=form)
    assert (report.days, report.rows, report.failed) == (DAYS, 32, {})
    assert set(turns.values()) == {2}


@forms
async def test_a_day_with_too_many_failures_is_not_kept_at_all(
    client, sandbox, path, form, monkeypatch
):
    bad = sandbox.bucket_ids[1]
    failing(sandbox, monkeypatch, lambda bucket_id, day, turn: (bucket_id, day) == (bad, DAYS[2]))
    report = await export_days(client, sandbox.bucket_ids, FIRST, LAST, path, format=form)
    assert (report.days, report.not_kept, report.ok) == ([*DAYS[:2], DAYS[3]], [DAYS[2]], False)
    assert report.failed.keys() == {DAYS[2]}
    assert report.failed[DAYS[2]].keys() == {bad}
    assert isinstance(report.failed[DAYS[2]][bad], ServerError)
    assert days_at(path) == report.days
    report = await export_days(
        client, sandbox.bucket_ids, FIRST, LAST, path, format=form, allow_failed=1
    )
    assert (report.days, report.rows, report.ok) == ([DAYS[2]], 6, True)
    assert report.failed[DAYS[2]].keys() == {bad}
    assert history_status(path).incomplete == [DAYS[2]]


@forms
async def test_a_day_that_fails_when_asked_again_stays_as_it_was(
    client, sandbox, path, form, monkeypatch
):
    await export_days(client, sandbox.bucket_ids, FIRST, FIRST, path, format=form)
    before = list(read_history(path))
    failing(sandbox, monkeypatch, lambda bucket_id, *_: bucket_id == sandbox.bucket_ids[0])
    for allow_failed in (0, 1):  # what was complete is not replaced by less
        report = await export_days(
            *(client, sandbox.bucket_ids, FIRST, FIRST, path),
            format=form,
            redo=[FIRST],
            allow_failed=allow_failed,
        )
        assert (report.days, report.not_kept) == ([], [FIRST])
        assert list(read_history(path)) == before


async def test_buckets_that_are_gone_or_forbidden_are_listed_and_fail_no_day(client, sandbox, path):
    ids = [*sandbox.bucket_ids, UNKNOWN, sandbox.forbidden_ids[0]]
    report = await export_days(client, ids, FIRST, FIRST, path)
    assert (report.days, report.rows, report.ok, len(sandbox.log)) == ([FIRST], 8, True, 6)
    errors = report.failed[FIRST]
    assert {*map(type, errors.values())} <= {NotFoundError, PermissionDeniedError}
    assert errors.keys() == {UNKNOWN, sandbox.forbidden_ids[0]}
    assert history_status(path).incomplete == []


# Ways to end.


@forms
async def test_a_rejected_token_is_raised_and_finished_days_stay(client, sandbox, path, form):
    with pytest.raises(AuthenticationError):
        await export_days(
            client,
            sandbox.bucket_ids,
            FIRST,
            LAST,
            path,
            format=form,
            on_day=lambda day, rows: sandbox.rotate_token() if day == DAYS[2] else None,
        )
    assert days_at(path) == DAYS[2:]


async def test_a_failing_token_provider_ends_the_export(sandbox, path):
    def provider():
        raise LookupError("no vault")

    async with FlashbackClient(provider, base_url=sandbox.base_url) as client:
        with pytest.raises(TokenProviderError):
            await export_days(client, sandbox.bucket_ids, FIRST, LAST, path)
    assert days_at(path) == []


@forms
async def test_what_on_day_raises_ends_the_export_and_finished_days_stay(
    client, sandbox, path, form
):
    def stop(day, rows):
        raise LookupError(day)

    for kept in (DAYS[3:], DAYS[2:]):  # the lock was released
        with pytest.raises(LookupError):
            await export_days(
                client, sandbox.bucket_ids, FIRST, LAST, path, format=form, on_day=stop
            )
        assert days_at(path) == kept


@forms
async def test_a_cancelled_export_ends_its_thread_and_keeps_its_days(client, sandbox, path, form):
    sandbox.latency = 0.02
    task = asyncio.create_task(
        export_days(
            client,
            sandbox.bucket_ids,
            FIRST,
            LAST,
            path,
            format=form,
            on_day=lambda *_: asyncio.get_running_loop().call_later(0.01, task.cancel),
        )
    )
    with pytest.raises(asyncio.CancelledError):
        await task
    assert days_at(path) == DAYS[3:]
    report = await export_days(client, sandbox.bucket_ids, FIRST, LAST, path, format=form)
    assert report.days == DAYS[:3]


@forms
async def test_an_export_that_is_cancelled_at_once_leaves_nothing_open(client, sandbox, path, form):
    for turns in range(6):
        task = asyncio.create_task(
            export_days(client, sandbox.bucket_ids, FIRST, LAST, path, format=form)
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await export_days(client, sandbox.bucket_ids, FIRST, FIRST, path, format=form)).ok


@forms
async def test_an_error_of_the_disk_is_raised_and_finished_days_stay(
    client, sandbox, path, form, monkeypatch
):
    from flashback_async.history import parquet, sqlite

    monkeypatch.setattr(keeper, "_CHUNK", 1)
    store = sqlite.SqliteStore if form == "sqlite" else parquet.ParquetStore
    add = store.add

    def full(self, parts):
        parts = list(parts)
        if parts[0][1] == DAYS[1]:
            raise OSError(28, "No space left on device")
        add(self, parts)

    monkeypatch.setattr(store, "add", full)
    with pytest.raises(OSError, match="No space left"):
        await export_days(client, sandbox.bucket_ids, FIRST, LAST, path, format=form)
    assert days_at(path) == DAYS[2:]


@forms
async def test_two_exports_at_once_are_refused(client, sandbox, path, form):
    sandbox.latency = 0.02
    ids = sandbox.bucket_ids
    first, second = await asyncio.gather(
        export_days(client, ids, FIRST, LAST, path, format=form),
        export_days(client, ids, FIRST, LAST, path, format=form),
        return_exceptions=True,
    )
    refused, report = sorted((first, second), key=lambda one: not isinstance(one, Exception))
    assert isinstance(refused, ConfigurationError)
    assert "is in use by another export" in str(refused)
    assert report.days == DAYS


# Bad input.


@pytest.mark.parametrize(
    ("change", "kind", "problem"),
    [
        ({"bucket_ids": []}, InvalidArgumentError, "bucket_ids must hold at least one id"),
        ({"bucket_ids": "abc"}, InvalidArgumentError, "bucket_ids must be an iterable"),
        ({"first": "soon"}, InvalidArgumentError, "first must be"),
        ({"last": "2025-12-31"}, InvalidArgumentError, "last must not lie before first"),
        ({"path": 7}, InvalidArgumentError, "path must be"),
        ({"format": "csv"}, ConfigurationError, 'format must be "sqlite" or "parquet"'),
        ({"settle": 3600}, InvalidArgumentError, "settle must be a timedelta"),
        ({"allow_failed": True}, InvalidArgumentError, "allow_failed must be"),
        ({"concurrency": 0}, InvalidArgumentError, "concurrency must be"),
        ({"on_day": "x"}, InvalidArgumentError, "on_day must be a function"),
        ({"on_day": asyncio.sleep}, InvalidArgumentError, "on_day must be a plain function"),
        ({"path": "\ud800"}, InvalidArgumentError, "path must name"),
        ({"bucket_ids": ["a", "b/c"]}, InvalidArgumentError, "bucket_id must not hold a slash"),
        ({"bucket_ids": ["a", ""]}, InvalidArgumentError, "bucket_id must not be empty"),
        ({"redo": "2026-01-01"}, InvalidArgumentError, "redo must be an iterable of days"),
        ({"client": None}, InvalidArgumentError, "client must be a FlashbackClient"),
    ],
)
async def test_a_bad_argument_is_named_before_anything_is_sent_or_written(
    client, sandbox, path, change, kind, problem
):
    given = {
        "client": client,
        "bucket_ids": sandbox.bucket_ids,
        "first": FIRST,
        "last": LAST,
        "path": path,
    }
    with pytest.raises(kind, match=f"^{problem}"):
        await export_days(**given | change)
    assert (len(sandbox.log), list(path.parent.iterdir())) == (0, [])


async def test_a_database_that_is_removed_meanwhile_is_an_error(client, sandbox, path):
    with pytest.raises(FileNotFoundError):
        await export_days(
            client, sandbox.bucket_ids, FIRST, LAST, path, on_day=lambda *_: path.unlink()
        )


async def test_a_damaged_day_says_how_it_is_asked_again(client, sandbox, path):
    await export_days(client, sandbox.bucket_ids, FIRST, LAST, path, format="parquet")
    damaged = path / f"day={FIRST}" / "nodes.parquet"
    damaged.write_bytes(damaged.read_bytes()[:500])
    with pytest.raises(ConfigurationError, match="delete it to have its day asked for again"):
        await export_days(client, sandbox.bucket_ids, FIRST, LAST, path, format="parquet")
    damaged.unlink()
    report = await export_days(client, sandbox.bucket_ids, FIRST, LAST, path, format="parquet")
    assert report.days == [FIRST]


async def test_a_closed_client_is_refused_before_anything_is_written(sandbox, path):
    client = FlashbackClient(sandbox.token, base_url=sandbox.base_url)
    await client.close()
    with pytest.raises(ClientClosedError) as raised:
        await export_days(client, sandbox.bucket_ids, FIRST, LAST, path)
    assert raised.value.operation == "node_stats.iter_many"
    assert list(path.parent.iterdir()) == []


async def test_a_foreign_file_is_refused_before_anything_is_sent(client, sandbox, path):
    path.write_bytes(b"mine")
    with pytest.raises(ConfigurationError, match="is not a history"):
        await export_days(client, sandbox.bucket_ids, FIRST, LAST, path)
    assert (len(sandbox.log), path.read_bytes(), list(path.parent.iterdir())) == (
        0,
        b"mine",
        [path],
    )


async def test_the_keys_of_failures_can_be_asked_again(client, sandbox, path, monkeypatch):
    failing(sandbox, monkeypatch, lambda bucket_id, day, turn: turn <= 2)
    report = await export_days(client, sandbox.bucket_ids, FIRST, FIRST, path)
    pairs = [BucketDay(b, day) for day, errors in report.failed.items() for b in errors]
    assert (await client.node_stats.get_many(pairs)).ok
