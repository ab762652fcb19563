"""Tests for scfd.http1.request: which requests are read, and which are refused."""

from __future__ import annotations

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from scfd.http1.contract import RefusedError, Request
from scfd.http1.request import read_head
from tests.properties import given

#: (status, what is wrong); each is a whole head, but for the empty line at its end.
REFUSED = [
    (400, b"GET  / HTTP/1.1\r\nHost: h"),
    (400, b"GET /  HTTP/1.1\r\nHost: h"),
    (400, b"GET\t/ HTTP/1.1\r\nHost: h"),
    (400, b"GET / HTTP/1.1 \r\nHost: h"),
    (400, b" GET / HTTP/1.1\r\nHost: h"),
    (400, b"GET / HTTP/1.1\nHost: h\r\n"),
    (400, b"GET /a b HTTP/1.1\r\nHost: h"),
    (400, b"GET /a#b HTTP/1.1\r\nHost: h"),
    (400, b"GET /a\x00b HTTP/1.1\r\nHost: h"),
    (400, b"GET /a\x7f HTTP/1.1\r\nHost: h"),
    (400, b"GET /"),
    (400, b"GET / http/1.1\r\nHost: h"),
    (400, b"GET / HTTP/1.10\r\nHost: h"),
    (400, b"G(T / HTTP/1.1\r\nHost: h"),
    (400, b"GET a HTTP/1.1\r\nHost: h"),
    (400, b"GET ?a HTTP/1.1\r\nHost: h"),
    (400, b"GET * HTTP/1.1\r\nHost: h"),
    (400, b"GET http:///a HTTP/1.1\r\nHost: h"),
    (400, b"GET http://user@h/a HTTP/1.1\r\nHost: h"),
    (400, b"GET ftp://h/a HTTP/1.1\r\nHost: h"),
    (400, b"GET / RTSP/1.0\r\nHost: h"),
    (505, b"GET / HTTP/2.0\r\nHost: h"),
    (505, b"GET / HTTP/0.9\r\nHost: h"),
    (505, b"PRI * HTTP/2.0\r\nHost: h"),
    (501, b"CONNECT h:1 HTTP/1.1\r\nHost: h:1"),
    (400, b"GET / HTTP/1.1"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a"),
    (400, b"GET / HTTP/1.0\r\nHost: a\r\nHost: a"),
    (400, b"GET / HTTP/1.1\r\nHost: a, b"),
    (400, b"GET / HTTP/1.1\r\nHost: a/b"),
    (400, b"GET / HTTP/1.1\r\nHost: user@a"),
    (400, b"GET / HTTP/1.1\r\nHost : a"),
    (400, b"GET / HTTP/1.1\r\n Host: a"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\nX\0: a"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: \x01"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\n: x"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\nX"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\nX\xe9: a"),
    (400, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1"),
    (400, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2"),
    (400, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1"),
    (400, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1"),
    (400, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1"),
    (400, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1"),
    (400, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: "),
    (400, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1 1"),
    (400, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999"),
    (400, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked"),
    (400, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 1"),
    (400, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    (400, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip"),
    (400, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked"),
    (400, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:"),
    (400, b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked"),
    (501, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip"),
    (501, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked"),
    (501, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity"),
    (501, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked"),
]


def read(line: str, *headers: str) -> Request:
    return read_head("\r\n".join((line, *headers, "", "")).encode("latin-1"))


class RefusedTests(SynchronousTestCase):
    def test_what_could_be_misunderstood(self) -> None:
        for status, head in REFUSED:
            with self.subTest(head=head):
                error = self.assertRaises(RefusedError, read_head, head + b"\r\n\r\n")
                self.assertEqual(error.status, status, str(error))

    @given(st.binary(max_size=60))
    def test_anything(self, data: bytes) -> None:
        """There is a request or a refusal, and never another error."""
        for head in (data, b"GET / HTTP/1.1\r\nHost: h\r\n" + data, b"GET " + data + b" HTTP/1.1\r\nHost: h"):
            try:
                request = read_head(head + b"\r\n\r\n")
            except RefusedError:
                continue
            self.assertNotIn(b" ", request.target)
            self.assertTrue(request.target.startswith(b"/"))


class TargetTests(SynchronousTestCase):
    def test_kept_as_it_is(self) -> None:
        for target in (
            "/",
            "/?",
            "/a%2Fb/%zz?x=%41&x=2&x",
            "/a/../b/./c",
            "//a//b",
            "/?a=b?c",
            "/\xff",
            '/a"<>',
        ):
            self.assertEqual(read(f"GET {target} HTTP/1.1", "Host: h").target, target.encode("latin-1"))

    def test_methods_of_any_kind(self) -> None:
        for method in ("GET", "PURGE", "get", "M-SEARCH", "X!"):
            self.assertEqual(read(f"{method} / HTTP/1.1", "Host: h").method, method.encode())

    def test_a_whole_url(self) -> None:
        for target, rest in (
            ("http://other:8/a?b", b"/a?b"),
            ("HTTP://other:8", b"/"),
            ("https://other:8?b", b"/?b"),
            ("http://[::1]:8/", b"/"),
        ):
            request = read(f"GET {target} HTTP/1.1", "X: 1", "Host: h", "Y: 2")
            host = b"[::1]:8" if "[" in target else b"other:8"
            self.assertEqual((request.target, request.host), (rest, host))
            self.assertEqual(request.headers, [(b"X", b"1"), (b"Host", host), (b"Y", b"2")])

    def test_the_server_as_a_whole(self) -> None:
        self.assertEqual(read("OPTIONS * HTTP/1.1", "Host: h").target, b"*")
        self.assertEqual(read("OPTIONS http://h HTTP/1.1", "Host: h").target, b"*")


class HeadersTests(SynchronousTestCase):
    def test_kept_in_order_and_case(self) -> None:
        request = read("GET / HTTP/1.1", "host: h", "B: 1", "a:  x \t", "b: 2", "c:", "B: \xe9")
        self.assertEqual(
            request.headers,
            [(b"host", b"h"), (b"B", b"1"), (b"a", b"x"), (b"b", b"2"), (b"c", b""), (b"B", b"\xe9")],
        )

    def test_length(self) -> None:
        for headers, length in (
            ((), 0),
            (("Content-Length: 0",), 0),
            (("content-length:\t007 ",), 7),
            (("Transfer-Encoding: Chunked",), None),
        ):
            self.assertEqual(read("POST / HTTP/1.1", "Host: h", *headers).length, length)

    def test_whether_the_connection_stays(self) -> None:
        for version, headers, stays in (
            ("1.1", (), True),
            ("1.1", ("Connection: close",), False),
            ("1.1", ("Connection: keep-alive", "Connection: x, CLOSE"), False),
            ("1.1", ("Connection: closed",), True),
            ("1.0", (), False),
            ("1.0", ("Connection: Keep-Alive",), True),
            ("1.0", ("Connection: keep-alive, close",), False),
        ):
            request = read(f"GET / HTTP/{version}", "Host: h", *headers)
            self.assertEqual(request.keep_alive, stays, (version, headers))

    def test_what_connection_takes_away(self) -> None:
        request = read("GET / HTTP/1.1", "Host: h", "Connection: X-Foo, host", "Connection: Content-Length,")
        self.assertEqual(set(request.dropped) - {b""}, {b"x-foo"})

    def test_upgrades(self) -> None:
        upgrade = ("Connection: keep-alive, Upgrade", "Upgrade: websocket")
        self.assertEqual(read("GET / HTTP/1.1", "Host: h", *upgrade).upgrade, b"websocket")
        for headers in (
            ("Upgrade: websocket",),
            ("Connection: upgrade",),
            ("Connection: upgrade, http2-settings", "Upgrade: h2c", "HTTP2-Settings: x"),
            (*upgrade, "Content-Length: 1"),
            (*upgrade, "Transfer-Encoding: chunked"),
        ):
            self.assertEqual(read("GET / HTTP/1.1", "Host: h", *headers).upgrade, b"", headers)
        self.assertEqual(read("GET / HTTP/1.0", "Host: h", *upgrade).upgrade, b"")

    def test_expectations(self) -> None:
        for version, value, expects in (
            ("1.1", "100-continue", True),
            ("1.1", "100-Continue", True),
            ("1.1", "x", False),
            ("1.0", "100-continue", False),
        ):
            request = read(f"POST / HTTP/{version}", "Host: h", f"Expect: {value}", "Content-Length: 1")
            self.assertEqual(request.expects_continue, expects)

    def test_ids(self) -> None:
        for headers, request_id in (
            ((), b""),
            (("X-Request-Id: a-1",), b"a-1"),
            (("X-Scf-Request-Id: s",), b"s"),
            (("X-Scf-Request-Id: s", "x-request-id: a"), b"a"),
            (("X-Request-Id: a b", "X-Scf-Request-Id: s"), b"s"),
            ((f"X-Request-Id: {'a' * 129}",), b""),
            (("X-Request-Id: \xe9",), b""),
        ):
            self.assertEqual(read("GET / HTTP/1.1", "Host: h", *headers).request_id, request_id)
