"""Heads of messages as they go over the wire: to the upstream server, and back to the caller."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus

from attrs import field, frozen

from scfd.http1.contract import Request, ResponseHead, WholeResponse
from scfd.http1.request import HOP_BY_HOP

#: What `Connection` says without meaning another header; nor does it mean the length of the body.
_PLAIN_OPTIONS = frozenset((b"", b"close", b"keep-alive", b"upgrade", b"content-length"))
_PHRASES = {int(status): status.phrase.encode() for status in HTTPStatus}


@frozen
class ForwardingHeaders:
    """
    The names of the headers by which the upstream server learns who the caller is.

    :ivar address: lists addresses: those that came with the request, then the caller's.
    :ivar scheme: http or https.
    :ivar host: the Host that the caller has named.
    :ivar marks: further names and values that each forwarded request gets.
    :ivar not_forwarded: names in lower case that callers can't send: these and those for one connection only.
    """

    address: bytes
    scheme: bytes
    host: bytes
    marks: tuple[tuple[bytes, bytes], ...] = ()
    address_lower: bytes = field(init=False)
    not_forwarded: frozenset[bytes] = field(init=False)

    @address_lower.default
    def _address_lower(self) -> bytes:
        return self.address.lower()

    @not_forwarded.default
    def _not_forwarded(self) -> frozenset[bytes]:
        ours = (self.address, self.scheme, self.host, *(name for name, _ in self.marks))
        return HOP_BY_HOP | {name.lower() for name in ours}

    def identity(self, address: str, secure: bool) -> bytes:
        """
        What is said of a caller with every request, made once a connection.

        :returns: the end of the line that lists addresses, and the lines after it.
        """
        lines = [address.encode(), b"\r\n%b: %b\r\n" % (self.scheme, b"https" if secure else b"http")]
        lines += [b"%b: %b\r\n" % mark for mark in self.marks]
        return b"".join(lines)


def to_upstream(
    request: Request, base_path: bytes, upstream_host: bytes, names: ForwardingHeaders, identity: bytes
) -> bytes:
    """
    The head of the request that the upstream server gets.

    :param base_path: what stands in front of the target; without a slash at its end.
    :param upstream_host: for an HTTP/1.0 caller that named no host.
    :param identity: see `ForwardingHeaders.identity`.
    """
    target = request.target if request.target == b"*" else base_path + request.target
    lines = [b"%b %b HTTP/1.1\r\n" % (request.method, target)]
    if request.host is None:
        lines.append(b"Host: %b\r\n" % upstream_host)
    addresses = b""
    names_id = False
    dropped, not_forwarded = request.dropped, names.not_forwarded
    for name, value in request.headers:
        lowered = name.lower()
        if lowered in not_forwarded or lowered in dropped:
            if lowered == names.address_lower and value:
                addresses += value + b", "
            continue
        names_id = names_id or lowered == b"x-request-id"
        lines += (name, b": ", value, b"\r\n")
    if request.length is None:
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
    lines = [b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason)]
    dropped: set[bytes] = set()
    names_id = False
    for name, value in head.headers:
        lowered = name.lower()
        if lowered not in HOP_BY_HOP:
            names_id = names_id or lowered == b"x-request-id"
            lines += (name, b": ", value.rstrip(b" \t"), b"\r\n")
        elif lowered == b"connection":
            dropped.update(option.strip().lower() for option in value.split(b","))
        elif lowered == b"upgrade" and head.status == 101:
            lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % value)
    if not dropped <= _PLAIN_OPTIONS:
        dropped = dropped - _PLAIN_OPTIONS | {b"connection"}
        head.headers = [(name, value) for name, value in head.headers if name.lower() not in dropped]
        return to_caller(head, request, chunked, stay)
    if chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    if head.status >= 200:
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
