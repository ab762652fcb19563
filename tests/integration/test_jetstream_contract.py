"""A real nats-server does what the one of scfd.testing does, see tests/jetstream_contract.py."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from scfd.deferreds import from_coroutine
from scfd.triggers.nats.connection import Connection
from tests.integration.nats_servers import Server
from tests.jetstream_contract import JetStreamContract, access


class RealJetStreamTests(JetStreamContract, TestCase):
    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        server = Server(Path(self.mktemp()))
        await server.start()
        self.addCleanup(server.kill)
        self.connection = Connection(access(server.url), "test")
        await self.connection.startService()
        self.addCleanup(self.connection.stopService)

    def run_body(self, body: Coroutine[Any, Any, None]) -> Deferred[None]:
        return from_coroutine(body)
