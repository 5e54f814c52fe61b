"""SIGTERM, which ends some commands as Ctrl-C does."""

import asyncio
import signal
import threading

import pytest

from flashback_async.cli.signals import heeding_sigterm


@pytest.fixture
def ctrl_c():
    before = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_sigterm_ends_a_command_even_if_it_ignores_ctrl_c(ctrl_c, handler):
    ctrl_c(handler)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), heeding_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_cancels_what_an_event_loop_runs(ctrl_c):
    ctrl_c(signal.default_int_handler)
    ended = []

    async def work():
        try:
            signal.raise_signal(signal.SIGTERM)
            ended.append("at once")
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with pytest.raises(KeyboardInterrupt), heeding_sigterm(), asyncio.Runner() as runner:
        runner.run(work())
    assert ended == ["at once", "cancelled"]


def test_in_another_thread_nothing_is_added_to_an_error():
    found = []

    def work():
        try:
            with heeding_sigterm():
                raise LookupError
        except LookupError as error:
            found.append(error.__context__)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]
