"""The client: its options, its connections and its resources."""

from __future__ import annotations

import inspect
import os
import ssl
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import attrs

from flashback_async.api.urls import canonical_base_url, check_clear_text, proxy_for
from flashback_async.call.auth import TokenFile, seal, token_source
from flashback_async.call.caller import Caller
from flashback_async.call.client_state import ClientState
from flashback_async.call.journal import Journal
from flashback_async.config import CachePolicy, Limits, RetryPolicy, Timeout
from flashback_async.errors import ConfigurationError
from flashback_async.net.borrowed_session import capacity, check_session
from flashback_async.net.transports import transport_factory
from flashback_async.observer import Observer, Snapshot
from flashback_async.resources.bucket_stats import BucketStatsResource
from flashback_async.resources.cached import Cache
from flashback_async.resources.node_stats import NodeStatsResource
from flashback_async.resources.status import StatusResource
from flashback_async.values import Secret, TokenProvider

if TYPE_CHECKING:
    import aiohttp

DEFAULT_BASE_URL = "https://backend.flashback.tech"
BASE_URL_VARIABLE = "FLASHBACK_BASE_URL"


class FlashbackClient:
    """An async client of the Flashback API: statistics and node status of storage buckets.

    A new client has sent nothing and needs no event loop. The first call opens its connections
    in the running loop. Close it with ``async with`` or ``await client.close()``.

    Args:
        token: The bearer token, a ``TokenFile``, or an async function that returns the token. The
            client calls that function when it first needs a token. When the API rejects the
            token, the client calls it once more, for all calls together. None reads
            ``FLASHBACK_TOKEN``, else the file that ``FLASHBACK_TOKEN_FILE`` names.
        base_url: The URL of the API; a path prefix is kept. None reads ``FLASHBACK_BASE_URL``,
            and the default is ``https://backend.flashback.tech``.
        timeout: Time limits.
        retry: When a failed request is retried.
        limits: Limits over all calls of the client.
        proxy: The URL of an HTTP proxy. None reads ``HTTPS_PROXY`` and ``NO_PROXY``, once.
        ssl_context: The context that verifies the server, such as one with a private CA.
        session: An aiohttp session to borrow. It is never closed and never changed, and belongs
            to the event loop of the client's first call. Its connector limits the number of
            concurrent calls as well.
        allow_insecure_http: Whether ``http://`` may leave this machine. Anybody on the network
            path can then read the token.
        observer: What is told of each attempt, call and pause, of views as well. None tells nobody.
        transport: What carries the requests. ``"direct"`` is the client's own wire, which takes
            less than half the CPU time. It serves neither a proxy nor a borrowed session, and
            refuses both. ``"aiohttp"`` is aiohttp. ``"auto"`` is the direct one wherever it can
            serve.

    Attributes:
        bucket_stats: Traffic counters of buckets (``GET /bucket/stats``).
        node_stats: Node statistics of one day (``POST /bucket/{bucketId}/stats``).
        status: Current node status of buckets (``GET /bucket/{bucketId}/status``).

    Raises:
        ConfigurationError: A setting is wrong, or there is no token. The message names it.
    """

    bucket_stats: BucketStatsResource
    node_stats: NodeStatsResource
    status: StatusResource
    _base_url = "(not made)"  # shown in the traceback of a refused setting

    def __init__(
        self,
        token: str | TokenProvider | TokenFile | None = None,
        *,
        base_url: str | None = None,
        timeout: Timeout = Timeout(),
        retry: RetryPolicy = RetryPolicy(),
        limits: Limits = Limits(),
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        session: aiohttp.ClientSession | None = None,
        allow_insecure_http: bool = False,
        observer: Observer | None = None,
        transport: Literal["auto", "aiohttp", "direct"] = "auto",
    ) -> None:
        sealed = seal(token)
        del token  # local variables in a traceback must not show it
        sealed_proxy = _seal_proxy(proxy)
        del proxy
        if base_url is None:
            base_url = os.environ.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL
        _check_flag("allow_insecure_http", allow_insecure_http)
        _check_type("limits", limits, Limits)
        _check_observer(observer)
        base_url = canonical_base_url(base_url, allow_insecure_http=allow_insecure_http)
        proxy_to_use = proxy_for(base_url, sealed_proxy)
        check_clear_text(base_url, proxy_to_use, allow_insecure_http=allow_insecure_http)
        _check_ssl_context(ssl_context)
        check_session(session, base_url, proxy_to_use, allow_insecure_http=allow_insecure_http)
        most = capacity(session, limits.max_concurrency)
        limits = attrs.evolve(limits, max_concurrency=most)
        _check_type("timeout", timeout, Timeout)
        make_transport = transport_factory(
            transport,
            base_url,
            longest_lookup=min(timeout.connect, timeout.attempt, timeout.total),
            max_response_bytes=limits.max_response_bytes,
            proxy=proxy_to_use,
            ssl_context=ssl_context,
            session=session,
        )
        state = ClientState(
            make_transport=make_transport,
            tokens=token_source(sealed),
            limits=limits,
            borrowed=session is not None,
            journal=Journal(observer, base_url),
        )
        self._owner: FlashbackClient | None = None
        self._set_up(state, base_url, timeout, retry)

    def with_options(
        self, *, timeout: Timeout | None = None, retry: RetryPolicy | None = None
    ) -> FlashbackClient:
        """Return a view of this client with other options but the same connections and token.

        The view shares the client's limits too. Closing the view closes nothing.

        Args:
            timeout: None keeps the client's own.
            retry: None keeps the client's own.

        Raises:
            ConfigurationError: An option is of the wrong type.
        """
        view = object.__new__(type(self))
        view._owner = self._owner or self  # the connections live as long as any view
        caller = self._caller
        view._set_up(
            caller.state,
            self._base_url,
            caller.timeout if timeout is None else timeout,
            caller.retry if retry is None else retry,
        )
        return view

    @property
    def pace(self) -> float | None:
        """The requests a second at which the client sends now, because the server throttles.

        None while the server does not. The client learns the rate from the server's answers, so it
        changes. Views have that of their client; any thread may ask.
        """
        return self._caller.state.pace

    def cached(self, policy: CachePolicy = CachePolicy()) -> Cache:
        """Return a cache of what this client reads, which begins empty.

        Args:
            policy: How long values are kept, and how many.

        Raises:
            ConfigurationError: ``policy`` is of the wrong type.
        """
        _check_type("policy", policy, CachePolicy)
        return Cache(self._caller, policy, self.status, self.bucket_stats, self.node_stats)

    def snapshot(self) -> Snapshot:
        """Return what the client is doing now, and its totals so far.

        Any thread may ask, with or without an event loop, also before the first call and after
        ``close()``. The values may be from slightly different moments. A view has those of its
        client.
        """
        return self._caller.state.snapshot()

    async def close(self) -> None:
        """Close every connection; calls in flight end with ``ClientClosedError``.

        Closing twice is fine.

        Raises:
            EventLoopError: The client is in use in another event loop that is still alive, or
                the parent process opened it.
        """
        if self._owner is None:
            await self._caller.state.close()

    async def __aenter__(self) -> Self:
        self._caller.check_open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<FlashbackClient {self._base_url}>"

    def __del__(self) -> None:
        # If __init__ has raised, there is nothing to close.
        caller = getattr(self, "_caller", None)
        if caller is not None and self._owner is None and caller.state.abandon():
            warnings.warn(
                f"{self!r} was never closed: use 'async with' or 'await client.close()'",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def _set_up(
        self, state: ClientState, base_url: str, timeout: Timeout, retry: RetryPolicy
    ) -> None:
        _check_type("timeout", timeout, Timeout)
        _check_type("retry", retry, RetryPolicy)
        self._base_url = base_url
        self._caller = Caller(state, timeout, retry)
        self.bucket_stats = BucketStatsResource(self._caller, base_url)
        self.node_stats = NodeStatsResource(self._caller)
        self.status = StatusResource(self._caller)


def _seal_proxy(proxy: object) -> Secret | None:
    """Return the URL of a proxy, sealed so that no traceback shows its password."""
    if proxy is None:
        return None
    if not isinstance(proxy, str):
        raise ConfigurationError(f"proxy must be text, not {type(proxy).__name__}")
    return Secret(proxy)


def _check_type(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise ConfigurationError(f"{name} must be a {kind.__name__}, not {type(value).__name__}")


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, not {type(value).__name__}")


def _check_observer(observer: object) -> None:
    if observer is None:
        return
    if not isinstance(observer, Observer):
        kind = type(observer).__name__
        raise ConfigurationError(f"observer must be an Observer, not {kind}")
    for method in (observer.attempt_ended, observer.call_ended, observer.pause_began):
        if inspect.iscoroutinefunction(method):  # nobody would await it
            raise ConfigurationError(f"observer must not have an async {method.__name__}")


def _check_ssl_context(context: object) -> None:
    if context is None:
        return
    if not isinstance(context, ssl.SSLContext):
        raise ConfigurationError(
            f"ssl_context must be an ssl.SSLContext, not {type(context).__name__}"
        )
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        raise ConfigurationError("ssl_context must verify the server's certificate and host name")
