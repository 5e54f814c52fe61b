"""Standard streams that are non-blocking: nothing is lost, and nothing spins."""

import io
import os
import select
import sys
from types import SimpleNamespace

import pytest

from flashback_async.cli import streams
from flashback_async.cli.streams import prepare_streams, read_some

PIPE = 65_536  # bytes that it holds

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")


@pytest.fixture
def pipe():
    """A pipe, both of whose ends are non-blocking."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    with io.FileIO(ends[0], "r") as read, io.FileIO(ends[1], "w") as write:
        yield SimpleNamespace(read=read, write=write)


@pytest.fixture
def waits(monkeypatch):
    """Every wait for a descriptor; ``then`` makes it ready."""
    waits = SimpleNamespace(count=0, then=lambda: None)

    def wait(read, write, error):
        assert select.select(read, write, error, 0) == ([], [], [])  # it would have to wait
        waits.count += 1
        waits.then()
        return select.select(read, write, error)

    monkeypatch.setattr(streams, "select", SimpleNamespace(select=wait))
    return waits


@pytest.mark.parametrize("buffered", [True, False])
def test_a_write_waits_for_its_reader(pipe, waits, monkeypatch, buffered):
    raw = io.FileIO(pipe.write.fileno(), "w", closefd=False)
    given = io.BufferedWriter(raw) if buffered else raw
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(given, write_through=not buffered))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert prepare_streams() is None
    received = bytearray()
    waits.then = lambda: received.extend(pipe.read.read(PIPE))
    sys.stdout.write("x" * 10 * PIPE)
    sys.stdout.flush()
    received += pipe.read.read(PIPE)
    assert received == b"x" * 10 * PIPE
    assert 9 <= waits.count <= 10  # once for each time that the pipe is full


def test_a_read_waits_for_its_writer(pipe, waits):
    waits.then = lambda: pipe.write.write(b"one")
    assert read_some(pipe.read, 100) == b"one"
    assert waits.count == 1
    pipe.write.close()
    assert read_some(pipe.read, 100) == b""


def test_no_character_ends_a_run_that_the_encoding_lacks(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", None)
    assert prepare_streams() is None
    sys.stdout.write("日")
    sys.stdout.flush()
    assert stdout.buffer.getvalue() == b"\\u65e5"
    sys.stderr.write("nobody reads this")
    sys.stderr.close()
