"""Tests for scfd.identity."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from scfd.identity import Identity, ServerAddress


class ServerAddressTests(SynchronousTestCase):
    def test_base_url(self) -> None:
        for address, expected in (
            (ServerAddress(), ""),
            (ServerAddress("10.0.0.1", 18202), "http://10.0.0.1:18202"),
            (ServerAddress("10.0.0.1", 0), ""),
            (ServerAddress("10.0.0.1", -1), ""),
            (ServerAddress("", 18202), ""),
            (ServerAddress("fd00::1", 18202), "http://[fd00::1]:18202"),
            (ServerAddress("10.0.0.1", 18202, "https://moox.example/base/"), "https://moox.example/base"),
            (ServerAddress(url="http://moox:1"), "http://moox:1"),
        ):
            with self.subTest(address=address):
                self.assertEqual(address.base_url, expected)


class IdentityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.identity = Identity("from-config", "v1.0.0")

    def test_at_start(self) -> None:
        self.assertEqual(self.identity.server.base_url, "")
        self.assertEqual(self.identity.storage_server_url, "")

    def test_the_platform_names_the_node(self) -> None:
        for environ, expected in (
            ({"SCF_FUNCTIONNAME": "scf", "TENCENTCLOUD_FUNCTIONNAME": "tencent"}, "scf"),
            ({"TENCENTCLOUD_FUNCTIONNAME": "tencent"}, "tencent"),
            ({"SCF_FUNCTIONNAME": "", "TENCENTCLOUD_FUNCTIONNAME": "tencent"}, "tencent"),
            ({"OTHER": "other"}, "from-config"),
            ({"SCF_FUNCTIONNAME": ""}, "from-config"),
        ):
            with self.subTest(environ=environ):
                identity = Identity("from-config", "v1.0.0")
                identity.read_identity(environ)
                self.assertEqual(identity.node_id, expected)

    def test_a_name_once_given_stays_when_the_variable_is_gone(self) -> None:
        self.identity.read_identity({"SCF_FUNCTIONNAME": "scf"})
        self.identity.read_identity({})
        self.assertEqual(self.identity.node_id, "scf")
