"""What a client has asked for and when buckets last answered, recorded as it happens."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from flashback_async import AttemptEnded, CallEnded, Observer

_STATUS = "status.get"


class Requests(Observer):
    """An observer that counts requests, and records when each bucket last answered.

    A request that brought an answer counts once its call ends, because only then it is known
    whether the answer can be decoded.

    Attributes:
        counts: Requests by operation and result, which is ``"success"`` or the class of the error.
        last_answers: When the last answer about a bucket's nodes arrived, as Unix time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.last_answers: dict[str, float] = {}
        self._clock = clock
        # Answers of calls that have not ended, by the task of the call: several calls under way
        # may ask for the same, but a task makes one at a time.
        self._answers: Counter[asyncio.Task[object] | None] = Counter()

    def attempt_ended(self, fact: AttemptEnded) -> None:
        """Count a request that has failed, and keep one that brought an answer."""
        if fact.error is None:
            self._answers[asyncio.current_task()] += 1
        else:
            self.counts[fact.operation, fact.error] += 1

    def call_ended(self, fact: CallEnded) -> None:
        """Count the request that brought the answer, and record when a bucket has answered."""
        answers = self._answers.pop(asyncio.current_task(), 0)
        if answers:
            self.counts[fact.operation, fact.error or "success"] += answers
        if fact.operation == _STATUS and fact.bucket_id is not None and fact.error is None:
            self.last_answers[fact.bucket_id] = self._clock()

    def forget(self, bucket_id: str) -> None:
        """Forget a bucket that is gone."""
        self.last_answers.pop(bucket_id, None)
