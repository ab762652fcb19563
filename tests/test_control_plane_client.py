"""Tests for scfd.control_plane.client."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, TimeoutError
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived

from scfd.control_plane import client
from scfd.control_plane.client import BodyTooLongError, ControlPlaneClient, ServerResponse
from scfd.control_plane.signing import Signer
from tests.http_fakes import Peer

URL = "http://10.0.0.1:18202/gateway/x"


class ControlPlaneClientTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = Peer()
        self.client = ControlPlaneClient(self.server.http(), self.server.reactor)

    def test_posts_json(self) -> None:
        self.client.post(URL, {"id": "täsk"}, 5)
        self.assertEqual(self.server.reactor.tcpClients[0][:2], ("10.0.0.1", 18202))
        head, _, body = self.server.accept().value().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"POST /gateway/x HTTP/1.1\r\n"), head)
        self.assertIn(b"\r\nContent-Type: application/json", head)
        self.assertIn(b"\r\nContent-Length: 18", head)
        self.assertEqual(body, b'{"id":"t\\u00e4sk"}')

    def test_signs_the_body_where_it_has_a_signer(self) -> None:
        signer = Signer("key", "secret", lambda: 1_800_000_000.0)
        ControlPlaneClient(self.server.http(), self.server.reactor, signer).post(URL, {"id": "a"}, 5)
        head, _, body = self.server.accept().value().partition(b"\r\n\r\n")
        self.assertIn(b"\r\nAuth: " + signer.sign(body).encode() + b"\r\n", head + b"\r\n")

    def test_returns_status_and_body(self) -> None:
        for status in (200, 204, 404, 500):
            with self.subTest(status=status):
                response = self.client.post(URL, {}, 5)
                self.server.accept()
                body = b"" if status == 204 else b"{}"
                self.server.send(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
                self.server.close()
                self.assertEqual(self.successResultOf(response), ServerResponse(status, body))

    def test_an_endless_response(self) -> None:
        self.patch(client, "MAX_RESPONSE", 2 << 20)
        response = self.client.post(URL, {}, 5)
        wire = self.server.accept()
        self.server.send(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(3):
            self.server.send(b"x" * (1 << 20))
        failure = self.failureResultOf(response, BodyTooLongError)
        self.assertEqual(failure.getErrorMessage(), "the response is longer than 2 MiB")
        self.assertTrue(wire.disconnected or wire.disconnecting)

    def test_does_not_follow_redirects(self) -> None:
        response = self.client.post(URL, {}, 5)
        self.server.accept()
        self.server.send(b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.successResultOf(response).status, 302)
        self.assertEqual(self.server.connections(), 1)

    def test_a_refused_connection(self) -> None:
        response = self.client.post(URL, {}, 5)
        self.server.refuse(ConnectionRefusedError())
        self.failureResultOf(response, ConnectionRefusedError)

    def test_a_broken_connection(self) -> None:
        response = self.client.post(URL, {}, 5)
        self.server.accept()
        self.server.close(ConnectionLost())
        self.failureResultOf(response, ResponseNeverReceived)

    def test_the_time_limit_holds_until_the_connection(self) -> None:
        response = self.client.post(URL, {}, 5)
        self.server.reactor.advance(4.9)
        self.assertNoResult(response)
        self.server.reactor.advance(0.2)
        self.failureResultOf(response, TimeoutError)

    def test_the_time_limit_holds_until_the_response(self) -> None:
        response = self.client.post(URL, {}, 5)
        wire = self.server.accept()
        self.server.reactor.advance(5.1)
        self.failureResultOf(response, TimeoutError)
        self.assertTrue(wire.disconnected)

    def test_the_time_limit_holds_for_the_body(self) -> None:
        response = self.client.post(URL, {}, 5)
        wire = self.server.accept()
        self.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        self.server.reactor.advance(5.1)
        self.failureResultOf(response, TimeoutError)
        self.assertTrue(wire.disconnected or wire.disconnecting, "the connection is left open")

    def test_cancelling_fails_with_cancelled_error(self) -> None:
        for began in (False, True):
            with self.subTest(began=began):
                response = self.client.post(URL, {}, 5)
                wire = self.server.accept()
                if began:
                    self.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
                response.cancel()
                self.failureResultOf(response, CancelledError)
                self.assertTrue(wire.disconnected or wire.disconnecting, "the connection is left open")

    def test_a_value_that_is_not_json_is_the_callers_mistake(self) -> None:
        for value, error in ((float("nan"), ValueError), (object(), TypeError)):
            with self.subTest(value=value):
                self.assertRaises(error, self.client.post, URL, value, 5)
