"""Tests for scfd.triggers.nats.connection: which servers are tried."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from scfd.triggers.nats.connection import still_known


class KnownServersTests(SynchronousTestCase):
    def test_servers_that_have_left_the_cluster_are_forgotten(self) -> None:
        configured = ["nats://u:p@a:1", "nats://b:1"]
        known = ["nats://c:1", "nats://b:1", "nats://u:p@a:1", "nats://gone:1"]
        found = ["nats://a:1", "nats://c:1", "nats://d:1"]
        self.assertEqual(
            still_known(known, configured, found),
            ["nats://c:1", "nats://b:1", "nats://u:p@a:1", "nats://d:1"],
        )
