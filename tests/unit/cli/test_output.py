"""Lines written as outcomes complete, to readers that are slow or gone."""

import asyncio
import io
import json
import os
import sys

import pytest

from flashback_async import BucketStatus, Success
from flashback_async.cli import output
from flashback_async.cli.output import make_writer
from flashback_async.cli.records import STATUS


def outcome(place):
    return Success(place, f"b{place}", BucketStatus(f"b{place}", ()), 0.1)


class Pipe:
    """A standard output that is a pipe, and its reader."""

    def __init__(self):
        read, write = os.pipe()
        self.stdout = os.fdopen(write, "w", encoding="utf-8")
        self.reader = os.fdopen(read, "rb")

    def close(self):
        self.reader.close()
        self.stdout.close()


@pytest.fixture
def pipe(monkeypatch):
    pipe = Pipe()
    # Not sys.stdout itself: pytest sets that anew between a fixture and its test.
    monkeypatch.setattr(output, "sys", pipe)
    yield pipe
    pipe.close()


async def test_a_line_is_there_before_the_run_ends(pipe):
    writer = make_writer("jsonl", STATUS)
    await writer.add(outcome(0))
    line = await asyncio.to_thread(pipe.reader.readline)
    record = json.loads(line)
    assert (record["bucket_id"], record["nodes"]) == ("b0", [])
    await writer.drain()
    writer.finish()


async def test_a_reader_that_waits_holds_up_the_run_but_not_the_event_loop(pipe):
    """More than a pipe holds is written while nobody reads; the event loop keeps running."""
    writer, most = make_writer("jsonl", STATUS), 20_000
    added = 0

    async def add_all():
        nonlocal added
        for added in range(most):
            await writer.add(outcome(added))
        await writer.drain()
        pipe.stdout.close()

    adding = asyncio.ensure_future(add_all())
    before = -1
    while added != before:  # until it is held up
        before = added
        await asyncio.sleep(0.05)
    assert not adding.done()
    data = await asyncio.to_thread(pipe.reader.read)
    await adding
    assert [json.loads(line)["bucket_id"] for line in data.splitlines()] == [
        f"b{n}" for n in range(most)
    ]


async def test_a_reader_that_has_gone_is_an_error(pipe):
    writer = make_writer("jsonl", STATUS)
    pipe.reader.close()
    with pytest.raises(BrokenPipeError):
        for place in range(100_000):
            await writer.add(outcome(place))
            await asyncio.sleep(0)


async def test_csv_has_its_header_even_without_lines(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stdout)
    writer = make_writer("csv", STATUS)
    await writer.drain()
    header = b"bucket_id,ip,region,version,state,latency_ms,last_updated,asked_at,error\n"
    assert stdout.buffer.getvalue() == header


async def test_all_of_it_is_written_where_a_write_takes_a_part(monkeypatch):
    class Sluggish(io.BytesIO):
        def write(self, data):
            return super().write(data[:3])

    stdout = io.TextIOWrapper(Sluggish(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stdout)
    await asyncio.to_thread(output.write_raw, stdout, b"0123456789")
    assert stdout.buffer.getvalue() == b"0123456789"
