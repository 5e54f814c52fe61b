"""What is said on standard error when a run is over: how it went, and what failed and why."""

from __future__ import annotations

from flashback_async.cli import text
from flashback_async.cli.exits import Exit, Tally
from flashback_async.cli.messages import say
from flashback_async.cli.output import AnyView
from flashback_async.cli.records import reason, words


def tell(tally: Tally, view: AnyView, *, quiet: bool, in_full: bool) -> None:
    """Say how a run went; `in_full` names what failed, where the data does not."""
    code = tally.code()
    if code is Exit.OK:
        if in_full and not quiet:
            say(f"{_asked(tally, view)} in {text.seconds(tally.deadline.elapsed)}")
        return
    # With a rejected token, what was not asked has no reason of its own.
    if in_full and code is not Exit.TOKEN_REJECTED:
        _list_failures(tally, view)
    say(_verdict(tally, view, code))


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
    if code is Exit.DEADLINE:
        return f"error: the deadline of {tally.deadline.seconds} s passed: {failed}"
    return failed
