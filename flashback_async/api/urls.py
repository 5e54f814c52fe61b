"""URLs: the base URL, proxies from the environment, and bucket ids in a path or query."""

from __future__ import annotations

import ipaddress
import re
import string
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TypeGuard, cast
from urllib.parse import SplitResult, quote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from flashback_async.errors import ConfigurationError, InvalidArgumentError, show
from flashback_async.values import Secret

MAX_ID_LENGTH = 256
# Common servers refuse a URL of more than 8 KiB; half of that leaves room for any proxy.
MAX_URL_BYTES = 4000

_DEFAULT_PORTS = {"http": 80, "https": 443}
_ID_SEGMENT = re.compile(r"^/bucket/[^/]+/")
# Ids of these characters need no encoding. Dots need none either, except in a dot segment.
_PLAIN = f"{string.ascii_letters}{string.digits}_~-".encode()
_DOTS = (".", "..")
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def canonical_base_url(text: object, *, allow_insecure_http: bool) -> str:
    """Return the canonical form of a base URL: lower case, no default port, no slash at the end.

    Raises:
        ConfigurationError: It is not an absolute https URL (or http to loopback). Or it has user
            info, a query or a fragment.
    """
    if not isinstance(text, str):
        raise ConfigurationError(f"base_url must be text, not {type(text).__name__}")
    parts = _split(text)
    if isinstance(parts, str):
        raise ConfigurationError(f"base_url {parts}")
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise ConfigurationError("base_url must have no query and no fragment")
    if "@" in parts.netloc:
        raise ConfigurationError("base_url must not hold user info; pass the token as token")
    host = _ascii_host(parts)
    if host is None:
        raise ConfigurationError("base_url must name a host")
    if parts.scheme == "http" and not (is_loopback(host) or allow_insecure_http):
        raise ConfigurationError(
            f"https required: base_url {show(text)} would send the token in clear text; "
            "allow_insecure_http=True permits it"
        )
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~-._")
    if any(part in _DOTS for part in path.split("/")):
        raise ConfigurationError(f"base_url must have no '.' or '..' segment, not {show(text)}")
    return f"{parts.scheme}://{_authority(parts, host)}{path}"


def proxy_for(base_url: str, given: Secret | None) -> Secret | None:
    """Return the proxy to use: the one given, else that of ``HTTPS_PROXY`` and ``NO_PROXY``.

    Its URL may hold a password, so it is sealed. Plain http is meant for loopback and never goes
    through a proxy of the environment.

    Raises:
        ConfigurationError: It is not an absolute http or https URL. The message does not show it.
    """
    name = "proxy"
    if given is None and base_url.startswith("https:"):
        name, given = "HTTPS_PROXY", environment_proxy(base_url)
    problem = None if given is None else _problem_of_proxy(given.reveal())
    if problem:
        raise ConfigurationError(f"{name} {problem}")
    return given


def check_clear_text(base_url: str, proxy: Secret | None, *, allow_insecure_http: bool) -> None:
    """Check that no proxy on another machine carries the token in clear text.

    Raises:
        ConfigurationError: One would, and ``allow_insecure_http`` is False.
    """
    if proxy is None or allow_insecure_http or base_url.startswith("https:"):
        return
    parts = _parsed(proxy.reveal())
    host = None if parts is None else _ascii_host(parts)
    if host is None or not is_loopback(host):
        raise ConfigurationError(
            f"https required: the proxy would carry the token to base_url {show(base_url)} in "
            "clear text; allow_insecure_http=True permits it"
        )


def environment_proxy(base_url: str) -> Secret | None:
    """Return the proxy that the environment names for a URL."""
    parts = urlsplit(base_url)
    proxy = getproxies_environment().get(parts.scheme)
    if not proxy or proxy_bypass(parts.netloc):
        return None
    return Secret(proxy if "://" in proxy else f"http://{proxy}")


def _problem_of_proxy(text: str) -> str | None:
    parts = _split(text)
    if isinstance(parts, str):
        return parts
    return None if _ascii_host(parts) else "must name a host"


