"""What goes wrong in the middle: plugins and callers that leave, hurry or dawdle, a node that is stopped."""

from __future__ import annotations

import base64
import os
import socket
import threading
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import make_certificate
from tests.integration.gateway_rig import OK, Plugin, Response, Rig, until
from tests.integration.raw_http import Message, Stream, chunked

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
UPGRADE = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class FaultTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rig = Rig(forward_timeout=1)
        self.addCleanup(self.rig.close)
        self.plugin = self.rig.plugin

    def still_works(self) -> None:
        self.plugin.forget()
        with self.rig.connect() as stream:
            stream.send(GET)
            self.assertEqual(stream.response().body, b"ok")

    def test_a_response_that_breaks_off_does_not_look_whole(self) -> None:
        for head in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n",
        ):
            broken = Response(head + b"half", True)
            self.plugin.response = lambda request, broken=broken: broken  # type: ignore[misc]
            with self.rig.connect() as stream:
                stream.send(GET)
                self.assertRaises(EOFError, stream.response)
        self.still_works()

    def test_a_plugin_that_is_too_slow_or_says_nothing(self) -> None:
        left = threading.Event()

        def silent(request: Message, stream: Stream) -> None:
            stream.rest()
            left.set()

        self.plugin.serve = silent
        with self.rig.connect() as stream:
            stream.send(GET)
            self.assertEqual(stream.response().status, 504)
        self.assertTrue(left.wait(5), "the plugin's request was not aborted")
        self.plugin.forget()
        self.plugin.response = lambda request: Response(b"", True)
        with self.rig.connect() as stream:
            stream.send(POST + b"Content-Length: 0\r\n\r\n")
            self.assertEqual(stream.response().status, 502)
        self.assertEqual(len(self.plugin.requests), 1)  # a POST is not sent again
        self.still_works()

    def test_a_response_before_the_body_has_been_read(self) -> None:
        def early(request: Message, stream: Stream) -> None:
            stream.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")

        self.plugin.serve = early
        with self.rig.connect() as stream:
            stream.send(POST + b"Content-Length: 5000000\r\n\r\n" + bytes(1_000_000))
            response = stream.response()
            self.assertEqual((response.status, response.body), (403, b"no"))
        self.still_works()

    def test_an_early_response_before_the_plugin_closes(self) -> None:
        """Writing the rest of the request fails before the response has been read."""

        def early(request: Message, stream: Stream) -> None:
            stream.send(b"HTTP/1.1 413 X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
            raise EOFError

        self.plugin.serve = early
        responses = []
        for _ in range(20):
            with self.rig.connect() as stream:
                stream.send(POST + b"Content-Length: 5000000\r\n\r\n" + bytes(5_000_000))
                response = stream.response()
                responses.append((response.status, response.body))
        self.assertEqual(responses, [(413, b"no")] * 20)
        self.still_works()

    def test_a_caller_that_sends_no_more_gets_its_response(self) -> None:
        def slow(request: Message, stream: Stream) -> None:
            time.sleep(0.3)
            stream.send(OK)

        self.plugin.serve = slow
        for first in (b"HTTP/1.1", b"HTTP/1.0"):
            with self.rig.connect() as stream:
                stream.send(b"GET / %b\r\nHost: a\r\n\r\n" % first)
                stream.socket.shutdown(socket.SHUT_WR)
                self.assertEqual((stream.response().body, stream.rest()), (b"ok", b""))

    def test_a_plugin_that_closes_connections_between_requests(self) -> None:
        self.plugin.response = lambda request: Response(OK, close=len(self.plugin.requests) % 3 == 0)
        with self.rig.connect() as stream:
            for _ in range(100):
                stream.send(GET)
                self.assertEqual(stream.response().body, b"ok")
        self.assertEqual(len(self.plugin.requests), 100)

    def test_100_continue_comes_from_the_plugin(self) -> None:
        with self.rig.connect() as stream:
            stream.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            self.assertEqual(stream.head().line, b"HTTP/1.1 100 Continue")
            self.assertEqual(self.plugin.requests, [])
            stream.send(b"hello")
            self.assertEqual(stream.response().body, b"ok")
        self.assertEqual(self.plugin.requests[0].body, b"hello")

    def test_what_was_upgraded_goes_through_both_ways(self) -> None:
        def echo(request: Message, stream: Stream) -> None:
            stream.send(SWITCHING + b"hello")
            while True:
                stream.send(stream.exactly(1))

        self.plugin.serve = echo
        sent = base64.b64encode(os.urandom(30_000))
        with self.rig.connect() as stream:
            stream.send(UPGRADE + b"first")
            self.assertEqual(stream.head().status, 101)
            self.assertEqual(stream.exactly(10), b"hellofirst")
            stream.send(sent)
            self.assertEqual(stream.exactly(len(sent)), sent)
        self.still_works()

    def test_a_caller_that_leaves_takes_its_request_along(self) -> None:
        left = threading.Event()

        def endless(request: Message, stream: Stream) -> None:
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            try:
                while True:
                    stream.socket.sendall(bytes(100_000))
            except OSError:
                left.set()

        self.plugin.serve = endless
        with self.rig.connect() as stream:
            stream.send(GET)
            stream.exactly(1_000_000)
        self.assertTrue(left.wait(5), "the plugin goes on sending")
        self.still_works()

    def test_a_thousand_requests_at_once_on_a_connection(self) -> None:
        def number(request: Message) -> Response:
            body = request.line.split()[1]
            return Response(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        self.plugin.response = number
        targets = [b"/%d" % number for number in range(1000)]
        with self.rig.connect() as stream:
            stream.send(b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target for target in targets))
            self.assertEqual([stream.response().body for _ in targets], targets)

    def test_ten_thousand_small_chunks(self) -> None:
        body = os.urandom(10_000)
        framed = chunked(*[body[at : at + 1] for at in range(len(body))])
        self.plugin.response = lambda request: Response(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed
        )
        with self.rig.connect() as stream:
            stream.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + framed)
            self.assertEqual(stream.response().body, body)
        self.assertEqual(self.plugin.requests[0].body, body)


