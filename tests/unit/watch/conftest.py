"""A bench for watches: buckets whose nodes a test sets, asked for in virtual time."""

import asyncio
import json

import pytest

from flashback_async import RetryPolicy
from tests.unit.support import Bench, answer, no


class Buckets:
    """An API whose buckets and nodes a test changes as it likes, and which records each request.

    ``refusals`` holds what answers instead: a reply by bucket id, or by "" for all requests.
    """

    def __init__(self, *bucket_ids, states=("ONLINE",)):
        self.nodes = {
            bucket_id: {f"10.0.0.{n}": state for n, state in enumerate(states, 1)}
            for bucket_id in bucket_ids
        }
        self.listed = None  # ids that a listing returns; None is all
        self.refusals = {}
        self.asked = []  # bucket id and time of each status request
        self.listings = 0

    async def __call__(self, request, attempt):
        at = asyncio.get_running_loop().time()
        if request.operation == "bucket_stats.list":
            self.listings += 1
            if "list" in self.refusals:
                return await _reply(self.refusals["list"], request, attempt)
            ids = self.nodes if self.listed is None else self.listed
            return answer({"stats": [{"bucketId": b, "totalCount": "1"} for b in ids]})
        self.asked.append((request.bucket_id, at))
        refusal = self.refusals.get(request.bucket_id, self.refusals.get(""))
        if refusal is not None:
            return await _reply(refusal, request, attempt)
        if request.bucket_id not in self.nodes:
            return no(404)
        nodes = self.nodes[request.bucket_id]
        listed = [{"ip": ip, "status": state} for ip, state in nodes.items()]
        return answer(json.dumps({"bucketId": request.bucket_id, "nodeStatus": listed}).encode())

    def times(self, bucket_id):
        return [at for asked, at in self.asked if asked == bucket_id]


async def _reply(refusal, request, attempt):
    if not callable(refusal):
        return refusal
    reply = refusal(request, attempt)
    return await reply if asyncio.iscoroutine(reply) else reply


@pytest.fixture
def make():
    """Return a function that makes an API of buckets and a bench that asks it."""

    def made(*bucket_ids, states=("ONLINE",), **options):
        api = Buckets(*bucket_ids, states=states)
        options.setdefault("retry", RetryPolicy.none())
        return api, Bench(api, **options)

    return made


class Consumer:
    """A consumer of a watch, whose changes are kept as short texts."""

    def __init__(self, watch):
        self.watch = watch
        self.changes = []
        self.error = None
        self._task = asyncio.create_task(self._consume())

    async def _consume(self):
        try:
            async for change in self.watch:
                self.changes.append(change)
        except Exception as error:
            self.error = error

    @property
    def texts(self):
        return [text_of(change) for change in self.changes]

    def take(self):
        """Return the texts of the changes since the last call."""
        texts = self.texts
        self.changes.clear()
        return texts

    async def close(self):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def text_of(change):
    """Return what a change says in short: "b 10.0.0.1 STATE ONLINE OFFLINE"."""
    states = [str(state) for state in (change.before, change.after) if state is not None]
    return " ".join([change.bucket_id, change.ip or "-", change.kind, *states])


@pytest.fixture
async def consume():
    consumers = []

    def consumed(watch):
        consumers.append(Consumer(watch))
        return consumers[-1]

    yield consumed
    for consumer in consumers:
        await consumer.close()