def is_loopback(host: str) -> bool:
    """Return whether a host name or address always means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_bucket_id(value: object, operation: str | None = None, *, listed: bool = False) -> str:
    """Return a bucket id after its check; ``listed`` ids share one comma-separated value.

    Raises:
        InvalidArgumentError: It breaks a rule, which the message names.
    """
    if not isinstance(value, str):
        problem: str | None = f"must be text, not {type(value).__name__}"
    elif problem := _problem_of_id(value, listed):
        problem = f"{problem}, not {show(value)}"
    else:
        return value
    bucket_id = value if isinstance(value, str) else None
    raise InvalidArgumentError(f"bucket_id {problem}", operation=operation, bucket_id=bucket_id)


def segment(bucket_id: object, operation: str | None = None) -> str:
    """Return an id, checked, as exactly one percent-encoded path segment.

    Raises:
        InvalidArgumentError: It breaks a rule, which the message names.
    """
    if type(bucket_id) is str and 0 < len(bucket_id) <= MAX_ID_LENGTH and _is_plain(bucket_id):
        return bucket_id
    return _encoded(check_bucket_id(bucket_id, operation))


def _is_plain(text: str) -> bool:
    """Return whether text has only plain characters and no dots, as nearly every id has."""
    return text.isascii() and not text.encode().translate(None, _PLAIN)


def check_listed_ids(bucket_ids: Iterable[object], operation: str) -> list[str]:
    """Return ids that share one comma-separated value, each checked as ``check_bucket_id`` does.

    Raises:
        InvalidArgumentError: One of them breaks a rule.
    """
    ids = list(bucket_ids)
    if _all_plain(ids):
        return ids
    return [check_bucket_id(bucket_id, operation, listed=True) for bucket_id in ids]


def _all_plain(ids: Sequence[object]) -> TypeGuard[list[str]]:
    """Return, from one check of all ids, whether they are plain text that breaks no rule."""
    texts = cast("Sequence[str]", ids)
    try:
        return all(texts) and max(map(len, texts)) <= MAX_ID_LENGTH and _is_plain("".join(texts))
    except (TypeError, ValueError):  # one is not text, or there are none
        return False


def fold(bucket_id: str) -> str:
    """Return an id for a comparison that ignores the case of ASCII letters, and of no others."""
    return bucket_id.lower() if bucket_id.isascii() else bucket_id.translate(_LOWER)


def list_target(bucket_ids: list[str] | None) -> str:
    """Return the target of a list request; None asks for every bucket."""
    if bucket_ids is None:
        return "/bucket/stats"
    encoded = bucket_ids if _all_plain(bucket_ids) else list(map(_encoded, bucket_ids))
    return "/bucket/stats?bucketId=" + "%2C".join(encoded)


def url_template(target: str) -> str:
    """Return the path of a target, with the name of the parameter in the place of a bucket id."""
    return _ID_SEGMENT.sub("/bucket/{bucketId}/", target.partition("?")[0])


def server_of(base_url: str) -> tuple[str, int]:
    """Return the host and the port of a canonical base URL."""
    parts = urlsplit(base_url)
    return parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]


def listed_size(bucket_id: object) -> int:
    """Return the bytes that an id takes in the URL of a list request, with its comma."""
    if not isinstance(bucket_id, str):
        return len("%2C")
    return len(_encoded(bucket_id)) + len("%2C")


def list_room(base_url: str) -> int:
    """Return how many bytes of ids fit into the URL of one list request."""
    return MAX_URL_BYTES - len(base_url) - len(list_target([]))


def _encoded(bucket_id: str) -> str:
    if _is_plain(bucket_id):
        return bucket_id
    return quote(bucket_id, safe="", errors="replace")


def _split(text: str) -> SplitResult | str:
    """Return the parts of an absolute http or https URL, or the rule that it breaks."""
    if not text.isprintable() or " " in text or "\\" in text:
        return "must hold no white space, controls or backslashes"
    parts = _parsed(text)
    if parts is None:
        return "is not a URL, or its port is not from 1 to 65535"
    if parts.scheme not in _DEFAULT_PORTS:
        return "must start with https:// or http://"
    return parts


def _parsed(text: str) -> SplitResult | None:
    with suppress(ValueError):
        parts = urlsplit(text)
        if parts.port != 0:
            return parts
    return None


def _ascii_host(parts: SplitResult) -> str | None:
    """Return the host as it is sent: an address, or a name in ASCII; None if it is neither."""
    host = parts.hostname or ""
    with suppress(ValueError):
        if ":" in host:
            return ipaddress.IPv6Address(host).compressed
        host = host.encode("idna").decode("ascii").lower()
        if _HOST.fullmatch(host):
            return host
    return None


def _authority(parts: SplitResult, host: str) -> str:
    shown = f"[{host}]" if ":" in host else host
    port = parts.port
    return shown if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{shown}:{port}"


def _problem_of_id(value: str, listed: bool) -> str | None:
    """Return the rule that an id breaks, if any."""
    if not value:
        return "must not be empty"
    if value in _DOTS:
        return "must not be a dot segment"
    if len(value) > MAX_ID_LENGTH:
        return f"must have at most {MAX_ID_LENGTH} characters"
    if _is_plain(value):
        return None
    if value != value.strip():
        return "must not start or end with white space"
    if "/" in value or "\\" in value:
        return "must not hold a slash or backslash"
    if any(unicodedata.category(c) in _UNSEEN for c in value):
        return "must hold no control, format or separator characters"
    if listed and "," in value:
        return "must hold no comma in a list call (it would become two ids)"
    return None