class TlsTests(SynchronousTestCase):
    """A plugin behind https."""

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        certificate, key = make_certificate(folder)
        with open(certificate, "a") as file:
            file.write(Path(key).read_text())
        self.rig = Rig(plugin=Plugin(certificate))
        self.addCleanup(self.rig.close)

    def test_an_early_response_before_the_plugin_closes(self) -> None:
        """What has arrived is read before writing the rest of the request fails."""

        def early(request: Message, stream: Stream) -> None:
            length = int(request.values(b"x-length")[0])
            stream.send(b"HTTP/1.1 413 X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % length)
            stream.send(bytes(length))
            raise EOFError

        self.rig.plugin.serve = early
        statuses = []
        for length in (0, 2, 10_000) * 10:
            with self.rig.connect() as stream:
                stream.send(POST + b"X-Length: %d\r\nContent-Length: 5000000\r\n\r\n" % length)
                stream.send(bytes(5_000_000))
                response = stream.response()
                statuses.append((response.status, len(response.body) == length))
        self.assertEqual(statuses, [(413, True)] * 30)

    def test_whole_requests(self) -> None:
        self.rig.plugin.response = lambda request: Response(OK)
        with self.rig.connect() as stream:
            for length in (0, 1, 100_000, 5_000_000):
                stream.send(POST + b"Content-Length: %d\r\n\r\n" % length + bytes(length))
                self.assertEqual(stream.response().status, 200)
        self.assertEqual(
            [len(request.body) for request in self.rig.plugin.requests], [0, 1, 100_000, 5_000_000]
        )


class OneThreadTests(SynchronousTestCase):
    def test_a_plugin_of_one_thread_serves_everybody(self) -> None:
        """The connection that the gateway keeps to it is closed while others wait."""
        rig = Rig()
        self.addCleanup(rig.close)
        rig.plugin.serve_one_at_a_time()

        def slow(request: Message) -> Response:
            time.sleep(0.02)
            return Response(OK)

        rig.plugin.response = slow
        done = threading.Event()
        first: list[int] = []

        def ask_on_and_on() -> None:
            with rig.connect() as stream:
                while not done.is_set():
                    stream.send(GET)
                    first.append(stream.response().status)

        caller = threading.Thread(target=ask_on_and_on)
        caller.start()
        try:
            until(lambda: first, "a first response")
            with rig.connect() as stream:
                stream.socket.settimeout(4)
                stream.send(GET)
                self.assertEqual(stream.response().status, 200)
        finally:
            done.set()
            caller.join()
        self.assertEqual(set(first), {200})


class StoppingTests(SynchronousTestCase):
    def test_no_response_is_cut(self) -> None:
        """Callers send one request after the other while the node is stopped."""
        rig = Rig()
        self.addCleanup(rig.close)
        body = bytes(100_000)
        rig.plugin.response = lambda request: Response(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        whole: list[int] = []
        cut: list[str] = []
        callers = [threading.Thread(target=self.ask, args=[rig, whole, cut]) for _ in range(8)]
        for caller in callers:
            caller.start()
        until(lambda: len(whole) > 100, "responses")
        rig.terminate()
        for caller in callers:
            caller.join()
        self.assertEqual((rig.wait(), cut), (0, []))

    def ask(self, rig: Rig, whole: list[int], cut: list[str]) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                stream = rig.connect()
            except OSError:
                return  # nobody listens any more
            with stream:
                status = 200
                while status == 200:
                    stream.send(GET)
                    try:
                        response = stream.response()
                    except (EOFError, ValueError, OSError) as error:
                        cut.append(repr(error))
                        return
                    status = response.status
                    whole.append(len(response.body))
                    if response.values(b"connection") == [b"close"]:
                        break
            if status == 503:
                return  # told that the node is stopping
