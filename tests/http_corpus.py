"""
The kinds of requests by which gunicorn and llhttp test their own parsers, read by ours: ``python -m
tests.http_corpus``.

The cases are written anew, after the names and kinds in gunicorn's ``tests/requests/{valid,invalid}`` and
llhttp's ``test/request`` (2025), with what RFC 9110 and 9112 make of each. Where we are stricter than they
are, the case says so. Nothing is fetched.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from attrs import frozen

from scfd.http1.contract import RefusedError, Request
from scfd.http1.reader import RequestReader

_HOST = b"Host: h\r\n"


@frozen
class Seen:
    """
    What is made of some bytes.

    :ivar requests: method, target and body of each whole request.
    :ivar status: of the refusal that came then; 0 for none.
    :ivar waiting: that a request has begun and is not whole.
    """

    requests: tuple[tuple[bytes, bytes, bytes], ...] = ()
    status: int = 0
    waiting: bool = False


@frozen
class Case:
    """
    :ivar source: whose kind it is.
    :ivar why: what is right about it.
    """

    source: str
    name: str
    data: bytes
    seen: Seen
    why: str = ""


def _ok(source: str, name: str, data: bytes, *requests: tuple[bytes, bytes, bytes], why: str = "") -> Case:
    return Case(source, name, data, Seen(requests), why)


def _bad(source: str, name: str, data: bytes, status: int = 400, why: str = "") -> Case:
    return Case(source, name, data, Seen((), status), why)


def _get(target: bytes = b"/", *headers: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join((b"GET %b %b" % (target, version), b"Host: h", *headers, b"", b""))


def _post(*headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((b"POST / HTTP/1.1", b"Host: h", *headers, b"", body))


def _chunked(body: bytes, *headers: bytes) -> bytes:
    return _post(b"Transfer-Encoding: chunked", *headers, body=body)


_ROOT = (b"GET", b"/", b"")
_HELLO = (b"POST", b"/", b"hello world")
G, L = "gunicorn", "llhttp"

GUNICORN = [
    # valid/
    _ok(
        G,
        "001: PUT with a body",
        b"PUT /stuff/here?foo=bar HTTP/1.0\r\nServer: http://127.0.0.1:5984\r\n"
        b'Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{"nom": "nom"}',
        (b"PUT", b"/stuff/here?foo=bar", b'{"nom": "nom"}'),
    ),
    _ok(G, "002: curl", _get(b"/test", b"User-Agent: curl/7.18.0", b"Accept: */*"), (b"GET", b"/test", b"")),
    _ok(
        G,
        "003: a browser's many headers",
        _get(b"/favicon.ico", *(b'Header-%d: value, with; some="x"' % n for n in range(20))),
        (b"GET", b"/favicon.ico", b""),
    ),
    _ok(
        G,
        "004: a name that repeats letters",
        _get(b"/silly", b"aaaaaaaaaaaaa:++++++++++"),
        (b"GET", b"/silly", b""),
    ),
    _bad(
        G,
        "005: a fragment in the target",
        _get(b"/forums/1/topics/2375?page=1#posts-17408"),
        why="stricter: RFC 9112, section 3.2.1 has none, and a program behind could cut it off or not",
    ),
    _ok(
        G,
        "006: no headers",
        b"GET /get_no_headers_no_body/world HTTP/1.0\r\n\r\n",
        (b"GET", b"/get_no_headers_no_body/world", b""),
    ),
    _ok(
        G,
        "007: one header",
        _get(b"/get_one_header_no_body", b"Accept: */*"),
        (b"GET", b"/get_one_header_no_body", b""),
    ),
    _bad(G, "008: funky Content-Length", _get(b"/unusual_content_length", b"conTENT-Length: 5x") + b"HELLO"),
    _ok(
        G,
        "008: names in other letters",
        _get(b"/unusual", b"conTENT-Length: 5") + b"HELLO",
        (b"GET", b"/unusual", b"HELLO"),
    ),
    _ok(G, "009: POST with a length", _post(b"Content-Length: 5", body=b"HELLO"), (b"POST", b"/", b"HELLO")),
    _ok(
        G,
        "010: chunked",
        _chunked(b"1e\r\nall your base are belong to us\r\n0\r\n\r\n"),
        (b"POST", b"/", b"all your base are belong to us"),
    ),
    _ok(G, "011: two chunks", _chunked(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"), _HELLO),
    _ok(
        G,
        "012: trailers",
        _chunked(b"5\r\nhello\r\n6\r\n world\r\n0\r\nVary: *\r\nContent-Type: text/plain\r\n\r\n"),
        _HELLO,
    ),
    _ok(
        G,
        "013: chunk extensions",
        _chunked(b"5; some; parameters=stuff\r\nhello\r\n6; blahblah; blah\r\n world\r\n0\r\n\r\n"),
        _HELLO,
    ),
    _ok(
        G,
        "014: quotes in a query",
        _get(b'/with_"stupid"_quotes?foo="bar"'),
        (b"GET", b'/with_"stupid"_quotes?foo="bar"', b""),
    ),
    _ok(
        G,
        "015: HTTP/1.0 with keep-alive",
        _get(b"/test", b"Connection: keep-alive", version=b"HTTP/1.0"),
        (b"GET", b"/test", b""),
    ),
    _bad(
        G, "017: folded header", _get(b"/", b"X: line one", b"\tline two"), why="obsolete; a smuggler's means"
    ),
    _ok(G, "018: a client certificate in one header", _get(b"/", b"X-SSL-Cert: " + b"A" * 900), _ROOT),
    _bad(G, "019: no Host", b"GET / HTTP/1.1\r\nAccept: */*\r\n\r\n", why="stricter: RFC 9112, section 3.2"),
    _ok(G, "020: no Host in HTTP/1.0", b"GET /first HTTP/1.0\r\n\r\n", (b"GET", b"/first", b"")),
    _ok(G, "021: Connection: close", _get(b"/first", b"Connection: Close"), (b"GET", b"/first", b"")),
    _ok(
        G,
        "022: pipelined",
        _get(b"/first") + _get(b"/second"),
        (b"GET", b"/first", b""),
        (b"GET", b"/second", b""),
    ),
    _ok(
        G,
        "023: pipelined, with lengths",
        _post(b"Content-Length: 5", body=b"hello") + _get(b"/second"),
        (b"POST", b"/", b"hello"),
        (b"GET", b"/second", b""),
    ),
    _ok(
        G,
        "024: pipelined, chunked",
        _chunked(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n") + _get(b"/second"),
        _HELLO,
        (b"GET", b"/second", b""),
    ),
    _ok(
        G,
        "025: trailer, then another",
        _chunked(b"b\r\nhello world\r\n0\r\nVary: *\r\n\r\n") + _get(),
        _HELLO,
        _ROOT,
    ),
    _bad(G, "025: a size of 9 digits that is none", _chunked(b"00000005g\r\nhello\r\n0\r\n\r\n")),
    _ok(G, "026: a size with zeros in front", _chunked(b"0000000b\r\nhello world\r\n0\r\n\r\n"), _HELLO),
    _ok(G, "027: a value of one space", _get(b"/", b"X:  ", b"Y:\t"), _ROOT),
    _ok(G, "028: an empty value", _get(b"/", b"X:"), _ROOT),
    _bad(G, "029: chunked in quotes", _post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"), 501),
    _ok(G, "030: a colon in a value", _get(b"/", b"X: a:b"), _ROOT),
    _ok(G, "031: a dot segment", _get(b"/a/../b"), (b"GET", b"/a/../b", b"")),
    _ok(G, "032: a whole URL", _get(b"http://h/x?y"), (b"GET", b"/x?y", b"")),
    _ok(
        G,
        "033: a token of every sign as a method",
        b"-!#$%&'*+.^_`|~ / HTTP/1.1\r\n" + _HOST + b"\r\n",
        (b"-!#$%&'*+.^_`|~", b"/", b""),
    ),
    _ok(G, "034: a method of a letter", b"A / HTTP/1.1\r\n" + _HOST + b"\r\n", (b"A", b"/", b"")),
    _ok(G, "035: OPTIONS *", b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"\r\n", (b"OPTIONS", b"*", b"")),
    _ok(
        G,
        "040: names with an underscore",
        _get(b"/", b"Content_Length: 3", b"Content-Length: 0"),
        _ROOT,
        why="not taken for the other; the gateway does not pass them on",
    ),
    _ok(G, "100: bytes above ASCII in a value", _get(b"/", b"X: \xe2\x82\xac"), _ROOT),
    _ok(G, "compat: an empty line in front", b"\r\n\r\n" + _get(), _ROOT),
    # invalid/
    _bad(G, "001: no version", b"GET /foo/bar\r\n\r\n"),
    _bad(G, "002: a version of letters", _get(version=b"HTTP/a.b")),
    _bad(G, "003: a method that is no token", b"-blargh) /foo HTTP/1.1\r\n" + _HOST + b"\r\n"),
    _bad(G, "003: an empty method", b" /foo HTTP/1.1\r\n" + _HOST + b"\r\n"),
    _bad(G, "003: a method in quotes", b'"GET" /foo HTTP/1.1\r\n' + _HOST + b"\r\n"),
    _bad(G, "004: a version of another protocol", _get(version=b"FTP/1.1")),
    _bad(G, "005: a bracket in a name", _get(b"/", b"ba\0z: bar")),
    _bad(G, "006: a NUL in the line", b"GET /\0 HTTP/1.1\r\n" + _HOST + b"\r\n"),
    _bad(G, "007: a name with a space", _get(b"/", b"Head er: x")),
    _bad(G, "008: HTTP/0.0", _get(version=b"HTTP/0.0"), 505),
    _bad(G, "009: HTTP/2.0", _get(version=b"HTTP/2.0"), 505),
    _bad(G, "010: HTTP/1.11", _get(version=b"HTTP/1.11")),
    _bad(G, "011: a space after the version", _get(version=b"HTTP/1.1 ")),
    _bad(G, "012: two lengths", _post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello")),
    _bad(
        G,
        "013: length and coding",
        _post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    ),
    _bad(
        G,
        "014: coding and length",
        _post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"),
    ),
    _bad(
        G,
        "015: chunked of HTTP/1.0",
        b"POST / HTTP/1.0\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    _bad(G, "016: a length with an underscore", _post(b"Content-Length: 1_0", body=b"0123456789")),
    _bad(G, "017: a negative length", _post(b"Content-Length: -1")),
    _bad(G, "018: a length of other digits", _post("Content-Length: ²".encode())),
    _bad(G, "019: a size with an underscore", _chunked(b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n")),
    _bad(G, "020: a size with 0x", _chunked(b"0x5\r\nhello\r\n0\r\n\r\n")),
    _bad(G, "021: a negative size", _chunked(b"-5\r\nhello\r\n0\r\n\r\n")),
    _bad(G, "022: an empty size", _chunked(b"\r\nhello\r\n0\r\n\r\n")),
    _bad(G, "023: a size with a space in front", _chunked(b" 5\r\nhello\r\n0\r\n\r\n")),
    _bad(G, "024: a chunk without its end", _chunked(b"5\r\nhelloXX0\r\n\r\n")),
    _bad(G, "chunked_01: LF alone after a size", _chunked(b"6\nbcdefg\r\n0\r\n\r\n")),
    _bad(G, "chunked_02: LF alone in an extension", _chunked(b"6;a\nb\r\nbcdefg\r\n0\r\n\r\n")),
    _bad(G, "chunked_03: a space before the end of a size", _chunked(b"6 \r\nbcdefg\r\n0\r\n\r\n")),
    _bad(
        G,
        "chunked_04: chunked twice",
        _post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    ),
    _bad(G, "chunked_05: identity", _post(b"Transfer-Encoding: identity", body=b"x"), 501),
    _bad(G, "chunked_06: chunked, then gzip", _post(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n")),
    _bad(
        G,
        "chunked_07: chunked, then identity",
        _post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    ),
    _bad(
        G,
        "chunked_08: gzip, then chunked",
        _post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
        501,
        why="stricter: no coding is undone or passed on",
    ),
    _bad(
        G,
        "chunked_09: a coding with a vertical tab",
        _post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    ),
    _bad(G, "chunked_10: an empty coding", _post(b"Transfer-Encoding:", body=b"0\r\n\r\n")),
    _bad(G, "chunked_11: a NUL in an extension", _chunked(b"6;\0\r\nbcdefg\r\n0\r\n\r\n")),
    _bad(G, "nonascii: a letter above ASCII in a name", _get(b"/", "H\u00f6st: x".encode())),
    _bad(G, "nonascii: as a method", "G\u00c9T / HTTP/1.1\r\n".encode() + _HOST + b"\r\n"),
    _bad(G, "obs_fold: in the first header", b"GET / HTTP/1.1\r\n Host: h\r\n\r\n"),
    _bad(G, "prefix: text before the version", _get(version=b"xHTTP/1.1")),
    _bad(G, "prefix: an empty name", _get(b"/", b":x")),
    _bad(G, "space before the colon", _get(b"/", b"X : y")),
    _bad(G, "a line without a colon", _get(b"/", b"Nothing")),
    _bad(G, "a bare CR in a value", _get(b"/", b"X: a\rb")),
    _bad(G, "a control byte in a value", _get(b"/", b"X: a\x07b")),
    _bad(G, "too long a line", _get(b"/" + b"a" * 20_000), 414),
    _bad(G, "too many headers", _get(b"/", *(b"X: y" for _ in range(5_000))), 431),
    _bad(G, "too long a header", _get(b"/", b"X: " + b"y" * 20_000), 431),
]

LLHTTP = [
    # sample.md, uri.md, method.md
    _ok(L, "sample: curl GET", _get(b"/test", b"User-Agent: curl/7.18.0"), (b"GET", b"/test", b"")),
    _ok(
        L,
        "sample: query with a question mark",
        _get(b"/test.cgi?foo=bar?baz"),
        (b"GET", b"/test.cgi?foo=bar?baz", b""),
    ),
    _ok(
        L,
        "sample: host terminated by a query",
        _get(b"http://hypnotoad.org?hail=all"),
        (b"GET", b"/?hail=all", b""),
    ),
    _ok(
        L,
        "sample: host with a port, terminated by a query",
        _get(b"http://hypnotoad.org:1234?hail=all"),
        (b"GET", b"/?hail=all", b""),
    ),
    _ok(L, "sample: host with a port terminated by a space", _get(b"http://hypnotoad.org:1234"), _ROOT),
    _ok(L, "sample: line folding's first line only", _get(b"/", b"Line1: abc"), _ROOT),
    _ok(
        L,
        "sample: UTF-8 in the path",
        _get(b"/\xce\xb4\xc2\xb6/\xce\xb4t/pope?q=1"),
        (b"GET", b"/\xce\xb4\xc2\xb6/\xce\xb4t/pope?q=1", b""),
    ),
    _ok(L, "sample: host with an underscore", _get(b"http://hypnotoad_example.org/"), _ROOT),
    _bad(
        L,
        "sample: M-SEARCH *",
        b"M-SEARCH * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\n\r\n",
        why="stricter: RFC 9112, section 3.2.4 has * for OPTIONS only",
    ),
    _ok(
        L,
        "method: PATCH",
        b"PATCH /file.txt HTTP/1.1\r\n" + _HOST + b"Content-Length: 3\r\n\r\nabc",
        (b"PATCH", b"/file.txt", b"abc"),
    ),
    *[
        _ok(
            L,
            f"method: {method}",
            f"{method} / HTTP/1.1\r\n".encode() + _HOST + b"\r\n",
            (method.encode(), b"/", b""),
        )
        for method in (
            "REPORT",
            "PURGE",
            "SEARCH",
            "LINK",
            "UNLINK",
            "SOURCE",
            "QUERY",
            "MKCALENDAR",
            "NOTIFY",
        )
    ],
    _bad(L, "method: CONNECT", b"CONNECT 0-home0.netscape.com:443 HTTP/1.0\r\nUser-agent: x\r\n\r\n", 501),
    _bad(
        L,
        "method: CONNECT with capitals",
        b"CONNECT HOME0.NETSCAPE.COM:443 HTTP/1.1\r\n" + _HOST + b"\r\n",
        501,
    ),
    _bad(L, "method: PRI of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    _bad(L, "method: a line of another protocol", b"OPTIONS rtsp://h/x RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
    _bad(L, "uri: ftp", _get(b"ftp://h/x")),
    _bad(L, "uri: no slash", _get(b"x")),
    _bad(L, "uri: a colon and no scheme", _get(b"://h/x")),
    _bad(L, "uri: two hosts' worth of at signs", _get(b"http://a@b@c/x")),
    _bad(L, "uri: a user", _get(b"http://user:pw@h/x")),
    _bad(L, "uri: a tab", _get(b"/foo\tbar")),
    _bad(L, "uri: a form feed", _get(b"/foo\x0cbar")),
    _bad(L, "uri: a CR alone", b"GET /foo\rbar HTTP/1.1\r\n" + _HOST + b"\r\n"),
    # invalid.md
    _bad(L, "invalid: ICE with GET", b"GET /music/sweet/music ICE/1.0\r\n" + _HOST + b"\r\n"),
    _bad(L, "invalid: SOURCE with ICE", b"SOURCE /music/sweet/music ICE/1.0\r\n" + _HOST + b"\r\n"),
    _bad(L, "invalid: IHTTP", _get(version=b"IHTTP/1.0")),
    _bad(L, "invalid: two spaces before a version", b"GET /  HTTP/1.1\r\n" + _HOST + b"\r\n"),
    _bad(L, "invalid: a header's name has a space", _get(b"/", b"Fo@ o: x")),
    _bad(L, "invalid: a header's first byte is a space", b"GET / HTTP/1.1\r\n Foo: x\r\n\r\n"),
    _bad(L, "invalid: a header's name is cut by LF", _get(b"/", b"Fo\no: x")),
    _bad(L, "invalid: an empty name", _get(b"/", b": Bar")),
    _bad(L, "invalid: a space before the colon", _get(b"/", b"Foo : Bar")),
    _bad(L, "invalid: a DEL in a value", _get(b"/", b"Foo: a\x7f")),
    _bad(L, "invalid: the method is cut by CRLF", b"\r\nGE\r\nT / HTTP/1.1\r\n\r\n"),
    _bad(L, "invalid: CRLF CR in place of the end", b"GET / HTTP/1.1\r\n" + _HOST + b"\r\r\n"),
    _bad(L, "invalid: LF alone as the end of the first line", b"GET / HTTP/1.1\n" + _HOST + b"\r\n"),
    _bad(L, "invalid: LF alone as the end of a header", b"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n"),
    _bad(L, "invalid: CR alone as the end of a header", b"GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n"),
    _bad(L, "invalid: HTTP/0.9", b"GET / HTTP/0.9\r\n" + _HOST + b"\r\n", 505),
    _bad(L, "invalid: a bad version digit", b"GET / HTTP/1.x\r\n" + _HOST + b"\r\n"),
    _bad(L, "invalid: two Hosts", _get(b"/", b"Host: i")),
    # content-length.md
    _ok(
        L,
        "content-length: with zeros in front",
        _post(b"Content-Length: 003", body=b"abc"),
        (b"POST", b"/", b"abc"),
    ),
    _ok(
        L,
        "content-length: with white space behind",
        _post(b"Content-Length:  3 \t", body=b"abc"),
        (b"POST", b"/", b"abc"),
    ),
    _bad(L, "content-length: overflow", _post(b"Content-Length: 1844674407370955161600001")),
    _bad(L, "content-length: a space inside", _post(b"Content-Length: 4 2")),
    _bad(L, "content-length: a tab inside", _post(b"Content-Length: 4\t2")),
    _bad(L, "content-length: letters behind", _post(b"Content-Length: 42abc")),
    _bad(
        L,
        "content-length: twice, the same",
        _post(b"Content-Length: 1", b"Content-Length: 1", body=b"a"),
        why="stricter than RFC 9112, section 6.3, allows to be",
    ),
    _bad(L, "content-length: a list", _post(b"Content-Length: 1, 1", body=b"a"), why="as above"),
    _bad(L, "content-length: empty", _post(b"Content-Length: ")),
    _bad(L, "content-length: in a folded line", _post(b"Content-Length:", b" 1", body=b"a")),
    _bad(
        L,
        "content-length: after chunked",
        _post(b"Transfer-Encoding: chunked", b"Content-Length: 1", body=b"0\r\n\r\n"),
    ),
    Case(
        L,
        "content-length: a body that is not whole",
        _post(b"Content-Length: 10", body=b"abc"),
        Seen(waiting=True),
    ),
    # transfer-encoding.md
    _ok(
        L,
        "transfer-encoding: sizes in capitals",
        _chunked(b"A\r\n0123456789\r\n0\r\n\r\n"),
        (b"POST", b"/", b"0123456789"),
    ),
    _ok(
        L,
        "transfer-encoding: in other letters",
        _post(b"tRANSFER-eNCODING: cHUNKED", body=b"1\r\na\r\n0\r\n\r\n"),
        (b"POST", b"/", b"a"),
    ),
    _ok(
        L,
        "transfer-encoding: an extension of quotes",
        _chunked(b'5;ilovew3="I \\"love\\"; extensions"\r\nhello\r\n6;blahblah;x=\r\n world\r\n0\r\n\r\n'),
        _HELLO,
    ),
    _ok(
        L,
        "transfer-encoding: an extension after a space",
        _chunked(b"5 ;ilovew3\r\nhello\r\n6 ; x = y\r\n world\r\n0\r\n\r\n"),
        _HELLO,
        why="white space may stand around the semicolon: RFC 9112, section 7.1.1",
    ),
    _ok(
        L,
        "transfer-encoding: an extension without a name",
        _chunked(b"5;\r\nhello\r\n6;;\r\n world\r\n0;\r\n\r\n"),
        _HELLO,
        why="looser: nobody looks at extensions",
    ),
    _bad(L, "transfer-encoding: a size with a space behind", _chunked(b"5 \r\nhello\r\n0\r\n\r\n")),
    _bad(L, "transfer-encoding: an extension with a CR", _chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n")),
    _bad(L, "transfer-encoding: an extension with a LF", _chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n")),
    _bad(
        L, "transfer-encoding: an extension with a control byte", _chunked(b"5;a\x01\r\nhello\r\n0\r\n\r\n")
    ),
    _bad(L, "transfer-encoding: a size that overflows", _chunked(b"FFFFFFFFFFFFFFFFF\r\na\r\n0\r\n\r\n")),
    _bad(L, "transfer-encoding: no digit", _chunked(b"g\r\na\r\n0\r\n\r\n")),
    _bad(L, "transfer-encoding: a chunk without CRLF", _chunked(b"5\r\nhello6\r\n world\r\n0\r\n\r\n")),
    _bad(L, "transfer-encoding: LF alone after a chunk", _chunked(b"5\r\nhello\n0\r\n\r\n")),
    _bad(
        L,
        "transfer-encoding: two spaces around chunked's comma",
        _post(b"Transfer-Encoding: chunked , deflate", body=b"0\r\n\r\n"),
    ),
    _bad(L, "transfer-encoding: deflate", _post(b"Transfer-Encoding: deflate", body=b"x"), 501),
    _bad(
        L,
        "transfer-encoding: chunked that is not the last",
        _post(b"Transfer-Encoding: chunked, deflate", body=b"0\r\n\r\n"),
    ),
    _bad(L, "transfer-encoding: a tab in front of the size", _chunked(b"\t5\r\nhello\r\n0\r\n\r\n")),
    _bad(L, "transfer-encoding: a trailer with a space before its colon", _chunked(b"0\r\nX : y\r\n\r\n")),
    _bad(L, "transfer-encoding: a folded trailer", _chunked(b"0\r\nX: y\r\n z\r\n\r\n")),
    _bad(L, "transfer-encoding: a length as a trailer", _chunked(b"0\r\nContent-Length: 5\r\n\r\n")),
    _bad(L, "transfer-encoding: a coding as a trailer", _chunked(b"0\r\nTransfer-Encoding: chunked\r\n\r\n")),
    Case(L, "transfer-encoding: no last chunk", _chunked(b"5\r\nhello\r\n"), Seen(waiting=True)),
    Case(L, "transfer-encoding: no end of the trailers", _chunked(b"0\r\nX: y\r\n"), Seen(waiting=True)),
    # connection.md, pipelining.md, pausing.md, lenient-*.md
    _ok(L, "connection: keep-alive", _get(b"/", b"Connection: keep-alive"), _ROOT),
    _ok(
        L,
        "connection: many options",
        _get(b"/", b"Connection: close, token, upgrade, token, keep-alive"),
        _ROOT,
    ),
    _ok(L, "connection: an upgrade without a protocol", _get(b"/", b"Connection: Upgrade"), _ROOT),
    _ok(L, "connection: a protocol without an upgrade", _get(b"/", b"Upgrade: websocket"), _ROOT),
    _ok(
        L,
        "connection: an upgrade with a body",
        _post(b"Connection: Upgrade", b"Upgrade: HTTP/2.0", b"Content-Length: 3", body=b"abc"),
        (b"POST", b"/", b"abc"),
    ),
    _ok(
        L,
        "pipelining: three of them",
        _post(b"Content-Length: 3", body=b"AAA") + _get(b"/b") + _get(b"/c"),
        (b"POST", b"/", b"AAA"),
        (b"GET", b"/b", b""),
        (b"GET", b"/c", b""),
    ),
    _ok(
        L,
        "pipelining: empty lines between",
        _get(b"/a") + b"\r\n\r\n" + _get(b"/b"),
        (b"GET", b"/a", b""),
        (b"GET", b"/b", b""),
    ),
    Case(
        L,
        "pipelining: half of a second one",
        _get(b"/a") + b"GET /b HT",
        Seen(((b"GET", b"/a", b""),), waiting=True),
    ),
    Case(L, "finish: half of a first line", b"GET / HT", Seen(waiting=True)),
    _bad(L, "lenient: a header's value with a control byte", _get(b"/", b"X: \x0b")),
    _bad(L, "lenient: data after a LF that is no end", b"GET / HTTP/1.1\n\nx"),
    Case(L, "finish: nothing", b"", Seen()),
]


def read(data: bytes, step: int) -> Seen:
    """
    What our reader makes of some bytes.

    :param step: how many arrive at once.
    """
    begun: list[Request] = []
    whole: list[tuple[bytes, bytes, bytes]] = []
    parts: list[bytes] = []

    def end() -> None:
        whole.append((begun[-1].method, begun[-1].target, b"".join(parts)))
        parts.clear()

    def on_request(request: Request) -> None:
        begun.append(request)
        if request.length == 0:
            end()

    reader = RequestReader(on_request, parts.append, end, 16 * 1024)
    status = 0
    try:
        for at in range(0, len(data), step):
            rest = data[at : at + step]
            while rest:
                rest = reader.feed(rest)
    except RefusedError as refusal:
        status = refusal.status
    return Seen(tuple(whole), status, not status and (reader.in_head or len(begun) > len(whole)))


def differences() -> Iterator[tuple[Case, Seen]]:
    """:returns: the cases that are read otherwise, whole or byte by byte."""
    for case in (*GUNICORN, *LLHTTP):
        for step in (len(case.data) or 1, 1, 7):
            seen = read(case.data, step)
            if seen != case.seen:
                yield case, seen
                break


def main() -> None:
    wrong = list(differences())
    for case, seen in wrong:
        print(f"{case.source}, {case.name}: expected {case.seen}, found {seen}")
    print(f"{len(GUNICORN)} of gunicorn's kinds, {len(LLHTTP)} of llhttp's: {len(wrong)} read otherwise")
    for case in (*GUNICORN, *LLHTTP):
        if case.why:
            print(f"  {case.source}, {case.name}: {case.why}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
