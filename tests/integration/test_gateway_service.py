"""The gateway on real sockets, in this process: listening, TLS, a native plugin's resource, stopping."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from scfd.config import Address, GatewaySettings, TlsSettings
from scfd.deferreds import from_asyncio
from scfd.errors import StartupError
from scfd.gateway.make import gateway_front, native_backend
from scfd.gateway.service import Gateway, server_context
from scfd.status.context import Context
from scfd.web import Response, Routes, route
from tests.certificates import make_certificate, make_key
from tests.fakes import FakeAdapter
from tests.integration.daemon import free_ports, reactor


class Health(Routes):
    @route("GET", "/health")
    def health(self, headers: object, body: bytes) -> Response:
        return Response(200, b"fine")


class Tree(Resource):
    """
    :ivar waiting: requests for ``/wait``.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Request] = []

    def render(self, request: Request) -> bytes | int:
        assert request.content is not None
        if request.path == b"/wait":
            self.waiting.append(request)
            return NOT_DONE_YET
        if request.path == b"/long":
            return bytes(int(request.uri.partition(b"?")[2]))
        if request.path == b"/form":
            form = repr(sorted(request.args.items()))
            return f"{form} {request.prePathURL().decode()}".encode()
        proto = request.getHeader(b"x-forwarded-proto") or b""
        caller = request.getHeader(b"x-forwarded-for") or b""
        return b"%b %b %b %b %d" % (request.method, request.uri, proto, caller, len(request.content.read()))


def asynchronous(test: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], Deferred[None]]:
    """Run an asyncio coroutine as a test."""

    def run(self: Any) -> Deferred[None]:
        return from_asyncio(test(self))

    run.__name__ = test.__name__
    return run


class GatewayServiceTestCase(TestCase):
    timeout = 60

    async def start(
        self, host: str = "127.0.0.1", tls: TlsSettings | None = None, max_header: int = 16384
    ) -> Gateway:
        self.port = free_ports(1)[0]
        self.adapter = FakeAdapter()
        self.adapter.resource = self.tree = Tree()
        settings = evolve(GatewaySettings(), listen=Address(host, self.port), tls=tls, max_header=max_header)
        backend = native_backend(settings, self.adapter, Context(reactor))
        front = gateway_front(settings, Health(), backend, Context(reactor))
        gateway = Gateway(settings, front, backend, reactor)
        await gateway.startService().asFuture(asyncio.get_running_loop())
        self.addCleanup(self.stop, gateway)
        return gateway

    async def _stop(self, gateway: Gateway) -> None:
        await gateway.stopService().asFuture(asyncio.get_running_loop())
        while asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.sleep(0.01)
        # Both ends of the pairs of sockets are closed in the next turns of the loop.
        await deferLater(reactor, 0.02).asFuture(asyncio.get_running_loop())

    def stop(self, gateway: Gateway) -> Deferred[None]:
        return from_asyncio(self._stop(gateway))

    async def ask(self, request: bytes, host: str = "127.0.0.1", **options: Any) -> bytes:
        """:returns: all that comes until the connection is closed."""
        reader, writer = await asyncio.open_connection(host, self.port, **options)
        writer.write(request)
        response = await reader.read()
        writer.close()
        return response


class ListeningTests(GatewayServiceTestCase):
    @asynchronous
    async def test_addresses(self) -> None:
        for host, callers in (
            ("127.0.0.1", ["127.0.0.1"]),
            ("localhost", ["localhost"]),
            ("::1", ["::1"]),
            ("::", ["::1", "127.0.0.1"]),
            ("0.0.0.0", ["127.0.0.1"]),
        ):
            gateway = await self.start(host)
            for caller in callers:
                response = await self.ask(b"GET / HTTP/1.0\r\n\r\n", caller)
                told = b"127.0.0.1" if caller == "127.0.0.1" else b""
                self.assertRegex(response, rb"(?s)200 OK.*GET / http .*" + told + rb" 0$")
            await self._stop(gateway)

    @asynchronous
    async def test_an_address_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            settings = evolve(GatewaySettings(), listen=Address("127.0.0.1", port))
            backend = native_backend(settings, FakeAdapter(), Context(reactor))
            front = gateway_front(settings, Routes(), backend, Context(reactor))
            gateway = Gateway(settings, front, backend, reactor)
            with self.assertRaises(StartupError) as caught:
                await gateway.startService().asFuture(asyncio.get_running_loop())
        self.assertEqual(
            str(caught.exception),
            f"gateway.listen: can't listen on 127.0.0.1:{port}: Address already in use; "
            "choose another address",
        )
        await gateway.stopService().asFuture(asyncio.get_running_loop())

    @asynchronous
    async def test_small_writes_are_sent_at_once(self) -> None:
        """The best of five counts: the machine may be busy."""
        await self.start()
        # Each second write waited for an acknowledgement of 40 ms before.
        self.assertLess(min([await self.seconds_of_small_writes() for _ in range(5)]), 0.15)

    async def seconds_of_small_writes(self) -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
        began = time.monotonic()
        while not self.tree.waiting:
            await asyncio.sleep(0.001)
        request = self.tree.waiting.pop()
        for _ in range(10):
            request.write(b"x")
            await asyncio.sleep(0.002)
        request.finish()
        await reader.readuntil(b"0\r\n\r\n")
        writer.close()
        return time.monotonic() - began


