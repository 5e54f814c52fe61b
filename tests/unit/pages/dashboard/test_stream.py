"""Viewers of a page: each gets everything, however slowly it reads."""

import asyncio

import pytest

from flashback_async.pages.dashboard import stream as stream_module
from flashback_async.pages.dashboard.stream import Stream, event


class Viewer:
    """A viewer that reads an event when it is told to."""

    def __init__(self, stream):
        self.got = []
        self._may_read = asyncio.Semaphore(0)
        self.task = asyncio.create_task(stream.follow(self._write))

    async def _write(self, data):
        await self._may_read.acquire()
        self.got.append(data)

    async def read(self, count=1):
        for _ in range(count):
            self._may_read.release()
        for _ in range(10):
            await asyncio.sleep(0)
        return self.got


def numbered():
    """Return a stream whose snapshots are numbered."""
    made = []

    def snapshot():
        made.append(b"snapshot %d" % (len(made) + 1))
        return made[-1]

    return Stream(snapshot, most=2)


async def test_a_viewer_gets_a_snapshot_and_then_each_event():
    stream = numbered()
    viewer = Viewer(stream)
    await viewer.read()
    for data in (b"one", b"two"):
        stream.publish(data)
        await viewer.read()
    assert viewer.got == [b"snapshot 1", b"one", b"two"]
    await stream.end(None, 1)
    await viewer.task


async def test_one_event_waits_and_more_become_a_new_snapshot():
    stream = numbered()
    viewer = Viewer(stream)
    await viewer.read(0)
    stream.publish(b"one")
    assert await viewer.read(2) == [b"snapshot 1", b"one"]
    stream.publish(b"two")
    await viewer.read(0)
    for number in range(100):
        stream.publish(b"%d" % number)
    assert await viewer.read(2) == [b"snapshot 1", b"one", b"two", b"snapshot 2"]
    stream.publish(b"last")
    assert (await viewer.read())[-1] == b"last"
    await stream.end(None, 1)
    await viewer.task


async def test_a_published_snapshot_takes_the_place_of_what_waits():
    stream = numbered()
    viewer = Viewer(stream)
    await viewer.read(0)
    stream.publish(b"one")
    stream.publish(None)
    stream.publish(b"two")
    assert await viewer.read(3) == [b"snapshot 1", b"snapshot 2"]
    await stream.end(None, 1)
    await viewer.task


async def test_a_sign_of_life_goes_to_those_that_wait_only():
    stream = numbered()
    idle, busy = Viewer(stream), Viewer(stream)
    await idle.read()
    stream.remark(b"alive")
    assert (await idle.read())[1:] == [b"alive"]
    assert await busy.read(2) == [b"snapshot 2"]
    await stream.end(None, 1)
    await asyncio.gather(idle.task, busy.task)


async def test_the_last_event_comes_after_what_waits():
    stream = numbered()
    viewer = Viewer(stream)
    await viewer.read(0)
    stream.publish(b"one")
    ending = asyncio.create_task(stream.end(b"end", 30))
    assert await viewer.read(3) == [b"snapshot 1", b"one", b"end"]
    await asyncio.gather(ending, viewer.task)
    late = Viewer(stream)
    assert await late.read(2) == [b"snapshot 2", b"end"]
    await late.task


async def test_the_end_waits_no_longer_than_it_may_for_those_that_do_not_read():
    stream = numbered()
    viewer = Viewer(stream)
    await viewer.read(0)
    await stream.end(b"end", 0.01)
    assert viewer.got == []
    viewer.task.cancel()
    await asyncio.wait([viewer.task])


async def test_there_are_only_so_many_viewers_and_one_that_leaves_makes_room():
    stream = numbered()
    first, second = Viewer(stream), Viewer(stream)
    assert not stream.is_full
    await first.read(0)
    assert stream.is_full
    first.task.cancel()
    await asyncio.wait([first.task])
    assert not stream.is_full
    await stream.end(None, 0)
    second.task.cancel()
    await asyncio.wait([second.task])


async def test_a_viewer_that_never_reads_is_let_go(monkeypatch):
    monkeypatch.setattr(stream_module, "_PATIENCE", 0.01)
    stream = numbered()
    viewer = Viewer(stream)
    with pytest.raises(TimeoutError):
        await viewer.task
    assert not stream.is_full


def test_an_event_has_a_name_and_one_line_of_data():
    assert event("delta", '{"a":1}') == b'event: delta\ndata: {"a":1}\n\n'
