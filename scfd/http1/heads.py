"""Heads of messages as they go over the wire: to the upstream server, and back to the caller."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus

from attrs import field, frozen

from scfd.http1.contract import Request, ResponseHead, WholeResponse
from scfd.http1.request import HOP_BY_HOP

#: What `Connection` says without meaning another header; nor does it mean the length of the body.
_PLAIN_OPTIONS = frozenset((b"", b"close", b"keep-alive", b"upgrade", b"content-length"))
#: Headers that say something of a request which must not be said in another way.
_MEANT_ONCE = (b"content-length", b"x-request-id", b"x-scf-request-id")
#: Statuses whose Upgrade the caller has to see: RFC 9110, sections 15.2.2 and 15.5.22.
_NAMES_PROTOCOLS = (101, 426)
#: Responses of these kinds have no body, nor a length (RFC 9110, section 8.6).
_NOT_PASSED_WITHOUT_BODY = HOP_BY_HOP | {b"content-length"}
_PHRASES = {int(status): status.phrase.encode() for status in HTTPStatus}


@frozen
class ForwardingHeaders:
    """
    The names of the headers by which the upstream server learns who the caller is.

    :ivar address: lists addresses: those that came with the request, then the caller's.
    :ivar scheme: http or https.
    :ivar host: the Host that the caller has named.
    :ivar marks: further names and values that each forwarded request gets.
    :ivar not_forwarded: names in lower case that callers can't send: these, and those for one connection.
        Programs that read headers as CGI variables take ``_`` for ``-``, so the same names with ``_`` in
        place of any ``-`` are among them; and what would say something else of the length or the id.
    :ivar not_forwarded_nor_host: the same and ``Host``.
    """

    address: bytes
    scheme: bytes
    host: bytes
    marks: tuple[tuple[bytes, bytes], ...] = ()
    address_lower: bytes = field(init=False)
    not_forwarded: frozenset[bytes] = field(init=False)
    not_forwarded_nor_host: frozenset[bytes] = field(init=False)

    @address_lower.default
    def _address_lower(self) -> bytes:
        return self.address.lower()

    @not_forwarded.default
    def _not_forwarded(self) -> frozenset[bytes]:
        ours = (self.address, self.scheme, self.host, *(name for name, _ in self.marks))
        dropped = HOP_BY_HOP | {name.lower() for name in ours}
        folded = {name for one in (*dropped, *_MEANT_ONCE) for name in _folding_into(one)}
        return dropped | folded

    @not_forwarded_nor_host.default
    def _not_forwarded_nor_host(self) -> frozenset[bytes]:
        return self.not_forwarded | {b"host"}

    def identity(self, address: str, secure: bool) -> bytes:
        """
        What is said of a caller with every request, made once a connection.

        :returns: the end of the line that lists addresses, and the lines after it.
        """
        lines = [address.encode(), b"\r\n%b: %b\r\n" % (self.scheme, b"https" if secure else b"http")]
        lines += [b"%b: %b\r\n" % mark for mark in self.marks]
        return b"".join(lines)


def _folding_into(name: bytes) -> list[bytes]:
    """The spellings of a name with ``_`` in place of at least one ``-``."""
    first, *rest = name.split(b"-")
    spellings = [first]
    for part in rest:
        spellings = [spelling + dash + part for spelling in spellings for dash in (b"-", b"_")]
    return [spelling for spelling in spellings if spelling != name]


@frozen
class Route:
    """
    Where requests go.

    :ivar base_path: what stands in front of the target; without a slash at its end.
    :ivar host: the server's name, and its port where it has to be named.
    :ivar names: how the server learns who the caller is.
    :ivar preserve_host: that the server gets the caller's Host, and not its own name.
    """

    base_path: bytes
    host: bytes
    names: ForwardingHeaders
    preserve_host: bool = False


def to_upstream(request: Request, route: Route, identity: bytes, length: int | None = None) -> bytes:
    """
    The head of the request that the upstream server gets.

    :param identity: see `ForwardingHeaders.identity`.
    :param length: of the body that was chunked and has been read whole; None to say what the request says.
    """
    names = route.names
    target = request.target if request.target == b"*" else route.base_path + request.target
    lines = [b"%b %b HTTP/1.1\r\n" % (request.method, target)]
    not_forwarded = names.not_forwarded
    if request.host is None or not route.preserve_host:
        lines.append(b"Host: %b\r\n" % route.host)
        not_forwarded = names.not_forwarded_nor_host
    addresses = b""
    names_id = False
    dropped = request.dropped
    for name, value in request.headers:
        lowered = name.lower()
        if lowered in not_forwarded or lowered in dropped:
            if lowered == names.address_lower and value:
                addresses += value + b", "
            continue
        names_id = names_id or lowered == b"x-request-id"
        lines += (name, b": ", value, b"\r\n")
    if length is not None:
        lines.append(b"Content-Length: %d\r\n" % length)
    elif request.length is None:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif request.upgrade:
        lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % request.upgrade)
    if not names_id:
        lines.append(b"X-Request-Id: %b\r\n" % request.request_id)
    lines.append(b"%b: %b%b" % (names.address, addresses, identity))
    if request.host is not None:
        lines.append(b"%b: %b\r\n" % (names.host, request.host))
    lines.append(b"\r\n")
    return b"".join(lines)


def to_caller(head: ResponseHead, request: Request, chunked: bool, stay: bool) -> bytes:
    """
    The head of the response that the caller gets.

    :param chunked: that the body goes in chunks.
    :param stay: that the connection stays open.
    """
    status = head.status
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, head.reason)]
    dropped: set[bytes] = set()
    names_id = False
    not_passed = HOP_BY_HOP if status >= 200 and status != 204 else _NOT_PASSED_WITHOUT_BODY
    for name, value in head.headers:
        lowered = name.lower()
        if lowered not in not_passed:
            names_id = names_id or lowered == b"x-request-id"
            lines += (name, b": ", value.rstrip(b" \t"), b"\r\n")
        elif lowered == b"connection":
            dropped.update(option.strip().lower() for option in value.split(b","))
        elif lowered == b"upgrade" and status in _NAMES_PROTOCOLS:
            lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % value)
    if not dropped <= _PLAIN_OPTIONS:
        dropped = dropped - _PLAIN_OPTIONS | {b"connection"}
        head.headers = [(name, value) for name, value in head.headers if name.lower() not in dropped]
        return to_caller(head, request, chunked, stay)
    if chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    if status >= 200:
        if not names_id:
            lines.append(b"X-Request-Id: %b\r\n" % request.request_id)
        lines.append(_persistence(request, stay))
    lines.append(b"\r\n")
    return b"".join(lines)


def whole_response(response: WholeResponse, request: Request | None, stay: bool, now: float) -> bytes:
    """
    A response of the server's own.

    :param request: None where none could be read.
    :param stay: that the connection stays open.
    :param now: seconds since the epoch.
    """
    lines = [b"HTTP/1.1 %d %b\r\n" % (response.status, _PHRASES.get(response.status, b""))]
    lines += [f"{name}: {value}\r\n".encode() for name, value in response.headers.items()]
    lines.append(b"Content-Length: %d\r\n" % len(response.body))
    lines.append(f"Date: {formatdate(now, usegmt=True)}\r\n".encode())
    if request is None:
        lines.append(b"Connection: close\r\n")
    else:
        lines.append(b"X-Request-Id: %b\r\n" % request.request_id)
        lines.append(_persistence(request, stay))
    lines.append(b"\r\n")
    if request is None or request.method != b"HEAD":
        lines.append(response.body)
    return b"".join(lines)


def _persistence(request: Request, stay: bool) -> bytes:
    """What has to be said about the connection, given what its version takes for granted."""
    if not stay:
        return b"Connection: close\r\n"
    return b"" if request.minor == 1 else b"Connection: keep-alive\r\n"