class NativePluginTests(GatewayServiceTestCase):
    @asynchronous
    async def test_goes_through_the_same_path(self) -> None:
        await self.start()
        body = b"x" * 1_000_000
        response = await self.ask(
            b"POST /a//b?c HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"
            + body
            + b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"
            + b"GET /%41 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        )
        self.assertRegex(
            response,
            rb"(?s)POST /a//b\?c http 127\.0\.0\.1 1000000.*200 OK.*fine.*GET /%41 http 127\.0\.0\.1 0$",
        )

    @asynchronous
    async def test_forms_and_urls_are_what_they_would_be_without_a_gateway(self) -> None:
        await self.start()
        for host, url in (
            (b"h", "http://h/"),
            (b"h:9000", "http://h:9000/"),
        ):
            form = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 8\r\n"
            response = await self.ask(
                b"POST /form HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n%b\r\nname=Ada" % (host, form)
            )
            self.assertTrue(response.endswith(f"[(b'name', [b'Ada'])] {url}".encode()), response)

    @asynchronous
    async def test_headers_as_long_as_the_gateway_lets_in(self) -> None:
        await self.start(max_header=100_000)
        long = b"a" * 17_000
        for headers in (b"X: %b\r\n" % long * 5, b"X: a\r\n" * 10_000, b"Cookie: %b\r\n" % long):
            response = await self.ask(b"GET /x HTTP/1.0\r\n%b\r\n" % headers)
            self.assertRegex(response, rb"(?s)200 OK.*GET /x")

    @asynchronous
    async def test_a_caller_that_leaves(self) -> None:
        await self.start()
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
        while not self.tree.waiting:
            await asyncio.sleep(0.001)
        gone: list[Any] = []
        self.tree.waiting[0].notifyFinish().addErrback(gone.append)
        writer.close()
        while not gone:
            await asyncio.sleep(0.001)


class StoppingTests(GatewayServiceTestCase):
    @asynchronous
    async def test_waits_for_responses_under_way(self) -> None:
        gateway = await self.start()
        responding = asyncio.ensure_future(self.ask(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n"))
        while not self.tree.waiting:
            await asyncio.sleep(0.001)
        drained = gateway.drain()
        self.assertRegex(
            await self.ask(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"), rb"(?s)^HTTP/1.1 503 .*stopping"
        )
        self.assertRegex(
            await self.ask(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"), rb"(?s)^HTTP/1.1 200 .*fine$"
        )
        self.assertFalse(drained.called)
        self.tree.waiting[0].write(b"late")
        self.tree.waiting[0].finish()
        self.assertRegex(await responding, rb"(?s)Connection: close.*late\r\n0\r\n\r\n$")
        await drained.asFuture(asyncio.get_running_loop())


class TlsTests(GatewayServiceTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def certificate(self, name: str) -> TlsSettings:
        return TlsSettings(*make_certificate(self.folder, name))

    @asynchronous
    async def test_is_spoken(self) -> None:
        tls = self.certificate("a")
        await self.start(tls=tls)
        client = ssl.create_default_context(cafile=tls.cert)
        body = b"x" * 300_000
        response = await self.ask(
            b"POST /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n" + body,
            "localhost",
            ssl=client,
        )
        self.assertRegex(response, rb"(?s)200 OK.*POST /x https .* 300000$")
        reader, writer = await asyncio.open_connection("localhost", self.port, ssl=client)
        writer.write(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\n")
        self.assertRegex(await reader.readuntil(b"}"), rb"(?s)^HTTP/1.1 413 .*Connection: close")
        writer.close()
        client.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises((ssl.SSLError, ConnectionError, OSError)):
            await self.ask(b"", "localhost", ssl=client)

    @asynchronous
    async def test_a_slow_reader_gets_the_whole_of_a_last_response(self) -> None:
        tls = self.certificate("a")
        await self.start(tls=tls)
        client = ssl.create_default_context(cafile=tls.cert)

        async def read_late(size: int) -> int:
            """:returns: bytes of a body that is read once the connection has begun to close."""
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", self.port))
            reader, writer = await asyncio.open_connection(sock=sock, ssl=client, server_hostname="localhost")
            writer.write(b"GET /long?%d HTTP/1.0\r\n\r\n" % size)
            await asyncio.sleep(3)
            data = await reader.read()
            writer.close()
            return len(data.partition(b"\r\n\r\n")[2])

        # Some of these are just so long that their ends wait in the gateway, and not in the system.
        sizes = range(100_000, 4_000_000, 40_000)
        self.assertEqual(await asyncio.gather(*map(read_late, sizes)), list(sizes))

    def test_files_that_cannot_be_used(self) -> None:
        one, other = self.certificate("a"), self.certificate("b")
        missing, garbage = str(self.folder / "none"), str(self.folder / "garbage")
        Path(garbage).write_text("hello")
        rsa, locked = make_key(self.folder / "rsa"), make_key(self.folder / "locked", b"x")
        unusable = "expected PEM files with a certificate chain, and with its key, which has no password"
        for tls, text in (
            (
                TlsSettings(missing, one.key),
                f"gateway.tls.cert: can't read {missing}: No such file or directory; expected a PEM file",
            ),
            (
                TlsSettings(one.cert, missing),
                f"gateway.tls.key: can't read {missing}: No such file or directory; expected a PEM file",
            ),
            (
                TlsSettings(one.cert, other.key),
                f"gateway.tls: the key {other.key} is not the one of the certificate {one.cert}",
            ),
            (
                TlsSettings(one.cert, rsa),
                f"gateway.tls: the key {rsa} is not the one of the certificate {one.cert}",
            ),
            (
                TlsSettings(one.cert, locked),
                f"gateway.tls: {one.cert} and {locked} can't be used; {unusable}",
            ),
            (TlsSettings(garbage, one.key), unusable),
            (TlsSettings(one.cert, garbage), unusable),
        ):
            error = self.assertRaises(StartupError, server_context, tls)
            self.assertIn(text, str(error))
            self.assertNotIn("\n", str(error))
