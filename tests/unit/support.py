"""Stand-ins for what a unit test cannot use: the clock of the machine and the network."""

import asyncio
import inspect
import json
from types import SimpleNamespace

from flashback_async.call.auth import token_source
from flashback_async.call.caller import Caller
from flashback_async.call.client_state import ClientState
from flashback_async.call.journal import Journal
from flashback_async.config import Limits, RetryPolicy, Timeout
from flashback_async.errors import TransportError
from flashback_async.resources.bucket_stats import BucketStatsResource
from flashback_async.resources.node_stats import NodeStatsResource
from flashback_async.resources.status import StatusResource
from flashback_async.values import NoAnswer, Response, Retry, Secret

TOKEN = "canary-9f1c"
NOON = 1_705_320_000.0  # 2024-01-15T12:00:00Z


class LoopClock:
    """The clock of the running loop; chance is a share of what it may be."""

    def __init__(self, share=1.0):
        self.share = share
        self.slept = []
        self.drawn = []
        self.wall_offset = NOON - 1000.0
        self.loop = asyncio.get_running_loop()  # it is also looked at from threads

    def monotonic(self):
        return self.loop.time()

    def wall(self):
        return self.monotonic() + self.wall_offset

    def uniform(self, low, high):
        self.drawn.append((low, high))
        return low + (high - low) * self.share

    async def sleep(self, seconds):
        self.slept.append(seconds)
        await asyncio.sleep(seconds)

    def call_later(self, seconds, callback):
        return self.loop.call_later(seconds, callback)


async def turns(count=10):
    """Yield to the event loop, so that whatever is ready runs."""
    for _ in range(count):
        await asyncio.sleep(0)


def now():
    return asyncio.get_running_loop().time()


def answer(body=b"{}", status=200, **headers):
    """An answer of the server; header names are written with underscores."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    pairs = {"content_type": "application/json"} | headers
    return Response(
        status,
        tuple((k.replace("_", "-").encode(), str(v).encode()) for k, v in pairs.items()),
        body,
    )


def no(status, message=None, **headers):
    """A refusal as the API documents it."""
    body = {"success": False} if message is None else {"success": False, "message": message}
    return answer(body, status, **headers)


def lost(error, *, stale=False):
    return NoAnswer(error, Retry.STALE if stale else Retry.TRANSIENT)


RECALLED = NoAnswer(TransportError("recalled"), Retry.RECALLED, sent=False)


class Script:
    """A transport that plays what a test wrote: answers in turn, or a function of each request.

    An answer may be an exception to raise, a value to give, or a function of (request, attempt),
    awaited where it is a coroutine. The last answer is repeated.
    """

    def __init__(self, *answers):
        self.answers = list(answers)
        self.sent = []
        self.under_way = self.most_under_way = 0
        self.opened = self.closed = self.recalls = 0

    def open(self):
        self.opened += 1

    async def close(self):
        self.closed += 1

    def recall(self):
        self.recalls += 1

    async def send(self, request, secret, attempt):
        self.sent.append(
            SimpleNamespace(
                request=request,
                token=secret.reveal(),
                fresh=attempt.fresh,
                connect=attempt.connect,
                at=now(),
            )
        )
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            step = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if callable(step):
                step = step(request, attempt)
            if inspect.isawaitable(step):
                step = await step
            if isinstance(step, BaseException):
                raise step
            return step
        finally:
            self.under_way -= 1

    @property
    def times(self):
        """When each request was sent, counted from the first."""
        return [sent.at - self.sent[0].at for sent in self.sent]


def after(seconds, what):
    """An answer that takes its time."""

    async def late(request, attempt):
        await asyncio.sleep(seconds)
        return what

    return late


async def hang(request, attempt):
    attempt.phase = "headers"
    await asyncio.get_running_loop().create_future()


class Bench:
    """A session caller over a script, in virtual time, with the resources on top of it."""

    def __init__(
        self,
        *answers,
        token=TOKEN,
        timeout=None,
        retry=None,
        limits=None,
        borrowed=False,
        share=1.0,
        base_url="https://api.test",
        make_transport=None,
        keep_clock=False,
        observer=None,
    ):
        self.script = Script(*answers)
        given = Secret(token) if isinstance(token, str) else token
        self.tokens = token_source(given)
        self.state = ClientState(
            make_transport=make_transport or (lambda: self.script),
            tokens=self.tokens,
            limits=limits or Limits(),
            borrowed=borrowed,
            journal=Journal(observer, base_url),
        )
        if not keep_clock:
            self.state.clock = LoopClock(share)
        self.clock = self.state.clock
        self.caller = Caller(self.state, timeout or Timeout(), retry or RetryPolicy())
        self.bucket_stats = BucketStatsResource(self.caller, base_url)
        self.node_stats = NodeStatsResource(self.caller)
        self.status = StatusResource(self.caller)

    @property
    def sent(self):
        return self.script.sent

    @property
    def admission(self):
        return self.state.open_loop_state().admission

    @property
    def budget(self):
        return self.state.budget.tokens

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.state.close()


def status_body(bucket_id="b", count=1):
    """The answer to a status request."""
    node = {
        "ip": "10.0.0.1",
        "region": "us-east-1",
        "version": "1.2.3",
        "status": "ONLINE",
        "latency_ms": 45,
        "lastUpdated": "2024-01-15T10:30:00Z",
    }
    return {"bucketId": bucket_id, "nodeStatus": [node] * count}


def echo_status(request, attempt):
    """Answer any status request about the bucket it asks for."""
    return answer(status_body(request.bucket_id))
