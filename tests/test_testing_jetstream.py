"""Tests for the JetStream of scfd.testing: what a real one does, see tests/jetstream_contract.py."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from scfd.deferreds import from_coroutine
from scfd.testing.clock import VirtualLoop, VirtualReactor
from scfd.testing.jetstream import JetStream
from scfd.testing.nats import MemoryConnection, Server
from tests.jetstream_contract import JetStreamContract, access


class MemoryJetStreamTests(JetStreamContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.loop = VirtualLoop()
        reactor = VirtualReactor(self.loop)
        self.addCleanup(self.loop.finish)
        self.addCleanup(reactor.close)
        server = Server(JetStream(reactor, lambda: 1.7e9 + self.loop.time()))
        self.connection = MemoryConnection(access("nats://a.test"), "test", server)
        self.addCleanup(lambda: self.in_loop(self.connection.stopService))

    def in_loop(self, function: Any) -> Any:
        outcome: list[Any] = []
        self.loop.call_soon(lambda: function().addBoth(outcome.append))
        self.loop.run_until(self.loop.time() + 60, lambda: bool(outcome))
        return outcome[0]

    def run_body(self, body: Coroutine[Any, Any, None]) -> None:
        async def whole() -> None:
            await self.connection.startService()
            await body

        result = self.in_loop(lambda: from_coroutine(whole()))
        if result is not None:
            result.raiseException()
