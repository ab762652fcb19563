"""Requests and responses of every legal kind (hypothesis), and what each is behind the gateway."""

from __future__ import annotations

from attrs import frozen
from hypothesis import strategies as st

from tests.integration.raw_http import Message, chunked

Headers = list[tuple[bytes, bytes]]

_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCXYZabcxyz"
#: White space inside of values stays; around them it is not a part of them.
_VISIBLE = bytes([*range(0x21, 0x7F), *range(0x80, 0x100)])
_SPECIAL = frozenset(
    b"host content-length transfer-encoding connection proxy-connection keep-alive te trailer upgrade expect"
    b" proxy-authenticate proxy-authorization x-forwarded-for x-forwarded-proto x-forwarded-host gateway-tag"
    b" x-request-id x-scf-request-id".split()
)


def _bytes_of(alphabet: bytes, least: int, most: int) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(alphabet), min_size=least, max_size=most).map(bytes)


_NAMES = st.sampled_from(
    [b"Cookie", b"Set-Cookie", b"x-a", b"X-A", b"traceparent", b"Authorization", b"Via"]
) | (_bytes_of(_TOKEN, 1, 8).filter(lambda name: name.lower() not in _SPECIAL))
_VALUES = st.sampled_from([b"", b'a, b;c="d\\""', b"\xc3\xa9\xff", b"0"]) | st.lists(
    _bytes_of(_VISIBLE, 1, 6), min_size=1, max_size=3
).map(b" \t".join)
_HEADERS = st.lists(st.tuples(_NAMES, _VALUES), max_size=5)
_SPACES = st.sampled_from([b" ", b"", b"\t", b"  \t"])
_METHODS = st.sampled_from(b"GET HEAD POST PUT DELETE PATCH OPTIONS PROPFIND M-SEARCH PURGE".split()) | (
    _bytes_of(_TOKEN, 1, 6).filter(lambda method: method != b"CONNECT")
)
#: With what a URI must not have and callers send all the same, unencoded.
_TARGET_PARTS = st.sampled_from(
    [
        *rb"""/ // /. /.. /../ %2e%2E %2F %00 % %zz ? ?a=1 &a=1 && = + ;p : @ ~ a [] {|} \ "<> ^` """.split(),
        b"\xff\xc3\xa9",
    ]
)
_TARGETS = (
    st.lists(_TARGET_PARTS, max_size=8)
    .map(lambda parts: b"/" + b"".join(parts))
    .filter(lambda target: target.partition(b"?")[0] not in (b"/health", b"/probe"))
)
_BODIES = st.binary(max_size=40) | st.sampled_from(
    [b"0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", bytes(range(256)) * 300]
)
_FRAMINGS = st.sampled_from(["none", "length", "chunked"])


@st.composite
def _chunks(draw: st.DrawFn, body: bytes) -> bytes:
    """A body in chunks of odd sizes, written in odd ways."""
    framed = b""
    while body:
        size = draw(st.sampled_from([1, 2, 7, 16, 255, 65536]))
        chunk, body = body[:size], body[size:]
        written = draw(st.sampled_from([b"%x", b"%X", b"00%x", b"%x;e", b'%x ; e = "q\\"s"'])) % len(chunk)
        framed += b"%b\r\n%b\r\n" % (written, chunk)
    trailers = draw(st.sampled_from([b"", b"", b"Trailer-Field: dropped\r\n"]))
    return framed + draw(st.sampled_from([b"0", b"000"])) + b"\r\n" + trailers + b"\r\n"


@frozen
class Request:
    """
    :ivar data: as the caller sends it.
    :ivar line: the first line that the plugin is to get.
    :ivar headers: those that the plugin is to get, but for the ones that the gateway adds.
    :ivar added: those, by their names in lower case.
    """

    data: bytes
    line: bytes
    headers: Headers
    added: dict[bytes, bytes]
    body: bytes
    minor: int
    bodiless: bool


@frozen
class Response:
    """
    :ivar data: as the plugin sends it.
    :ivar close: whether its end is the end of the connection.
    :ivar line: the first line that the caller is to get.
    :ivar headers: those that the caller is to get, but for the ones that the gateway adds.
    """

    data: bytes
    close: bool
    line: bytes
    headers: Headers
    body: bytes


@st.composite
def _connection_headers(draw: st.DrawFn, named: Headers) -> Headers:
    """Headers for one connection only; perhaps one that names others so."""
    headers = draw(
        st.lists(
            st.sampled_from(
                [
                    (b"Keep-Alive", b"timeout=5"),
                    (b"TE", b"trailers"),
                    (b"Proxy-Connection", b"keep-alive"),
                    (b"Trailer", b"A"),
                    (b"Upgrade", b"x"),
                    (b"Proxy-Authorization", b"Basic eA=="),
                ]
            ),
            max_size=2,
        )
    )
    says_so: bool = draw(st.booleans())
    if named and says_so:
        headers.append((b"Connection", b"%b ,keep-alive" % named[0][0]))
    return headers


