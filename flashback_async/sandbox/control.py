"""The control of a sandbox over HTTP, for programs in any language."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from aiohttp import web

from flashback_async.sandbox.answers import RefusedError, response, to_json
from flashback_async.sandbox.api import read_body, require_json
from flashback_async.sandbox.data import JsonObject
from flashback_async.sandbox.faults import Down, Fault
from flashback_async.sandbox.log import Seen
from flashback_async.sandbox.server import Sandbox

PREFIX = "/_sandbox/"

T = TypeVar("T")

# How JSON names the faults.
_MADE: dict[str, Callable[..., Fault]] = {
    "status": Fault.status,
    "body": Fault.body,
    "slow": Fault.slow,
    "hang": Fault.hang,
    "reset": Fault.reset,
    "cut": Fault.cut,
    "drip": Fault.drip,
    "token_expired": Fault.token_expired,
    "down": Fault.down,
}
# What each takes, and whether it must be given.
_ARGUMENTS = {
    "status": {"status": True, "retry_after": False},
    "body": {"body": True, "status": False, "content_type": False},
    "slow": {"seconds": True},
    "cut": {"length": True},
    "drip": {"rate": True},
}
_CONDITIONS = ("after", "every", "first", "for_bucket", "for_operation", "between")


class ControlledSandbox(Sandbox):
    """A sandbox that also does what other programs tell it over HTTP, under ``/_sandbox/``.

    What they send is neither logged nor struck by faults. Only this machine can reach it, and a
    request must name it as its host, so that no web page in a browser can.
    """

    __slots__ = ()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if not request.path.startswith(PREFIX):
            return await super()._handle(request)
        try:
            return response(200, to_json(await self._do(request)))
        except RefusedError as refused:
            return response(refused.status, refused.body, refused.headers)
        except ValueError as error:
            return response(400, to_json({"success": False, "message": str(error)}))

    async def _do(self, request: web.BaseRequest) -> JsonObject | list[JsonObject]:
        host = self.base_url.removeprefix("http://")
        hosts = (host, host.replace("127.0.0.1", "localhost"))
        if request.headers.get("Host") not in hosts:
            raise RefusedError(403, f"Host must be {host}")
        # A browser sends it with what a web page asks for, and no page has business here.
        if "Origin" in request.headers:
            raise RefusedError(403, "a request with an Origin is refused")
        match request.method, request.path.removeprefix(PREFIX):
            case "POST", "faults":
                faults = _faults(await _document(request))
                for place, fault in enumerate(faults):
                    if fault.bucket_id is not None:
                        _naming(f"fault {place}: for_bucket", self._check_known, fault.bucket_id)
                self.script(*faults).__enter__()
                return {"success": True}
            case "DELETE", "faults":
                self._stage.lift_all()
                return {"success": True}
            case "POST", "state":
                given = _object(await _document(request), "the body", ("bucket_id", "ip", "state"))
                self.set_state(**given)
                return {"success": True}
            case "POST", "token":
                return {"token": self.rotate_token()}
            case "GET", "log":
                return [_entry(seen) for seen in self.log]
        raise RefusedError(404, "Route not found")


async def _document(request: web.BaseRequest) -> object:
    require_json(request)
    try:
        return json.loads(await read_body(request))
    except (ValueError, RecursionError):
        raise ValueError("the body must be JSON") from None


def _object(value: object, name: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return an object that has exactly these keys.

    Raises:
        ValueError: It has not.
    """
    if not isinstance(value, dict) or set(value) != set(keys):
        raise ValueError(f"{name} must be an object with {', '.join(keys)}")
    return value


def _faults(document: object) -> list[Fault]:
    """Return the faults that a list of objects describes.

    Raises:
        ValueError: One is wrong; the message names it.
    """
    if not isinstance(document, list):
        raise ValueError("the body must be a list of faults")
    faults = []
    for place, described in enumerate(document):
        try:
            faults.append(_fault(described))
        except ValueError as error:
            raise ValueError(f"fault {place}: {error}") from None
    return faults


def _fault(described: object) -> Fault:
    if not isinstance(described, dict):
        raise ValueError("it must be an object")
    rest = dict(described)
    kind = rest.pop("fault", None)
    if not isinstance(kind, str) or kind not in _MADE:
        raise ValueError(f"fault must be one of {', '.join(_MADE)}, not {kind!r}")
    arguments = {}
    for name, is_required in _ARGUMENTS.get(kind, {}).items():
        if name in rest:
            arguments[name] = _argument(name, rest.pop(name))
        elif is_required:
            raise ValueError(f"{name} is missing")
    fault = _MADE[kind](**arguments)
    for name in _CONDITIONS:
        if name in rest:
            fault = _condition(fault, name, rest.pop(name))
    if rest:
        raise ValueError(f"{kind} takes no {', '.join(rest)}")
    if isinstance(fault.effect, Down) and "between" not in described:
        raise ValueError("down needs between, because nothing could end it")
    return fault


def _argument(name: str, value: object) -> object:
    """Return an argument as Python takes it."""
    if name == "body" and isinstance(value, str):
        return value.encode()
    if name == "retry_after" and isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return value
        return moment if moment.tzinfo else value
    return value


def _condition(fault: Fault, name: str, value: object) -> Fault:
    if name == "between":
        if not isinstance(value, list) or len(value) != 2:
            raise ValueError("between must be a list of two numbers of seconds")
        return _naming(name, fault.between, *value)
    condition: Callable[[Any], Fault] = getattr(fault, name)
    return _naming(name, condition, value)


def _naming(name: str, function: Callable[..., T], *arguments: object) -> T:
    """Call a function; a ValueError of it names what JSON calls the argument.

    Raises:
        ValueError: The function raised it.
    """
    try:
        return function(*arguments)
    except ValueError as error:
        rest = str(error)
    if name == "between" or rest.startswith("Fault."):
        raise ValueError(f"{name}: {rest}")
    # Python's own name of the argument comes first.
    raise ValueError(f"{name} {rest.partition(' ')[2]}")


def _entry(seen: Seen) -> JsonObject:
    return {
        "method": seen.method,
        "path": seen.path,
        "operation": seen.operation,
        "bucket_id": seen.bucket_id,
        "status": seen.status,
        "at": seen.at,
        "fault": None if seen.fault is None else repr(seen.fault).removeprefix("Fault."),
    }
