"""The HTTP client of the control plane, imported with the first request, and TLS with the first https."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import twisted.internet.ssl
from twisted.internet.ssl import Certificate, DefaultOpenSSLContextFactory, trustRootFromCertificates
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import URI
from twisted.web.error import SchemeNotSupported
from twisted.web.resource import Resource
from twisted.web.server import Site

from scfd.control_plane.agent import _Endpoints
from scfd.control_plane.client import ControlPlaneClient
from scfd.control_plane.http import LazyClient
from tests.certificates import make_certificate
from tests.integration.daemon import ROOT, reactor
from tests.integration.node import asynchronous

#: A process with an HTTP plugin: what it has imported before and after the first https.
PROGRAM = """
import sys
from scfd import reactor
reactor.leave_out_tls()
reactor.install()
from twisted.internet import reactor as installed
import treq.client
from twisted.web.client import URI
from scfd.control_plane.agent import _Endpoints, agent
agent(installed)
endpoints = _Endpoints(installed)
endpoints.endpointForURI(URI.fromBytes(b"http://h"))
print("cryptography" in sys.modules)
endpoints.endpointForURI(URI.fromBytes(b"https://h"))
print("cryptography" in sys.modules)
"""
#: The same where pyOpenSSL is not installed.
NOT_INSTALLED = """
import sys
sys.path_importer_cache.clear()
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "OpenSSL":
            raise ModuleNotFoundError("No module named 'OpenSSL'")
sys.meta_path.insert(0, Missing())
"""


def printed(program: str) -> str:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60
    )
    return ran.stdout + ran.stderr


class TlsTests(SynchronousTestCase):
    def test_imported_with_the_first_https(self) -> None:
        self.assertEqual(printed(PROGRAM).split(), ["False", "True"])

    def test_not_installed(self) -> None:
        said = printed(NOT_INSTALLED + PROGRAM)
        self.assertIn(
            "SchemeNotSupported: https needs pyOpenSSL, service-identity: No module named 'OpenSSL'", said
        )

    def test_other_schemes(self) -> None:
        uri = URI.fromBytes(b"ftp://h:21/")
        self.assertRaises(SchemeNotSupported, _Endpoints(reactor).endpointForURI, uri)


class Echo(Resource):
    isLeaf = True

    def render_POST(self, request: Any) -> bytes:
        body: bytes = request.content.read()
        return body


class RequestTests(TestCase):
    @asynchronous
    async def test_http(self) -> None:
        port = reactor.listenTCP(0, Site(Echo()), interface="127.0.0.1")
        await self.exchange(f"http://127.0.0.1:{port.getHost().port}/", port)

    @asynchronous
    async def test_https(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        certificate, key = make_certificate(folder)
        context = DefaultOpenSSLContextFactory(key, certificate)
        port = reactor.listenSSL(0, Site(Echo()), context, interface="127.0.0.1")
        trusted = trustRootFromCertificates([Certificate.loadPEM(Path(certificate).read_bytes())])
        self.patch(twisted.internet.ssl, "platformTrust", lambda: trusted)
        await self.exchange(f"https://127.0.0.1:{port.getHost().port}/", port)

    async def exchange(self, url: str, port: Any) -> None:
        self.addCleanup(port.stopListening)
        lazy: Any = LazyClient(reactor)
        response = await ControlPlaneClient(lazy, reactor).post(url, {"a": 1}, 5.0)
        self.assertEqual((response.status, response.body), (200, b'{"a":1}'))
        await lazy._client._agent._pool.closeCachedConnections()
