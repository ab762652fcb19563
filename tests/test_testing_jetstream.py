"""Tests for the JetStream of scfd.testing: what a real one does, see tests/jetstream_contract.py."""

from __future__ import annotations

from scfd.testing.jetstream import JetStream
from scfd.testing.nats import MemoryConnection, Server
from tests.jetstream_contract import JetStreamContract, access
from tests.virtual import VirtualTestCase


class MemoryJetStreamTests(JetStreamContract, VirtualTestCase):
    def setUp(self) -> None:
        super().setUp()
        server = Server(JetStream(self.reactor, lambda: 1.7e9 + self.loop.time()))
        self.connection = MemoryConnection(access("nats://a.test"), "test", server)
        self.in_loop(self.connection.startService)
        self.addCleanup(self.in_loop, self.connection.stopService)
