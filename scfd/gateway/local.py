"""What the gateway answers itself: whole requests, whole answers."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from scfd.gateway.contract import ICaller
from scfd.gateway.headers import PHRASES, persistence
from scfd.gateway.request import Request
from scfd.web import Response

if TYPE_CHECKING:
    from scfd.web import Bound

_log = Logger(namespace="scfd.gateway")

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def whole_answer(response: Response, request: Request | None, stay: bool, now: float) -> bytes:
    """
    :param request: None where none could be read.
    :param stay: that the connection stays open.
    :param now: seconds since the epoch.
    """
    lines = [b"HTTP/1.1 %d %b\r\n" % (response.status, PHRASES.get(response.status, b""))]
    lines += [f"{name}: {value}\r\n".encode() for name, value in response.headers.items()]
    lines.append(b"Content-Length: %d\r\n" % len(response.body))
    lines.append(f"Date: {formatdate(now, usegmt=True)}\r\n".encode())
    if request is None:
        lines.append(b"Connection: close\r\n")
    else:
        lines.append(b"X-Request-Id: %b\r\n" % request.request_id)
        lines.append(persistence(request, stay))
    lines.append(b"\r\n")
    if request is None or request.method != b"HEAD":
        lines.append(response.body)
    return b"".join(lines)


class LocalAnswer:
    """
    A `Responder`: has a declared route answer.

    :param limit: bytes that the body may have; None when nobody looks at it.
    """

    def __init__(self, caller: ICaller, request: Request, handler: Bound, limit: int | None) -> None:
        self._caller = caller
        self._request = request
        self._handler = handler
        self._limit = limit
        self._body: list[bytes] = []
        self._length = 0
        self._answer: Deferred[Any] | None = None

    def start(self) -> None:
        if self._request.length == 0:
            self.on_body_end()
        elif self._is_too_long(self._request.length or 0):
            self._caller.fail(413, "the body is too long")
        elif self._request.expects_continue:
            self._caller.write(_CONTINUE)

    def on_body(self, data: bytes) -> None:
        self._length += len(data)
        if self._is_too_long(self._length):
            self._caller.fail(413, "the body is too long")
        elif self._limit is not None:
            self._body.append(data)

    def _is_too_long(self, length: int) -> bool:
        return self._limit is not None and length > self._limit

    def on_body_end(self) -> None:
        headers = Headers()
        for name, value in self._request.headers:
            headers.addRawHeader(name, value)
        self._answer = maybeDeferred(self._handler, headers, b"".join(self._body))
        self._answer.addErrback(self._failed)
        self._answer.addCallback(self._answered)

    def _failed(self, failure: Failure) -> Response | None:
        if failure.check(CancelledError):
            return None
        _log.failure("a request could not be answered", failure)
        return Response.json({"message": "internal error"}, 500)

    def _answered(self, response: Response | None) -> None:
        if response is not None:
            self._caller.respond(response)

    def flush(self) -> None:
        """Nothing is passed on."""

    def on_caller_writable(self, writable: bool) -> None:
        """The answer is written as a whole."""

    def abandon(self) -> None:
        if self._answer is not None:
            self._answer.cancel()
