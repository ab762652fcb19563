"""Declared routes as a site of twisted.web: what operators and those who develop see, not what is fast."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from io import BytesIO
from ipaddress import ip_address

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from scfd.status.said import Said
from scfd.web import DEFAULT_MAX_BODY, Bound, Response, Routes, StreamWriter, has_json

_log = Logger(namespace="scfd.web")

_ABSOLUTE_FORM = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)


def origin_form(target: bytes) -> bytes | None:
    """
    A request target as path and query, whichever of its forms it was sent in (RFC 9112, section 3.2).

    :returns: None when it is none of these two. Put behind a base URL, such a one would change the
        URL's host or port.
    """
    absolute = _ABSOLUTE_FORM.match(target)
    if absolute is not None:
        target = target[absolute.end() :]
        return target if target.startswith(b"/") else b"/" + target
    return target if target.startswith(b"/") else None


@implementer(IResource)
class RoutesResource:
    """
    A resource tree of routes, and of another resource for everything that has none.

    :param otherwise: an `IResource` that is a leaf; it is handed requests as they came.
    """

    isLeaf = True

    def __init__(self, routes: Routes, otherwise: IResource) -> None:
        self._routes = routes
        self._otherwise = otherwise

    def getChildWithDefault(self, name: bytes, request: Request) -> IResource:
        raise RuntimeError("a leaf has no children")

    def putChild(self, path: bytes, child: IResource) -> None:
        raise RuntimeError("a leaf has no children")

    def render(self, request: Request) -> int | bytes:
        target = origin_form(request.uri)
        if target is None or len(request.requestHeaders.getRawHeaders(b"host", [])) > 1:
            write_response(Response.json({"message": "bad request target or Host"}, 400), request)
            return NOT_DONE_YET
        request.uri = target
        path = request.uri.partition(b"?")[0]
        handler = self._routes.handler(request.method, path)
        if handler is None:
            rendered: int | bytes = self._otherwise.render(request)
            return rendered
        exchange = Deferred.fromCoroutine(self._respond(handler, request))
        request.notifyFinish().addErrback(lambda gone: exchange.cancel())
        return NOT_DONE_YET

    async def _respond(self, handler: Bound, request: Request) -> None:
        try:
            assert request.content is not None, "a whole request has been read"
            body = request.content.read()
            outcome = handler(request.requestHeaders, body)
            response = await outcome if isinstance(outcome, Deferred) else outcome
        except CancelledError:
            return  # its client is gone
        except Exception:
            _log.failure("a request could not be handled")
            response = Response.json({"message": "internal error"}, 500)
        if response.opened is not None:
            _begin_stream(response.opened, response, request)
        else:
            write_response(response, request)


def _begin_stream(
    opened: Callable[[StreamWriter], Callable[[], None]], response: Response, request: Request
) -> None:
    writer = StreamWriter(request)
    request.setResponseCode(response.status)
    for name, value in response.headers.items():
        request.setHeader(name.encode(), value.encode())
    request.registerProducer(writer, True)
    closed = opened(writer)
    request.notifyFinish().addErrback(lambda gone: closed())


class Guarded(Resource):
    """
    Another resource, which no page of another site can use through somebody's browser.

    A page may have its own name resolve to an address of this machine ("DNS rebinding"), so a name in Host
    has to be a known one. And it may send forms anywhere, so what changes something has to be JSON, which a
    browser sends across sites only after asking, and an Origin has to be that of this server.

    :param behind: an `IResource` that is a leaf.
    :param hosts: names by which the server is reached, besides localhost and addresses.
    """

    isLeaf = True

    def __init__(self, behind: IResource, hosts: Iterable[str] = ()) -> None:
        super().__init__()
        self._behind = behind
        self._hosts = {host.lower().rstrip(".") for host in hosts}
        self._said = Said()

    def render(self, request: Request) -> int | bytes:
        refusal = self._refusal(request)
        if refusal is None:
            rendered: int | bytes = self._behind.render(request)
            return rendered
        status, message = refusal
        if self._said.first(message):  # these may be many
            _log.warn("{method} refused: {message}", method=request.method.decode("latin-1"), message=message)
        write_response(Response.json({"message": message}, status), request)
        return NOT_DONE_YET

    def _refusal(self, request: Request) -> tuple[int, str] | None:
        hosts = request.requestHeaders.getRawHeaders(b"host", [])
        if len(hosts) > 1:
            return 400, "expected one Host"
        host = hosts[0].decode("latin-1").lower() if hosts else ""
        if host and not self._is_known(_without_port(host)):
            return 403, "expected a Host that is an address, localhost, or in the config's list of hosts"
        if request.method in _SAFE:
            return None
        if not has_json(request.requestHeaders):
            return 415, "expected Content-Type: application/json"
        origin = request.getHeader(b"origin")
        if origin is not None and not _is_origin_of(origin.decode("latin-1").lower(), host):
            return 403, "expected an Origin that is this server"
        if (request.getHeader(b"sec-fetch-site") or b"none") not in (b"same-origin", b"none"):
            return 403, "expected a request of the same site"
        return None

    def _is_known(self, name: str) -> bool:
        name = name.rstrip(".")
        if name in self._hosts or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


#: Methods that change nothing.
_SAFE = (b"GET", b"HEAD", b"OPTIONS")
_PORT = re.compile(r":\d*$")


def _without_port(host: str) -> str:
    return _PORT.sub("", host).removeprefix("[").removesuffix("]")


def _is_origin_of(origin: str, host: str) -> bool:
    scheme, _, rest = origin.partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    return bool(default) and rest.removesuffix(default) == host.removesuffix(default)


class NoSuchPath(Resource):
    """Responds with 404 to everything."""

    isLeaf = True

    def render(self, request: Request) -> int:
        write_response(Response.json({"message": "no such path"}, 404), request)
        return NOT_DONE_YET


class LimitedRequest(Request):
    """A request whose body may not be longer than its site's ``max_body``."""

    _received = 0
    _refused = False

    def gotLength(self, length: int | None) -> None:
        super().gotLength(length)
        # Twisted takes a file for 100 kB and more. The body is bounded, and the disk not ours to use.
        assert self.content is not None, "just made"
        self.content.close()
        self.content = BytesIO()
        if length is not None and length > self._limit():
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        self._received += len(data)
        if self._received <= self._limit():
            super().handleContentChunk(data)
        elif not self._refused:
            self._refuse()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802
        """The channel reads on to the end of what has arrived: half a body must not reach anybody."""
        if not self._refused:
            super().requestReceived(command, path, version)

    def _limit(self) -> int:
        limit: int = self.channel.site.max_body  # type: ignore[attr-defined]
        return limit

    def _refuse(self) -> None:
        self._refused = True
        transport = self.channel.transport
        assert transport is not None, "a request that is being read has a connection"
        transport.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.channel.loseConnection()


class QuietSite(Site):
    """
    A site that writes no log line a request, which would halve its throughput.

    :param responded: called with each request that has got its response.
    :param forms: whether bodies that are forms are parsed; that takes time, and refuses malformed ones.
    :ivar max_body: bytes; a request with a longer body gets 413.
    """

    noisy = False
    requestFactory = LimitedRequest

    def __init__(
        self,
        resource: IResource,
        responded: Callable[[Request], object] = lambda request: None,
        max_body: int = DEFAULT_MAX_BODY,
        forms: bool = False,
    ) -> None:
        super().__init__(resource, parsePOSTFormSubmission=forms)
        self._responded = responded
        self.max_body = max_body

    def startFactory(self) -> None:
        """Nothing to keep ready: Twisted's own would format the date for a log each second."""

    def log(self, request: Request) -> None:  # type: ignore[override]  # a Site makes no other kind
        self._responded(request)


def write_response(response: Response, request: Request) -> None:
    """Respond to a request as a whole."""
    request.setResponseCode(response.status)
    for name, value in response.headers.items():
        request.setHeader(name.encode(), value.encode())
    request.setHeader(b"Content-Length", b"%d" % len(response.body))
    if request.method != b"HEAD":
        request.write(response.body)
    request.finish()
