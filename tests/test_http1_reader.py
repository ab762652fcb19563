"""Tests for scfd.http1.reader: where one request ends and the next begins."""

from __future__ import annotations

import re
from typing import Any

from httptools import HttpParserError, HttpRequestParser
from hypothesis import settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from scfd.http1.contract import RefusedError, Request
from scfd.http1.reader import RequestReader
from tests.properties import given

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


class Read:
    """What a reader has told of some bytes."""

    def __init__(self, max_header: int = 1000) -> None:
        self.heard: list[Any] = []
        self.reader = RequestReader(
            self._on_request, self._on_body, lambda: self.heard.append("end"), max_header
        )

    def _on_request(self, request: Request) -> None:
        self.heard.append(request.target)

    def _on_body(self, data: bytes) -> None:
        assert data
        self.heard.append((b"".join(self.heard.pop()) if isinstance(self.heard[-1], tuple) else b"", data))

    def feed(self, data: bytes) -> Read:
        while data:
            data = self.reader.feed(data)
        return self

    @property
    def told(self) -> list[Any]:
        """Targets, bodies and ends."""
        return [b"".join(one) if isinstance(one, tuple) else one for one in self.heard]


class BoundariesTests(SynchronousTestCase):
    def test_stops_behind_each_request(self) -> None:
        read = Read()
        self.assertEqual(read.reader.feed(GET + POST + GET), POST + GET)
        self.assertEqual(read.told, [b"/a"])
        self.assertEqual(read.reader.feed(POST + GET), GET)
        self.assertEqual(read.told, [b"/a", b"/b", b"hello", "end"])

    def test_stops_behind_a_chunked_one(self) -> None:
        read = Read()
        self.assertEqual(read.reader.feed(CHUNKED + b"5\r\nhello\r\n0\r\nT: 1\r\n\r\n" + GET), GET)
        self.assertEqual(read.told, [b"/c", b"hello", "end"])

    def test_a_chunk_that_looks_like_an_end(self) -> None:
        inside = b"0\r\n\r\n" + GET
        read = Read().feed(CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(inside), inside) + GET)
        self.assertEqual(read.told, [b"/c", inside, "end", b"/a"])

    def test_a_body_of_tiny_chunks(self) -> None:
        """It takes long to read, so it is not read in one go."""
        inside = b"\r\n\r\n" * 1000
        chunks = b"".join(b"1\r\n%b\r\n" % inside[at : at + 1] for at in range(len(inside)))
        read = Read()
        rest = read.reader.feed(CHUNKED + chunks + b"0\r\n\r\n" + GET)
        self.assertGreater(len(rest), 20_000)
        read.feed(rest)
        self.assertEqual(read.told, [b"/c", inside, "end", b"/a"])

    def test_extensions_may_have_white_space_around_them(self) -> None:
        for extension in (b" ;a", b"\t; a = b", b"; a;b", b' ; a="b;c" ;d', b";", b"; "):
            read = Read().feed(CHUNKED + b"5%b\r\nhello\r\n0%b\r\n\r\n" % (extension, extension) + GET)
            self.assertEqual(read.told, [b"/c", b"hello", "end", b"/a"], extension)

    def test_empty_lines_in_front(self) -> None:
        self.assertEqual(Read().feed(b"\r\n\r\n" + GET + b"\r\n" + GET).told, [b"/a", b"/a"])

    @given(st.lists(st.binary(max_size=40), max_size=4), st.data())
    def test_however_it_is_cut(self, bodies: list[bytes], data: st.DataObject) -> None:
        stream, expected = b"", []
        for body in bodies:
            expected += [b"/c", body, "end"] if body else [b"/c", "end"]
            for at in range(0, len(body), 7):
                part = body[at : at + 7]
                stream = (stream if at else stream + CHUNKED) + b"%X;x=1\r\n%b\r\n" % (len(part), part)
            stream += b"0\r\n\r\n" if body else CHUNKED + b"0\r\nT: \r\n\r\n"
            stream += POST + GET
            expected += [b"/b", b"hello", "end", b"/a"]
        read = Read()
        while stream:
            size = data.draw(st.integers(1, 30))
            read.feed(stream[:size])
            stream = stream[size:]
        self.assertEqual(read.told, expected)


