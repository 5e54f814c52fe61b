"""The one place where tests reach inside a client, for what no public name shows."""

import aiohttp
from aiohttp.client_proto import ResponseHandler

from flashback_async.call.auth import token_source
from flashback_async.cli import standard_input
from flashback_async.net import aiohttp_session, transports
from flashback_async.net.connecting import Connector
from flashback_async.net.direct import DirectTransport
from flashback_async.net.wire import Wire


def state(client):
    """Return what outlives the event loop: limits, token, retry budget, clock."""
    return client._caller.state


def loop_state(client):
    """Return what belongs to the running loop; None before the first call."""
    return state(client).loop_state


def admission(client):
    return loop_state(client).admission


def active(client):
    """Return how many slots are held."""
    return admission(client).active


def budget(client):
    """Return how many tokens the retry budget holds."""
    return state(client).budget.tokens


def is_closed(client):
    return state(client)._closed


def clock(client):
    return state(client).clock


def use_clock(client, clock):
    """Set the clock, before the first call."""
    state(client).clock = clock


def total(client):
    return client._caller.timeout.total


def prefer_transport(monkeypatch, name):
    """Set which transport clients take by themselves."""
    monkeypatch.setattr(transports, "_PREFERRED", name)


def session(client):
    """Return aiohttp's session; its connector is None once it is closed."""
    return loop_state(client).transport._session


def connections_in_use(client):
    """Return the connections of requests in flight."""
    pool = loop_state(client)
    if pool is None:
        return set()
    if isinstance(pool.transport, DirectTransport):
        wires = pool.transport._pool
        return wires._wires - set(wires._idle)
    connector = pool.transport._session and session(client).connector
    return set(connector._acquired) if connector else set()


def idle_connections(client):
    """Return how many living connections are kept for reuse."""
    transport = loop_state(client).transport
    if isinstance(transport, DirectTransport):
        return sum(wire.is_usable for wire in transport._pool._idle)
    kept = session(client).connector._conns.values()
    return sum(handler.is_connected() for same in kept for handler, _ in same)


def callers_waiting(client):
    """Return how many calls wait for a slot."""
    return len(admission(client)._waiting)


def look_at_deadlines(client):
    """End every call whose deadline has passed on its clock, without waiting for a timer."""
    loop_state(client).timer._sweep()


def remark(error, text):
    """Add to an error what the client found out later."""
    error._remark(text)


def base_url(client):
    return client._base_url


def owner(view):
    """Return the client that a view was made of."""
    return view._owner


def fetch_in_flight(client):
    """Return the fetch of a token that callers wait for."""
    return loop_state(client).tokens._fetch


def replace_provider(client, provider):
    state(client).tokens._renew = token_source(provider)._renew


def limit_late_ids(monkeypatch, *, seconds=None, ids=None):
    """Change what a run that has ended grants a standard input that has not."""
    for name, value in (("_PATIENCE", seconds), ("_MOST_LATE", ids)):
        if value is not None:
            monkeypatch.setattr(standard_input, name, value)


def hold_new_connections(monkeypatch, connected, go_on):
    """Report each new connection of own sessions and wires, and hold it back until ``go_on``."""

    def held(connect):
        async def connect_and_wait(*args):
            connection = await connect(*args)
            connected.set()
            await go_on.wait()
            return connection

        return connect_and_wait

    monkeypatch.setattr(aiohttp_session, "_connect", held(aiohttp_session._connect))
    monkeypatch.setattr(Connector, "connect", held(Connector.connect))


def watch_requests(monkeypatch, note):
    """Call a function as a request leaves, over either transport."""

    async def sent_by_aiohttp(self, connection):
        note()
        return await by_aiohttp(self, connection)

    def sent_by_wire(self, request):
        note()
        by_wire(self, request)

    by_aiohttp, by_wire = aiohttp.ClientRequest.send, Wire.send
    monkeypatch.setattr(aiohttp.ClientRequest, "send", sent_by_aiohttp)
    monkeypatch.setattr(Wire, "send", sent_by_wire)


def record_received(monkeypatch):
    """Record the sizes of all blocks that connections of either transport read."""
    sizes = []

    def record(kind):
        received = kind.data_received

        def counted(self, data):
            sizes.append(len(data))
            received(self, data)

        monkeypatch.setattr(kind, "data_received", counted)

    record(ResponseHandler)
    record(Wire)
    return sizes