@st.composite
def requests(draw: st.DrawFn, last: bool) -> Request:
    """
    :param last: whether it is the last one of its connection: only then may it be of HTTP/1.0.
    """
    method, target = draw(_METHODS), draw(_TARGETS)
    minor = draw(st.sampled_from([1, 1, 0])) if last else 1
    headers, body, added = draw(_HEADERS), draw(_BODIES), {b"gateway-tag": b"forward"}
    connection = draw(_connection_headers(headers))
    dropped = {headers[0][0].lower()} if connection and connection[-1][0] == b"Connection" else set()
    framing = draw(_FRAMINGS)
    if framing == "chunked" and minor == 0:
        framing = "length"
    framed = {"none": b"", "length": body}.get(framing) if framing != "chunked" else draw(_chunks(body))
    assert framed is not None
    kept = [(name, value) for name, value in headers if name.lower() not in dropped]
    host = draw(st.sampled_from([b"a.example", b"A:8080", b"[::1]:1"]))
    end_to_end = [(b"Host", host), *kept]
    if framing == "length":
        end_to_end.append((b"Content-Length", b"%d" % len(body)))
    sent = [(b"Host", host), *headers, *end_to_end[1 + len(kept) :], *connection]
    if framing == "chunked":
        sent.append((b"Transfer-Encoding", b"chunked"))
    before = draw(st.sampled_from([b"", b"", b"10.0.0.9"]))
    if before:
        sent += [(b"X-Forwarded-For", before), (b"X-Forwarded-Proto", b"ftp"), (b"Gateway-Tag", b"mine")]
    added |= {
        b"x-forwarded-for": before + b", 127.0.0.1" if before else b"127.0.0.1",
        b"x-forwarded-proto": b"http",
        b"x-forwarded-host": host,
    }
    line = b"%b %b HTTP/1." % (method, target)
    data = line + b"%d\r\n%b\r\n%b" % (minor, _lines(sent, draw(_SPACES)), framed)
    whole = body if framing != "none" else b""
    return Request(data, line + b"1", end_to_end, added, whole, minor, method == b"HEAD")


@st.composite
def responses(draw: st.DrawFn, request: Request) -> Response:
    """What a plugin may response to that request."""
    status = draw(st.sampled_from([200, 200, 200, 201, 204, 206, 302, 304, 404, 418, 500, 599]))
    reason = draw(st.sampled_from([b"OK", b"", b"Not  so\tgood", b"\xc3\xa9"]))
    headers, body = draw(_HEADERS), draw(_BODIES)
    connection = draw(_connection_headers(headers))
    dropped = {headers[0][0].lower()} if connection and connection[-1][0] == b"Connection" else set()
    end_to_end = [(name, value) for name, value in headers if name.lower() not in dropped]
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    bodiless = request.bodiless or status in (204, 304)
    if framing == "length" and status != 204:
        end_to_end.append((b"Content-Length", b"%d" % len(body)))
        connection = [(b"Content-Length", b"%d" % len(body)), *connection]
    elif framing == "chunked" and status not in (204, 304):
        connection = [(b"Transfer-Encoding", b"chunked"), *connection]
    close = framing == "close" and not bodiless
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.0"])) if close else b"1.1"
    before = draw(st.sampled_from([b"", b"", b"", b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n"]))
    head = b"HTTP/%b %d %b\r\n" % (version, status, reason) + _lines([*headers, *connection], draw(_SPACES))
    framed = chunked(*_odd_parts(body)) if framing == "chunked" else body
    return Response(
        before + head + b"\r\n" + (b"" if bodiless else framed),
        close,
        b"HTTP/1.1 %d %b" % (status, reason),
        end_to_end,
        b"" if bodiless else body,
    )


@st.composite
def exchanges(draw: st.DrawFn) -> list[tuple[Request, Response]]:
    """Requests that are sent over one connection without waiting for the responses, and these."""
    count = draw(st.sampled_from([1, 1, 2, 4]))
    made = [draw(requests(last=number == count - 1)) for number in range(count)]
    return [(request, draw(responses(request))) for request in made]


def without(headers: Headers, names: frozenset[bytes]) -> Headers:
    """The headers but for some, these by their names in lower case."""
    return [(name, value) for name, value in headers if name.lower() not in names]


def added_to(message: Message, names: frozenset[bytes]) -> dict[bytes, bytes]:
    """Headers by their names in lower case; a list of the values, where there are several."""
    return {name: b" AND ".join(message.values(name)) for name in names if message.values(name)}


def _odd_parts(body: bytes) -> list[bytes]:
    parts = [body[:1], body[1:8], body[8:]]
    return [part for part in parts if part]


def _lines(headers: Headers, space: bytes) -> bytes:
    return b"".join(
        # Tabs around these are legal as well; llhttp refuses them, for they have been used to smuggle.
        b"%b: %b\r\n" % (name, value)
        if name in (b"Content-Length", b"Transfer-Encoding")
        else b"%b:%b%b%b\r\n" % (name, space, value, space[1:])
        for name, value in headers
    )