#: What chunked bodies are made of, and what breaks them.
_PIECES = st.sampled_from(
    (
        *(b"0 1 2 a 0a \r\n \r\n\r\n \r \n x xy X:y ;e - : 0x".split(b" ")),
        *(b"1\r\nx\r\n 2\r\nxy\r\n 0\r\n\r\n 00\r\nX:y\r\n\r\n 1\r\nx\r\n0\r\n\r\n".split(b" ")),
    )
)


class _Llhttp:
    """A chunked body as llhttp reads it."""

    def __init__(self, data: bytes) -> None:
        self.body, self.complete, self.refused = b"", False, False
        parser = HttpRequestParser(self)
        parser.feed_data(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(len(data)):
            if self.complete:
                return
            try:
                parser.feed_data(data[at : at + 1])
            except HttpParserError:
                self.refused = True
                return

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


class SecondReaderTests(SynchronousTestCase):
    @settings(max_examples=300)
    @given(st.lists(_PIECES, min_size=1, max_size=12).map(b"".join))
    def test_chunks_are_what_llhttp_takes_them_for(self, data: bytes) -> None:
        other = _Llhttp(data)
        read = Read()
        try:
            read.feed(CHUNKED + data)
        except RefusedError:
            # A second one may be behind the end, and be refused.
            self.assertTrue(other.refused or other.complete, data)
        complete = "end" in read.told
        if complete and other.refused:
            # Extensions are dropped, whatever they are made of; llhttp looks at them.
            other = _Llhttp(re.sub(rb";[^\r\n]*", b"", data))
        self.assertEqual(complete, other.complete, data)
        if complete:
            self.assertEqual(b"".join(part for part in read.told[1 : read.told.index("end")]), other.body)


class RefusedTests(SynchronousTestCase):
    def refused(self, data: bytes, max_header: int = 1000) -> tuple[int, list[Any]]:
        """:returns: the status, and what was told before."""
        for step in (len(data), 1):
            read = Read(max_header)

            def feed(read: Read = read, step: int = step) -> None:
                for at in range(0, len(data), step):
                    read.feed(data[at : at + step])

            error = self.assertRaises(RefusedError, feed)
        return error.status, read.told

    def test_chunks(self) -> None:
        for chunks in (
            b"5 \r\nhello\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"-5\r\nhello\r\n0\r\n\r\n",
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhelloX\r\n0\r\n\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"FFFFFFFFFFFFFFFFF\r\nh\r\n\r\n",
            b"\r\n\r\n",
            b"5;a\nb\r\nhello\r\n0\r\n\r\n",
            b'5;a="x\r\ny"\r\nhello\r\n0\r\n\r\n',
            b"0\r\n X: 1\r\n\r\n",
            b"0\r\nX : 1\r\n\r\n",
            b"0\r\nContent-Length: 5\r\n\r\n",
            b"0\n\n",
        ):
            with self.subTest(chunks=chunks):
                status, told = self.refused(CHUNKED + chunks + GET)
                self.assertEqual(status, 400)
                self.assertNotIn("end", told)
                self.assertNotIn(b"/a", told)

    def test_long_heads(self) -> None:
        long = b"X: " + b"a" * 100
        self.assertEqual(self.refused(b"GET / HTTP/1.1\r\n" + long, 60)[0], 431)
        self.assertEqual(self.refused(b"GET / HTTP/1.1\r\nHost: h\r\n" + long + b"\r\n\r\n", 60)[0], 431)
        self.assertEqual(self.refused(b"GET /" + b"a" * 100, 60)[0], 414)
        self.assertEqual(Read(len(GET)).feed(GET).told, [b"/a"])

    def test_endless_framing(self) -> None:
        """Neither extensions nor trailers go on for ever."""
        for endless in (b"1;" + b"a" * 2000, b"0\r\n" + b"X: y\r\n" * 400):
            self.assertEqual(self.refused(CHUNKED + endless)[0], 400)
        tiny = Read().feed(CHUNKED + b"1\r\na\r\n" * 5000 + b"0\r\n\r\n")
        self.assertEqual(tiny.told, [b"/c", b"a" * 5000, "end"])

    def test_lines_that_never_end(self) -> None:
        self.assertEqual(self.refused(b"GET / HTTP/1.1\nHost: h\n\n")[0], 400)
