"""Callers that are slow, or never come to an end: nobody else waits for them, and they hold no memory."""

from __future__ import annotations

import socket
import statistics
import time
from contextlib import ExitStack
from typing import Any

import psutil
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.gateway_rig import Response, Rig
from tests.integration.raw_http import Message, Stream

HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = 64 * 1024 * 1024


class SlowCallerTests(SynchronousTestCase):
    def rig(self, **gateway: Any) -> Rig:
        rig = Rig(**gateway)
        self.addCleanup(rig.close)
        return rig

    def time_of_health(self, rig: Rig) -> float:
        """
        :returns: seconds that a response took, the median of eleven, each over a connection of its own. The
            slowest one is often the doing of another test that runs at the same time. It is compared with
            that of the same node when nothing else is asked of it: the machine may be busy.
        """
        times = []
        for _ in range(11):
            began = time.monotonic()
            with rig.connect() as stream:
                stream.send(HEALTH)
                self.assertEqual(stream.response().body, b'{"status":"healthy"}')
            times.append(time.monotonic() - began)
        return statistics.median(times)

    def test_500_half_open_connections(self) -> None:
        """Some of them have sent nothing, some a part of a head, some a part of a body."""
        rig = self.rig()
        usual = self.time_of_health(rig)
        parts = (
            b"",
            b"GET / HTTP/1.1\r\nHo",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf",
        )
        with ExitStack() as stack:
            for number in range(500):
                stack.enter_context(rig.connect()).send(parts[number % len(parts)])
            self.assertLess(self.time_of_health(rig), usual + 0.05)

    def test_more_connections_than_there_may_be(self) -> None:
        rig = self.rig(max_connections=20)
        usual = self.time_of_health(rig)
        with ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(rig.connect()).send(b"GET / HTTP/1.1\r\nHo")
            with rig.connect() as stream:
                stream.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                self.assertEqual((stream.response().status, stream.rest()), (503, b""))
            self.assertLess(self.time_of_health(rig), usual + 0.05)

    def test_what_does_not_come_in_time_is_given_up(self) -> None:
        rig = self.rig(header_timeout=0.3, body_timeout=0.3, idle_timeout=0.3)
        for sent, status in (
            (b"", None),
            (b"GET / HTTP/1.1\r\nHo", 408),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf", 408),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha", 408),
        ):
            with rig.connect() as stream:
                stream.send(sent)
                if status is not None:
                    self.assertEqual(stream.response().status, status)
                self.assertEqual(stream.rest(), b"")
        self.assertEqual(rig.plugin.requests, [])

    def test_a_reader_that_does_not_read_holds_no_memory(self) -> None:
        rig = self.rig()
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE

        def endless(request: Message, stream: Stream) -> None:
            stream.send(head)
            for _ in range(LARGE >> 20):
                stream.send(bytes(1 << 20))

        rig.plugin.serve = endless
        usual = self.time_of_health(rig)
        node = psutil.Process(rig.pid)
        before = node.memory_info().rss
        with ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(rig.connect()).send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                self.assertLess(node.memory_info().rss - before, 8 << 20)
                time.sleep(0.05)
            self.assertLess(self.time_of_health(rig), usual + 0.05)

    def slowly(self, stream: Stream, pause: float) -> bytes:
        """
        :returns: all that comes, read in 64 KiB every so many seconds.
        :raises OSError: when it breaks off.
        """
        data = b""
        while True:
            time.sleep(pause)
            part = stream.socket.recv(1 << 16)
            if not part:
                return data
            data += part

    def test_a_last_response_comes_whole_or_breaks_off(self) -> None:
        """Its length is not said, so only a broken connection tells that a part is missing."""
        # The kernel takes more only when a third of its buffer is free: up to a second at this pace.
        rig = self.rig(body_timeout=2)
        body = bytes(5 << 20)
        rig.plugin.response = lambda request: Response(b"HTTP/1.1 200 OK\r\n\r\n" + body, True)
        for pause in (
            0.04,
            0,
        ):  # 3.2 s: longer than anything the gateway does to a connection that is closing
            with rig.connect() as stream:
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
                stream.send(b"GET / HTTP/1.0\r\n\r\n")
                if pause:
                    self.assertTrue(self.slowly(stream, pause).endswith(b"\r\n\r\n" + body))
                else:
                    time.sleep(4.5)  # reads nothing for longer than body_timeout
                    self.assertRaises(ConnectionError, self.slowly, stream, 0)

    def test_stopping_breaks_off_what_is_not_read(self) -> None:
        rig = self.rig(drain=0.5)
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
        rig.plugin.response = lambda request: Response(head + bytes(8 << 20), True)
        with rig.connect() as stream:
            stream.send(b"GET / HTTP/1.0\r\n\r\n")
            stream.exactly(100)
            rig.terminate()
            rig.wait()
            self.assertRaises(ConnectionError, self.slowly, stream, 0)

    def test_a_response_as_large_as_that_comes_whole(self) -> None:
        rig = self.rig()
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (8 << 20)
        rig.plugin.response = lambda request: Response(head + bytes(8 << 20))
        with rig.connect() as stream:
            stream.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            time.sleep(0.2)  # all buffers on the way are full by then
            self.assertEqual(len(stream.response().body), 8 << 20)
