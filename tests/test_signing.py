"""Tests for scfd.control_plane.signing."""

from __future__ import annotations

from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from scfd.control_plane.signing import Signer


class SignerTests(SynchronousTestCase):
    def test_the_header(self) -> None:
        """As openssl works it out."""
        signer = Signer("collector", "collector-secret", lambda: 1_700_000_000.9)
        value = signer.sign(b'{"node_id":"scf-event"}')
        # KEY: printf 'moox-auth-v1/collector/1700000000/1800' | openssl dgst -sha256 -hmac collector-secret
        # signature: printf '{"node_id":"scf-event"}' | openssl dgst -sha256 -hmac $KEY
        signature = "0202dd326ed3173b7223fd12abc0b79419beb156769060df24369c349fb23caf"
        self.assertEqual(value, f"moox-auth-v1/collector/1700000000/1800/{signature}")

    def test_the_body_counts(self) -> None:
        signer = Signer("a", "s", lambda: 0.0)
        self.assertNotEqual(signer.sign(b"1"), signer.sign(b"2"))
        self.assertEqual(signer.sign(b"1"), signer.sign(b"1"))

    def test_what_a_server_takes(self) -> None:
        made = Signer("a", "s", lambda: 1000.0).sign(b"body")
        for now, body, keys, expected in (
            (1000, b"body", ("a", "s"), True),
            (700, b"body", ("a", "s"), True),
            (699, b"body", ("a", "s"), False),
            (1000 + 1800 + 300, b"body", ("a", "s"), True),
            (1000 + 1800 + 301, b"body", ("a", "s"), False),
            (1000, b"other", ("a", "s"), False),
            (1000, b"body", ("b", "s"), False),
            (1000, b"body", ("a", "t"), False),
        ):
            with self.subTest(now=now, body=body, keys=keys):
                self.assertEqual(Signer(*keys, partial(float, now)).verifies(made, body), expected)

    def test_what_a_server_does_not_take(self) -> None:
        signer = Signer("a", "s", lambda: 1000.0)
        made = signer.sign(b"")
        self.assertTrue(signer.verifies(made, b""))
        longer = made.replace("/1800/", "/1801/")
        for header in ("", "x", made + "/x", made[:-1], longer, "moox-auth-v1/a/1/2"):
            self.assertFalse(signer.verifies(header, b""), header)
        for lifetime in (0, 1801):
            self.assertFalse(signer.verifies(signer._signed(f"moox-auth-v1/a/1000/{lifetime}", b""), b""))

    def test_the_secret_is_not_shown(self) -> None:
        self.assertNotIn("hidden", repr(Signer("a", "hidden", lambda: 0.0)))
