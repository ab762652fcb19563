"""Logging in to real nats-servers, in each of the ways there are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nkeys

from scfd.config import NatsTlsSettings
from scfd.errors import StartupError
from tests.certificates import make_certificate
from tests.integration.nats_servers import Server
from tests.integration.test_nats import NatsCase


def make_seed() -> tuple[str, str]:
    """The seed of a user's NKey, and its public key."""
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    return seed.decode(), nkeys.from_seed(bytearray(seed)).public_key.decode()


class LoginTests(NatsCase):
    async def begin(self) -> None:
        """Each test starts a server of its own."""

    async def run_server(self, *options: str) -> None:
        self.server = Server(Path(self.mktemp()), *options)
        self.addCleanup(self.server.clean_up)
        await self.server.start()

    async def gets_in(self, **settings: Any) -> None:
        node = self.node(stream="T", subject="t.>", create_stream=True, **settings)
        await self.bound(node)
        await node.stop()

    async def is_refused(self, problem: str, **settings: Any) -> None:
        node = self.node(stream="T", subject="t.>", create_stream=True, **settings)
        await self.so(lambda: any(problem in text for text in node.problems), problem)
        for secret in ("wrong", "s3cret"):
            self.assertNotIn(secret, " ".join(node.problems))
        await node.stop()

    async def test_user_and_password(self) -> None:
        await self.run_server("--user", "me", "--pass", "s3cret/@")
        await self.gets_in(user="me", password="s3cret/@")
        url = self.server.url.replace("//", "//me:s3cret%2F%40@")
        await self.gets_in(url=url)
        await self.is_refused("Authorization Violation", user="me", password="wrong")
        await self.is_refused("Authorization Violation", url=self.server.url.replace("//", "//me:wrong@"))

    async def test_token(self) -> None:
        await self.run_server("--auth", "s3cret")
        await self.gets_in(token="s3cret")
        await self.gets_in(url=self.server.url.replace("//", "//s3cret@"))
        await self.is_refused("Authorization Violation", token="wrong")

    async def test_nkey(self) -> None:
        seed, public = make_seed()
        config = Path(self.mktemp())
        config.write_text(f"authorization: {{users: [{{nkey: {public}}}]}}\n")
        await self.run_server("-c", str(config))
        await self.gets_in(nkey=seed)
        file = Path(self.mktemp())
        file.write_text(seed)
        await self.gets_in(nkey=str(file))
        await self.is_refused("Authorization Violation", nkey=make_seed()[0])

    async def test_tls(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        cert, key = make_certificate(folder)
        await self.run_server("--tls", "--tlscert", cert, "--tlskey", key, "--tlsverify", "--tlscacert", cert)
        await self.gets_in(tls=NatsTlsSettings(ca=cert, cert=cert, key=key))
        await self.is_refused("can't connect", tls=NatsTlsSettings(cert=cert, key=key))
        await self.is_refused("can't connect", tls=NatsTlsSettings(ca=cert))

    async def test_no_login_in_clear_where_tls_is_wanted(self) -> None:
        await self.run_server("--user", "me", "--pass", "s3cret")
        login = {"user": "me", "password": "s3cret"}
        await self.is_refused("does not offer TLS", tls=NatsTlsSettings(), **login)
        await self.is_refused("does not offer TLS", url=self.server.url.replace("nats:", "tls:"), **login)
        await self.gets_in(**login)

    def test_files_that_can_not_be_read(self) -> None:
        for settings, text in (
            ({"credentials": "missing.creds"}, "NATS: credentials: missing.creds: No such file or directory"),
            ({"nkey": "missing.nk"}, "NATS: nkey: missing.nk: No such file or directory"),
            ({"tls": NatsTlsSettings(ca="missing.pem")}, "NATS: tls.ca: missing.pem: FileNotFoundError"),
        ):
            error = self.assertRaises(StartupError, self.node, **settings)
            self.assertTrue(str(error).startswith(text), error)
