"""Tests for scfd.control_plane.signing."""

from __future__ import annotations

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

    def test_the_secret_is_not_shown(self) -> None:
        self.assertNotIn("hidden", repr(Signer("a", "hidden", lambda: 0.0)))
