"""What a sandbox is told to get wrong, and what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flashback_async.sandbox import checks
from flashback_async.sandbox.api import Api
from flashback_async.sandbox.faults import Fault
from flashback_async.sandbox.limits import Throttle
from flashback_async.sandbox.log import Log
from flashback_async.sandbox.script import Script, Stage
from flashback_async.sandbox.told import Told
from flashback_async.sandbox.world import World


class Scripted(Told):
    """The part of ``Sandbox`` that says what goes wrong; any thread may call it."""

    __slots__ = ("_api", "_scripts", "_stage")

    def __init__(
        self, world: World, stage: Stage, *, seed: int, now: Callable[[], datetime]
    ) -> None:
        super().__init__(world)
        self._stage = stage
        self._scripts: list[Script] = []
        self._api = Api(world, seed=seed, now=now, stage=stage, lock=self._lock)

    @property
    def requests(self) -> int:
        """The number of requests received since it was created or reset, refused ones included."""
        return self._api.requests

    @property
    def log(self) -> Log:
        """The last 100,000 requests that were received, in their order."""
        return self._api.log

    @property
    def latency(self) -> float:
        """Seconds by which every answer is delayed."""
        return self._api.latency

    @latency.setter
    def latency(self, value: float) -> None:
        checks.number("latency", value, 0)
        self._api.latency = value

    @property
    def error_rate(self) -> float:
        """Share of requests that are answered with 503."""
        return self._api.error_rate

    @error_rate.setter
    def error_rate(self, value: float) -> None:
        checks.number("error_rate", value, 0, 1)
        self._api.error_rate = value

    @property
    def rate_limit(self) -> float | None:
        """Requests per second that are allowed; None sets no limit."""
        throttle = self._api.throttle
        return None if throttle is None else throttle.rate

    @rate_limit.setter
    def rate_limit(self, value: float | None) -> None:
        if value is not None:
            checks.number("rate_limit", value, 0.001)
        self._api.throttle = None if value is None else Throttle(value)

    def script(self, *faults: Fault) -> Script:
        """Return a script of faults, which are in force within its ``with`` block.

        A script within another one comes before that. Scripts come before `fail`, the token,
        `rate_limit` and `error_rate`.

        Raises:
            ValueError: One is not a `Fault`, or is about a bucket that is neither in the workspace
                nor in `forbidden_ids`.
        """
        for fault in faults:
            if not isinstance(fault, Fault):
                raise ValueError(f"faults must be of the class Fault, not {fault!r}")
            if fault.bucket_id is not None:
                self._check_known(fault.bucket_id)
        script = Script(faults, self._stage)
        self._scripts.append(script)
        return script

    @property
    def scripts(self) -> tuple[Script, ...]:
        """Every script that was made, in force or not; `reset` does not forget them."""
        return tuple(self._scripts)

    def remove_bucket(self, bucket_id: str) -> None:
        """Remove a bucket from the workspace; requests for it get a 404.

        Raises:
            ValueError: The workspace has no such bucket.
        """
        with self._lock:
            super().remove_bucket(bucket_id)
            self._api.failures.pop(bucket_id.lower(), None)

    def fail(
        self, bucket_id: str, status: int = 503, times: int = 1, *, retry_after: int | None = None
    ) -> None:
        """Answer the next requests for a bucket with an error, a short form of `script`.

        They are requests for its status, its node statistics, and lists of statistics that name it.
        A second call replaces the failures that remain of the first.

        Args:
            bucket_id: A bucket of the workspace, or one of `forbidden_ids`.
            status: The HTTP status, 400 to 599.
            times: Number of answers, 1 or more.
            retry_after: Seconds for a `Retry-After` header, 0 or more; None sends no header.

        Raises:
            ValueError: There is no such bucket, or an argument is out of its range.
        """
        self._check_known(bucket_id)
        checks.whole("status", status, 400, 599)
        checks.whole("times", times, 1)
        if retry_after is not None:
            checks.whole("retry_after", retry_after, 0)
        fault = Fault.status(status, retry_after=retry_after).first(times).for_bucket(bucket_id)
        with self._lock:
            self._api.failures.pop(bucket_id.lower(), None)
            self._api.failures[bucket_id.lower()] = Script([fault], self._stage)
