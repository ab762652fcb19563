"""HTTP for operators and development: declared routes, whole responses, and who may ask."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.http_headers import Headers
from zope.interface import implementer

from scfd.events.wire import to_json
from scfd.http1.contract import WholeResponse

if TYPE_CHECKING:
    from twisted.web.server import Request

_NO_HEADERS: Mapping[str, str] = {}
#: Bytes that a request's body may have where nothing else is said.
DEFAULT_MAX_BODY = 1 << 20

Handler = TypeVar("Handler", bound=Callable[..., Any])
#: What a declared method is once its instance is known.
Bound = Callable[[Headers, bytes], "Response | Deferred[Response]"]


@implementer(IPushProducer)
class StreamWriter:
    """
    The body of a response that goes on and on.

    :ivar ready: whether its reader keeps up; what is written to one that does not is kept in memory.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.ready = True

    def write(self, data: bytes) -> None:
        """Send some more."""
        if data:
            self._request.write(data)

    def pauseProducing(self) -> None:
        self.ready = False

    def resumeProducing(self) -> None:
        self.ready = True

    def stopProducing(self) -> None:
        self.ready = False


@frozen
class Response(WholeResponse):
    """
    What a route responds with.

    :ivar opened: where the body is a stream: called with its writer once the head is on its way. Returns a
        function to be called when the reader is gone.
    """

    opened: Callable[[StreamWriter], Callable[[], None]] | None = None

    @classmethod
    def json(cls, value: object, status: int = 200, headers: Mapping[str, str] = _NO_HEADERS) -> Response:
        """:param headers: further ones."""
        return cls(status, to_json(value), {"Content-Type": "application/json", **headers})


def route(methods: str, path: str) -> Callable[[Handler], Handler]:
    """
    Declare that a method of a `Routes` class handles requests for one path.

    :param methods: of HTTP, such as ``GET HEAD``.

    The decorated method takes the request's headers (a `twisted.web.http_headers.Headers`) and body
    (bytes), and returns a `Response` or a Deferred of one.
    """

    def declare(handler: Handler) -> Handler:
        declared = handler.__dict__.setdefault("routes", [])
        declared += [(method.encode(), path.encode()) for method in methods.split()]
        return handler

    return declare


def shows_token(headers: Headers, token: str) -> bool:
    """Whether a request has ``Authorization: Bearer <token>``; any request does when the token is empty."""
    scheme, _, given = headers.getRawHeaders(b"authorization", [b""])[0].partition(b" ")
    return not token or (scheme.lower() == b"bearer" and hmac.compare_digest(given, token.encode()))


def has_json(headers: Headers) -> bool:
    """Whether a body says that it is JSON, which a page in a browser can't do across sites without asking."""
    given = headers.getRawHeaders(b"content-type", [])
    return len(given) == 1 and given[0].partition(b";")[0].strip().lower() == b"application/json"


class Routes:
    """Base of classes whose methods are declared with `route`."""

    def handler(self, method: bytes, path: bytes) -> Bound | None:
        """The method for a request, or None. Paths are compared as they were sent, byte for byte."""
        return self._table().get((method, path))

    def _table(self) -> dict[tuple[bytes, bytes], Bound]:
        if "_routes" not in self.__dict__:
            self._routes = {
                declared: getattr(self, name)
                for name in dir(type(self))
                for declared in getattr(getattr(type(self), name), "routes", ())
            }
        return self._routes
