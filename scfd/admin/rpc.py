"""
JSON-RPC 2.0 for operators: https://www.jsonrpc.org/specification.

Methods are looked up by txJSON-RPC. What it makes of anything but one well-formed request (a page with
status 500 and a traceback) is not for operators, so that a request is read, checked and responded to here.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Coroutine, Iterator, Mapping
from itertools import islice
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from txjsonrpc.jsonrpc import BaseSubhandler
from txjsonrpc.web.jsonrpc import JSONRPC

from scfd import __version__
from scfd.events.wire import from_json, to_json
from scfd.web import Response

_log = Logger(namespace="scfd.admin")

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = (
    -32700,
    -32600,
    -32601,
    -32602,
    -32603,
)
#: Of `OperationError`: there is no such trigger, event, ...; or it can't be done now.
NOT_FOUND, NOT_POSSIBLE = -32001, -32002
#: Requests in one batch.
MOST_IN_BATCH = 100
#: Rows of a list that are made and encoded before something else has its turn: 1-4 ms.
AT_ONCE = 100

#: The JSON Schema type of each type that a parameter can be declared with.
_SCHEMAS: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    list: {"type": "array"},
    dict: {"type": "object"},
    Iterator: {"type": "array"},
    type(None): {"type": "null"},
    Any: {},
}


class OperationError(Exception):
    """
    What an operator has asked for can't be done; the text says why, for a person.

    :ivar code: `NOT_FOUND`, `NOT_POSSIBLE` or `INVALID_PARAMS`.
    """

    def __init__(self, text: str, code: int = NOT_POSSIBLE) -> None:
        super().__init__(text)
        self.code = code


@frozen
class _Error(Exception):
    """A JSON-RPC error; ``id`` is that of its request where it could be read."""

    code: int
    message: str
    id: Any = None


class Methods(BaseSubhandler):  # type: ignore[misc]  # txJSON-RPC has no types
    """
    A group of methods: each ``jsonrpc_NAME`` is one, with annotated parameters and a docstring.

    Types of parameters are str, int, float, bool, list, dict, Any, and ``| None`` with these. A list that may
    be long is an iterator, or a dict with one: it is gone through in parts.
    """


@frozen
class _Method:
    """:ivar call: a method of a group."""

    name: str
    call: Callable[..., Any]

    @property
    def parameters(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self.call).parameters.values())

    @property
    def types(self) -> Mapping[str, Any]:
        return typing.get_type_hints(self.call)

    def arguments(self, params: Any) -> inspect.BoundArguments:
        """
        :param params: an array or object of a request.
        :raises _Error: they are not what the method takes.
        """
        try:
            bound = (
                inspect.signature(self.call).bind(*params)
                if isinstance(params, list)
                else inspect.signature(self.call).bind(**params)
            )
        except TypeError as error:
            raise _Error(INVALID_PARAMS, f"{self.name}: {error}; expected {self._expected()}") from None
        for name, value in bound.arguments.items():
            allowed = _alternatives(self.types[name])
            if Any not in allowed and not any(_is_a(value, one) for one in allowed):
                types = " or ".join(_SCHEMAS[one]["type"] for one in allowed)
                raise _Error(INVALID_PARAMS, f"{self.name}: {name} is {_json_type(value)}, expected {types}")
        return bound

    def _expected(self) -> str:
        names = [f"[{one.name}]" if one.default is not one.empty else one.name for one in self.parameters]
        return f"parameters {', '.join(names)}" if names else "no parameters"

    def described(self) -> dict[str, Any]:
        """The method as OpenRPC has it."""
        text = inspect.getdoc(self.call) or ""
        summary, _, rest = text.partition("\n\n")
        return {
            "name": self.name,
            "summary": " ".join(summary.split()),
            "description": rest,
            "params": [
                {
                    "name": one.name,
                    "required": one.default is one.empty,
                    "schema": _schema(self.types[one.name]),
                }
                for one in self.parameters
            ],
            "result": {"name": "result", "schema": _schema(self.types.get("return", Any))},
        }


class Rpc(JSONRPC):  # type: ignore[misc]  # txJSON-RPC has no types
    """:param groups: the methods, by the part of their names before the dot."""

    def __init__(self, groups: Mapping[str, Methods], reactor: Any) -> None:
        super().__init__()
        self._reactor = reactor
        for prefix, group in {**groups, "rpc": _Discovery(self)}.items():
            self.putSubHandler(prefix, group)
        #: What can be called. txJSON-RPC alone would find private names as well.
        self.methods = {
            f"{prefix}.{name}": _Method(f"{prefix}.{name}", self._getFunction(f"{prefix}.{name}"))
            for prefix in self.getSubHandlerPrefixes()
            for name in self.getSubHandler(prefix)._listFunctions()
        }

    def respond(self, body: bytes) -> Deferred[Response]:
        """
        Do what a request or a batch asks for.

        :returns: a Deferred of the response, always with status 200; its body is empty where there were only
            notifications. It fails only when it is cancelled.
        """
        try:
            asked = from_json(body)
        except ValueError as error:
            return succeed(_response(_refusal(_Error(PARSE_ERROR, f"the body is not JSON: {error}"))))
        if not isinstance(asked, list):
            return self._handle(asked).addCallback(lambda one: _response(one or b""))
        if not 1 <= len(asked) <= MOST_IN_BATCH:
            text = f"a batch of {len(asked)} requests, expected 1 to {MOST_IN_BATCH}"
            return succeed(_response(_refusal(_Error(INVALID_REQUEST, text))))
        return gatherResults([self._handle(one) for one in asked]).addCallback(_batch)

    def _handle(self, asked: Any) -> Deferred[bytes | None]:
        """:returns: a Deferred of the response to one request; None for a notification."""
        return Deferred.fromCoroutine(self._responded(asked))

    async def _responded(self, asked: Any) -> bytes | None:
        try:
            method, params, id = _read(asked)
        except _Error as error:
            return _refusal(error)
        try:
            result = self._call(method, params)
            if isinstance(result, (Deferred, Coroutine)):
                result = await result
            response = b'{"jsonrpc":"2.0","result":%b,"id":%b}' % (await self._json(result), to_json(id))
        except CancelledError:
            raise  # the caller is gone
        except Exception as error:
            response = _refusal(_error_of(error, method, id))
        return response if "id" in asked else None

    async def _json(self, value: Any) -> bytes:
        """A result as JSON; the rows of an iterator in parts, since everything else waits for each."""
        if isinstance(value, Iterator):
            parts: list[bytes] = []
            while some := list(islice(value, AT_ONCE)):
                if parts:
                    await deferLater(self._reactor, 0)
                parts.append(to_json(some)[1:-1])
            return b"[%b]" % b",".join(parts)
        if isinstance(value, dict) and any(isinstance(one, Iterator) for one in value.values()):
            pairs = [b"%b:%b" % (to_json(name), await self._json(one)) for name, one in value.items()]
            return b"{%b}" % b",".join(pairs)
        return to_json(value)

    def _call(self, name: str, params: Any) -> Any:
        method = self.methods.get(name)
        if method is None:
            raise _Error(METHOD_NOT_FOUND, f"no method {name!r}; rpc.discover lists them")
        arguments = method.arguments(params)
        return method.call(*arguments.args, **arguments.kwargs)


class _Discovery(Methods):
    """What there is to call."""

    def __init__(self, rpc: Rpc) -> None:
        super().__init__()
        self._rpc = rpc

    def jsonrpc_discover(self) -> dict:  # type: ignore[type-arg]
        """Every method, as an OpenRPC document (https://spec.open-rpc.org)."""
        return {
            "openrpc": "1.3.2",
            "info": {"title": "scfd", "version": __version__},
            "methods": [method.described() for _, method in sorted(self._rpc.methods.items())],
        }


def _read(asked: Any) -> tuple[str, Any, Any]:
    """
    :returns: the method, its parameters and the id of a request.
    :raises _Error: it is none.
    """
    if not isinstance(asked, dict):
        raise _Error(INVALID_REQUEST, f"a request is {_json_type(asked)}, expected object")
    id = asked.get("id")
    if isinstance(id, bool) or not (id is None or isinstance(id, (str, int, float))):
        raise _Error(INVALID_REQUEST, f"id is {_json_type(id)}, expected string, number or null")
    if asked.get("jsonrpc") != "2.0":
        raise _Error(INVALID_REQUEST, 'expected "jsonrpc": "2.0"', id)
    method, params = asked.get("method"), asked.get("params", [])
    if not isinstance(method, str):
        raise _Error(INVALID_REQUEST, f"method is {_json_type(method)}, expected string", id)
    if not isinstance(params, (list, dict)):
        raise _Error(INVALID_REQUEST, f"params is {_json_type(params)}, expected array or object", id)
    return method, params, id


def _error_of(error: Exception, method: str, id: Any) -> _Error:
    if isinstance(error, _Error):
        return _Error(error.code, error.message, id)
    if isinstance(error, OperationError):
        return _Error(error.code, str(error), id)
    _log.failure("{method} failed", method=method)
    return _Error(INTERNAL_ERROR, f"{method} failed inside the node; its log has the traceback", id)


def _refusal(error: _Error) -> bytes:
    text = {"code": error.code, "message": error.message}
    return to_json({"jsonrpc": "2.0", "error": text, "id": error.id})


def _batch(responses: list[bytes | None]) -> Response:
    some = [response for response in responses if response is not None]
    return _response(b"[" + b",".join(some) + b"]" if some else b"")


def _response(body: bytes) -> Response:
    return Response(200, body, {"Content-Type": "application/json"})


def _alternatives(declared: Any) -> tuple[Any, ...]:
    if typing.get_origin(declared) in (typing.Union, types.UnionType):
        return tuple(map(_plain, typing.get_args(declared)))
    return (_plain(declared),)


def _plain(declared: Any) -> Any:
    """``list`` of ``list[str]``, and dict of an unknown type, such as that of a Deferred's value."""
    return typing.get_origin(declared) or declared


def _is_a(value: Any, declared: Any) -> bool:
    if isinstance(value, bool):
        return declared is bool
    return isinstance(value, (int, float) if declared is float else declared)


def _schema(declared: Any) -> dict[str, Any]:
    found = [_SCHEMAS.get(one, {}) for one in _alternatives(declared)]
    if {} in found:  # anything; Python 3.10 says Optional of a parameter whose default is None
        return {}
    return found[0] if len(found) == 1 else {"anyOf": found}


def _json_type(value: Any) -> str:
    return str(_SCHEMAS[type(value)]["type"])
