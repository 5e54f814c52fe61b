"""The summary of a run on standard error: how it went, and what failed and why."""

from __future__ import annotations

from flashback_async import AttemptEnded, Observer, PauseBegan
from flashback_async.cli import text
from flashback_async.cli.exits import Exit, Tally
from flashback_async.cli.messages import say
from flashback_async.cli.output import AnyView
from flashback_async.cli.records import reason, words


class Effort(Observer):
    """The requests that a run took, as its client tells of them."""

    def __init__(self) -> None:
        self.requests = 0
        self.repeated = 0
        self.paused = 0.0  # seconds

    def attempt_ended(self, fact: AttemptEnded) -> None:
        """Count a request."""
        self.requests += 1
        self.repeated += fact.attempt > 1

    def pause_began(self, fact: PauseBegan) -> None:
        """Add up the pauses."""
        self.paused += fact.seconds


def write(
    tally: Tally, effort: Effort, view: AnyView, *, quiet: bool, in_full: bool, unread: bool
) -> None:
    """Write the summary.

    Args:
        tally: The counts of the run.
        effort: The requests that it took.
        view: How its keys are shown.
        quiet: Write nothing about a run in which everything succeeded.
        in_full: Name what failed, because the data does not.
        unread: Standard input may hold ids that were never read.
    """
    code = tally.code()
    if tally.pace is not None and not (quiet and code is Exit.OK):
        say(f"the API throttled the run, at the end to {text.rate(tally.pace)}")
    if in_full and not quiet:
        _tell_effort(effort)
    if code is Exit.OK:
        if in_full and not quiet:
            say(f"{_asked(tally, view)} in {text.seconds(tally.deadline.elapsed)}")
        return
    # With a rejected token, the unsent keys have no reason of their own.
    if in_full and code is not Exit.TOKEN_REJECTED:
        _list_failures(tally, view)
    if unread:
        say("standard input was not read to its end")
    say(_verdict(tally, view, code))


def _tell_effort(effort: Effort) -> None:
    """Write how many requests were sent again, and how long pauses were, if there were any."""
    if effort.paused:
        say(f"the API asked for pauses of {text.seconds(effort.paused)} in all")
    if effort.repeated:
        requests = text.plural(effort.requests, "request")
        say(f"{effort.repeated:,} of {requests} repeated one that had failed")


def _asked(tally: Tally, view: AnyView) -> str:
    return text.plural(tally.total, view.noun)


def _list_failures(tally: Tally, view: AnyView) -> None:
    for outcome in sorted(tally.first_failures, key=lambda outcome: outcome.index):
        if outcome.error is not None:
            say(f"{view.label(outcome.key)}: {reason(outcome.error)}")
    more = tally.failed - len(tally.first_failures)
    if more:
        say(f"and {more:,} more")


def _verdict(tally: Tally, view: AnyView, code: Exit) -> str:
    if tally.rejection is not None:
        return f"error: {words(tally.rejection)}"
    if code is Exit.NOTHING_SUCCEEDED:
        return f"error: nothing succeeded: {_asked(tally, view)} failed"
    failed = f"{tally.failed:,} of {_asked(tally, view)} failed"
    if tally.cut_off is not None:
        cut_off = f"error: {tally.deadline.message(tally.cut_off)}"
        return f"{cut_off}: {failed}" if tally.failed else cut_off
    return failed
