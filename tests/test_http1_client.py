"""A connection to a server: what it makes of responses."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from scfd.http1.activity import Activity
from scfd.http1.client import ClientConnection
from scfd.http1.response import LONGEST_HEAD
from scfd.http1.turn import Turn
from tests.http1_fakes import AT_ONCE, FakeExchange, FakeTransport
from tests.properties import given

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


class ConnectionTestCase(SynchronousTestCase):
    def setUp(self, turn: Turn = AT_ONCE) -> None:
        self.free: list[ClientConnection] = []
        self.lost: list[ClientConnection] = []
        self.connection = ClientConnection(self.free.append, self.lost.append, turn, Activity(Clock()))
        self.transport = FakeTransport(self.connection)

    def ask(self, exchange: FakeExchange | None = None) -> FakeExchange:
        exchange = exchange or FakeExchange()
        self.connection.assign(exchange)
        return exchange

    def responded(self, *parts: bytes, exchange: FakeExchange | None = None) -> FakeExchange:
        exchange = self.ask(exchange)
        for part in parts:
            self.transport.receive(part)
        return exchange


class ResponseTests(ConnectionTestCase):
    def test_a_request_and_its_response(self) -> None:
        exchange = self.ask()
        self.assertEqual(self.transport.sent, exchange.request)
        self.transport.receive(OK)
        self.assertEqual(exchange.heard, [("head", 200), ("data", b"hi"), ("end",)])
        self.assertEqual(self.free, [self.connection])

    def test_the_head_is_handed_on_as_it_came(self) -> None:
        exchange = self.responded(
            b"HTTP/1.0 404 Not \xe4 thing\r\nx-a: 1\r\nX-B:\r\nX-A:  2 \r\nContent-Length: 0\r\n\r\n"
        )
        assert exchange.head is not None
        self.assertEqual(
            (exchange.head.version, exchange.head.status, exchange.head.reason),
            ("1.0", 404, b"Not \xe4 thing"),
        )
        self.assertEqual(
            [(name, value.rstrip()) for name, value in exchange.head.headers],
            [(b"x-a", b"1"), (b"X-B", b""), (b"X-A", b"2"), (b"Content-Length", b"0")],
        )

    def test_chunks_without_their_framing_and_without_trailers(self) -> None:
        exchange = self.responded(CHUNKED + b"2\r\nab\r\n3;x=y\r\ncde\r\n0\r\nT: 1\r\n\r\n")
        assert exchange.head is not None
        self.assertEqual((exchange.body(), exchange.heard[-1]), (b"abcde", ("end",)))
        self.assertEqual(exchange.head.headers, [(b"Transfer-Encoding", b"chunked")])
        self.assertEqual(self.free, [self.connection])

    def test_extensions_of_chunks(self) -> None:
        """With the white space that RFC 9112 (section 7.1.1) lets stand, and what programs write besides."""
        for line in (
            b"3; x=y",
            b"3 ;x",
            b"3 ; x = y",
            b"3\t;x",
            b'3;x="a; b"',
            b"3;",
            b"3;x=\xe9",
            b"03;x;y=1",
            b"3 ",  # as some servers pad their sizes
            b"3 \t  ",
        ):
            for last in (b"0; end", b"0   "):
                with self.subTest(line, last=last):
                    self.setUp()
                    exchange = self.responded(CHUNKED + line + b"\r\nabc\r\n" + last + b"\r\n\r\n")
                    self.assertEqual((exchange.body(), exchange.heard[-1]), (b"abc", ("end",)))
                    self.assertEqual(self.free, [self.connection])

    def test_many_small_chunks(self) -> None:
        """Others have their turn in between; meanwhile nothing more is read."""
        later: list[Callable[[], object]] = []
        self.setUp(Turn(later.append))
        exchange = self.responded(CHUNKED + b"1\r\nx\r\n" * 5000)
        rounds = 0
        while exchange.body() != b"x" * 5000:
            self.assertFalse(self.transport.reading)
            self.assertLess(len(exchange.body()), 250 * (rounds + 1))
            later.pop()()
            rounds += 1
        self.assertTrue(self.transport.reading)
        self.transport.receive(b"0\r\n\r\n")
        self.assertEqual(exchange.heard[-1], ("end",))
        self.assertEqual(self.free, [self.connection])

    def test_small_chunks_and_a_slow_caller(self) -> None:
        later: list[Callable[[], object]] = []
        self.setUp(Turn(later.append))
        exchange = self.responded(CHUNKED + b"1\r\nx\r\n" * 500)
        self.connection.resume_reading()
        self.assertFalse(self.transport.reading, "what has arrived comes first")
        self.connection.pause_reading()
        while not self.transport.reading and later:
            later.pop()()
        self.assertFalse(self.transport.reading)
        self.connection.resume_reading()
        self.assertTrue(self.transport.reading)
        self.assertEqual(exchange.body(), b"x" * 500)

    @given(st.lists(st.integers(1, 60), max_size=8))
    def test_however_it_is_cut(self, cuts: list[int]) -> None:
        self.setUp()
        response = b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
        parts = []
        for cut in cuts:
            parts.append(response[:cut])
            response = response[cut:]
        exchange = self.responded(*[part for part in [*parts, response] if part])
        assert exchange.head is not None
        self.assertEqual((exchange.head.reason, exchange.body()), (b"OK", b"abcde"))
        self.assertEqual(exchange.heard[:2], [("informational", 100), ("head", 200)])
        self.assertEqual(self.free, [self.connection])

    def test_responses_before_the_response(self) -> None:
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        exchange = self.responded(b"HTTP/1.1 100 Continue\r\n\r\n" + early + OK)
        self.assertEqual(
            exchange.heard,
            [("informational", 100), ("informational", 103), ("head", 200), ("data", b"hi"), ("end",)],
        )

    def test_no_body_whatever_the_headers_say(self) -> None:
        for head in (b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X: y"):
            with self.subTest(head):
                self.setUp()
                exchange = self.responded(
                    b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n", exchange=FakeExchange(bodiless=True)
                )
                self.assertEqual(exchange.heard, [("head", 200), ("end",)])
        for status in (204, 304):
            with self.subTest(status):
                self.setUp()
                exchange = self.responded(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status)
                self.assertEqual(exchange.heard, [("head", status), ("end",)])
                self.assertEqual(self.free, [self.connection])

    def test_a_body_that_ends_with_the_connection(self) -> None:
        exchange = self.responded(b"HTTP/1.1 200 OK\r\n\r\nab", b"cd")
        self.assertEqual(exchange.heard[-1], ("data", b"cd"))
        self.transport.lose()
        self.assertEqual((exchange.body(), exchange.heard[-1]), (b"abcd", ("end",)))
        self.assertEqual((self.free, self.lost), ([], [self.connection]))


class ReuseTests(ConnectionTestCase):
    def test_one_request_after_the_other(self) -> None:
        first = self.responded(OK)
        second = self.ask()
        self.assertTrue(self.connection.reused)
        self.transport.receive(OK)
        self.assertEqual(first.heard, second.heard)
        self.assertEqual(len(self.free), 2)

    def test_a_first_request(self) -> None:
        self.ask()
        self.assertFalse(self.connection.reused)

    def test_after_a_head(self) -> None:
        head = FakeExchange(bodiless=True)
        self.responded(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", exchange=head)
        self.assertEqual(self.responded(OK).body(), b"hi")

    def test_not_where_either_side_closes(self) -> None:
        for response in (
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            OK + OK,
            OK + b"x",
        ):
            with self.subTest(response):
                self.setUp()
                exchange = self.responded(response)
                self.assertEqual(exchange.heard[-1], ("end",))
                self.assertEqual((self.free, self.transport.ended), ([], "aborted"))

    def test_not_when_the_response_came_before_the_request_was_sent(self) -> None:
        exchange = self.responded(OK, exchange=FakeExchange(whole=False))
        self.assertEqual(exchange.heard[-1], ("end",))
        self.assertEqual((self.free, self.transport.ended), ([], "aborted"))

    def test_not_when_the_server_has_not_read_the_request(self) -> None:
        exchange = self.ask()
        self.transport.unsent = 1
        self.transport.receive(OK)
        self.assertEqual(exchange.heard[-1], ("end",))
        self.assertEqual((self.free, self.transport.ended), ([], "aborted"))

    def test_what_nobody_asked_for_ends_it(self) -> None:
        self.responded(OK)
        self.transport.receive(OK)
        self.assertEqual(self.transport.ended, "aborted")

    def test_it_reads_again_for_the_next_request(self) -> None:
        exchange = FakeExchange()
        exchange.then = lambda name: self.connection.pause_reading() if name == "data" else None
        self.responded(OK, exchange=exchange)
        self.assertTrue(self.transport.reading)


class FailureTests(ConnectionTestCase):
    def failure(self, response: bytes) -> tuple[str, ...]:
        exchange = self.ask()
        if response:
            self.transport.receive(response)
        if not exchange.over():
            self.transport.lose()
        else:
            self.assertEqual(self.transport.ended, "aborted")
        self.assertEqual((self.free, exchange.heard[-1][0]), ([], "failure"))
        return exchange.heard[-1][1:]

    def test_closed_without_a_response(self) -> None:
        self.assertEqual(
            self.failure(b""), ("DisconnectedError", "the connection was closed without a response")
        )

    def test_closed_in_the_middle(self) -> None:
        for part in (b"HTTP", OK[:-1], CHUNKED + b"2\r\nab\r\n"):
            with self.subTest(part):
                self.setUp()
                self.assertEqual(
                    self.failure(part),
                    ("DisconnectedError", "the connection was closed in the middle of a response"),
                )

    def test_a_body_that_ends_with_the_connection_and_breaks(self) -> None:
        exchange = self.responded(b"HTTP/1.1 200 OK\r\n\r\nab")
        self.transport.lose(ConnectionResetError("reset"))
        self.assertEqual(
            exchange.heard[-1],
            ("failure", "DisconnectedError", "the connection was closed in the middle of a response: reset"),
        )

    def test_what_is_not_http(self) -> None:
        for response in (
            b"hello\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 000 Zero\r\nContent-Length: 0\r\n\r\n",
            CHUNKED + b"zz\r\n",
        ):
            with self.subTest(response):
                self.setUp()
                kind, text = self.failure(response)
                self.assertEqual(kind, "BadResponseError")
                self.assertIn("the response is not HTTP/1.1: ", text)

    def test_chunks_that_could_be_read_in_two_ways(self) -> None:
        for body in (
            b"3 x\r\nabc\r\n",
            b"3;x\nabc\r\n",
            b"3;x\rabc\r\n",
            b"3;\0\r\nabc\r\n",
            b" 3\r\nabc\r\n",
            b"0x3\r\nabc\r\n",
            b"+3\r\nabc\r\n",
            b"3\nabc\n",
            b"3\r\nabcd\r\n",
            b"8000000000000000\r\nabc",
            b"0\r\nContent-Length: 3\r\n\r\n",
        ):
            with self.subTest(body):
                self.setUp()
                kind, text = self.failure(CHUNKED + body)
                self.assertEqual(kind, "BadResponseError")
                self.assertIn("the response is not HTTP/1.1: bad ", text)
                self.assertEqual(self.transport.ended, "aborted")

    def test_a_coding_that_is_not_ours_to_undo(self) -> None:
        response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc"
        self.assertIn("its transfer coding is not chunked", self.failure(response)[1])

    def test_an_upgrade_that_nobody_asked_for(self) -> None:
        self.assertIn("a 101 that nobody has asked for", self.failure(SWITCH)[1])

    def test_a_head_without_end(self) -> None:
        self.assertEqual(
            self.failure(b"HTTP/1.1 200 OK\r\nX: " + b"y" * LONGEST_HEAD),
            ("BadResponseError", "the response's head is longer than 128 KiB"),
        )

    def test_a_mistake_of_ours_is_logged(self) -> None:
        exchange = FakeExchange()

        def then(name: str) -> None:
            if name == "data":
                raise RuntimeError("a bug")

        exchange.then = then
        self.responded(OK, exchange=exchange)
        self.assertEqual(exchange.heard[-1][1], "BadResponseError")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_given_up(self) -> None:
        exchange = self.ask()
        exchange.then = lambda name: self.connection.abort()
        self.transport.receive(OK)
        self.transport.lose()
        self.assertEqual(exchange.heard, [("head", 200)])
        self.assertEqual((self.free, self.lost), ([], [self.connection]))


class TunnelTests(ConnectionTestCase):
    def open(self, rest: bytes = b"") -> FakeExchange:
        return self.responded(SWITCH + rest, exchange=FakeExchange(upgradable=True, whole=False))

    def test_bytes_go_as_they_are(self) -> None:
        exchange = self.open(b"\x81\x02hi")
        self.transport.receive(b"HTTP/1.1 200 OK\r\n\r\n")
        self.connection.write(b"\x88")
        self.assertEqual(
            exchange.heard, [("head", 101), ("data", b"\x81\x02hi"), ("data", b"HTTP/1.1 200 OK\r\n\r\n")]
        )
        self.assertTrue(self.transport.sent.endswith(b"\r\n\r\n\x88"))

    def test_it_ends_with_the_connection(self) -> None:
        exchange = self.open()
        self.transport.lose()
        self.assertEqual(exchange.heard[-1], ("end",))
        self.assertEqual((self.free, self.lost), ([], [self.connection]))

    def test_it_breaks(self) -> None:
        exchange = self.open()
        self.transport.lose(ConnectionResetError("reset"))
        self.assertEqual(exchange.heard[-1][:2], ("failure", "DisconnectedError"))


class BackPressureTests(ConnectionTestCase):
    def test_a_server_that_reads_slowly(self) -> None:
        exchange = self.ask(FakeExchange(whole=False))
        self.connection.pause_writing()
        self.connection.resume_writing()
        self.assertEqual(exchange.heard, [("writable", False), ("writable", True)])

    def test_nobody_to_tell(self) -> None:
        self.connection.pause_writing()
        self.connection.resume_writing()

    def test_an_owner_that_reads_slowly(self) -> None:
        self.ask()
        self.connection.pause_reading()
        self.assertFalse(self.transport.reading)
        self.connection.resume_reading()
        self.assertTrue(self.transport.reading)
