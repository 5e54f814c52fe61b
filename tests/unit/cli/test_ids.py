"""Ids from arguments and from standard input."""

import asyncio
import io
import os
import sys
import threading
from pathlib import Path

import click
import pytest

from flashback_async.cli.ids import ids_of
from tests import inside


class Stdin:
    """A standard input that is a pipe."""

    def __init__(self, descriptor, terminal=False):
        self.buffer = os.fdopen(descriptor, "rb")
        self.closed = False
        self._terminal = terminal

    def isatty(self):
        return self._terminal


@pytest.fixture
def pipe(monkeypatch):
    before = set(threading.enumerate())
    read, write = os.pipe()
    stdin = Stdin(read)
    monkeypatch.setattr(sys, "stdin", stdin)
    writer = os.fdopen(write, "wb", buffering=0)
    yield writer
    writer.close()
    # A read that is still on its way would take what the next test writes: descriptors return.
    for reader in set(threading.enumerate()) - before:
        reader.join()
    stdin.buffer.close()


async def collect(arguments):
    return [bucket_id async for bucket_id in ids_of(arguments)]


def test_arguments_alone_are_given_as_they_are():
    assert ids_of(("a", "b")) == ("a", "b")


async def test_lines_are_stripped_and_blank_ones_and_comments_skipped(pipe):
    pipe.write(b"\xef\xbb\xbfone\r\n\n  two \n# three\nfour")
    pipe.close()
    assert await collect(["first", "-", "last"]) == ["first", "one", "two", "four", "last"]


async def test_an_id_is_given_as_soon_as_its_line_is_there(pipe):
    ids = ids_of(["-"])
    pipe.write(b"one\ntw")
    assert await anext(ids) == "one"
    waiting = asyncio.ensure_future(anext(ids))
    pipe.write(b"o\n")
    assert await waiting == "two"
    pipe.close()
    assert [rest async for rest in ids] == []


async def test_a_read_that_nobody_waits_for_any_more_is_left_alone(pipe):
    waiting = asyncio.ensure_future(anext(ids_of(["-"])))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    pipe.write(b"late\n")


async def test_what_arrives_after_a_cancelled_read_is_not_lost(pipe):
    ids = ids_of(["-"])
    waiting = asyncio.ensure_future(anext(ids))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    pipe.write(b"one\ntwo\n")
    assert await anext(ids) == "one"
    pipe.close()
    assert [rest async for rest in ids.late()] == ["two"]
    assert ids.ended
    assert not ids.unread


async def test_a_non_blocking_input_is_waited_for(pipe):
    os.set_blocking(sys.stdin.buffer.fileno(), False)
    ids = ids_of(["-"])
    for bucket_id in ("one", "two"):
        waiting = asyncio.ensure_future(anext(ids))
        await asyncio.sleep(0)
        assert not waiting.done()
        pipe.write(f"{bucket_id}\n".encode())
        assert await waiting == bucket_id
    pipe.close()
    assert [rest async for rest in ids] == []


async def test_an_input_that_stays_open_is_left_alone_once_the_run_is_over(pipe, monkeypatch):
    inside.limit_late_ids(monkeypatch, seconds=0.0)
    ids = ids_of(["-", "last"])
    pipe.write(b"one\ntwo\nthr")
    assert await anext(ids) == "one"
    assert [rest async for rest in ids.late()] == ["two", "last"]
    assert ids.unread
    pipe.close()


async def test_an_input_without_an_end_is_not_read_for_ever(monkeypatch):
    class Endless(io.RawIOBase):
        def readable(self):
            return True

        def fileno(self):
            return null.fileno()

        def read(self, size):
            return b"one\n" * 100

    inside.limit_late_ids(monkeypatch, ids=1_000)
    with Path(os.devnull).open("rb") as null:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Endless()))
        ids = ids_of(["-"])
        assert await anext(ids) == "one"
        assert len([rest async for rest in ids.late()]) == 1_000
        assert ids.unread


async def test_a_file_is_read_to_its_end_however_long_it_is(monkeypatch, tmp_path):
    inside.limit_late_ids(monkeypatch, seconds=0.0, ids=1_000)
    (tmp_path / "ids").write_bytes(b"one\n" * 50_000)
    with (tmp_path / "ids").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        ids = ids_of(["-"])
        assert len([rest async for rest in ids.late()]) == 50_000
        assert not ids.unread


async def test_a_character_may_be_split_between_two_reads(pipe):
    ids = ids_of(["-"])
    pipe.write("one\nKä".encode()[:-1])
    assert await anext(ids) == "one"
    pipe.write("Kä\n".encode()[-2:])
    assert await anext(ids) == "Kä"


async def test_bytes_that_are_no_text_become_an_id_that_cannot_be(pipe):
    pipe.write(b"\xff\n")
    pipe.close()
    assert await collect(["-"]) == ["\udcff"]


async def test_a_line_that_is_no_id_is_a_key_like_any_other(monkeypatch):
    lines = ["one", "x" * 100_000, "two"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
    assert await collect(["-"]) == lines


async def test_what_is_no_list_of_ids_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x" * 2_000_000)))
    with pytest.raises(click.UsageError, match="does not hold ids"):
        await collect(["-"])


async def test_a_stream_without_a_descriptor_will_do(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\n")))
    assert await collect(["-"]) == ["one", "two"]


async def test_a_closed_standard_input_is_a_wrong_usage(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(click.UsageError, match="standard input is closed"):
        await collect(["-"])


async def test_an_error_of_reading_is_raised(monkeypatch):
    class Broken(io.BytesIO):
        def read(self, size):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Broken()))
    with pytest.raises(OSError, match="Input/output"):
        await collect(["-"])


async def test_somebody_at_a_terminal_is_told_what_is_awaited(monkeypatch, capsys):
    read, write = os.pipe()
    os.write(write, b"one\n")
    os.close(write)
    stdin = Stdin(read, terminal=True)
    monkeypatch.setattr(sys, "stdin", stdin)
    assert await collect(["-"]) == ["one"]
    stdin.buffer.close()
    assert "Reading bucket ids" in capsys.readouterr().err
