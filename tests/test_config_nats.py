"""Tests for scfd.config.nats and cross_nats: settings, and what they must not say together."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, strategies
from twisted.trial.unittest import SynchronousTestCase

from scfd.config import Config, load
from scfd.config.cross import subject_matches
from scfd.errors import ConfigError

REQUIRED = "url: 'nats://h', stream: S, subject: s.>, consumer_name: c"


class NatsSettingsTests(SynchronousTestCase):
    def load(self, *settings: str) -> Config:
        lines = [
            f"  - {{name: q{number}, type: nats, settings: {{{text}}}}}"
            for number, text in enumerate(settings)
        ]
        path = Path(self.mktemp())
        path.write_text("triggers:\n" + "\n".join(lines) + "\n")
        return load(str(path), {})

    def mistakes(self, *settings: str) -> list[str]:
        error = self.assertRaises(ConfigError, self.load, *settings)
        return [f"{mistake.key}: {mistake.text}" for mistake in error.mistakes]

    def mistake(self, more: str) -> str:
        [only] = self.mistakes(f"{REQUIRED}, {more}")
        return only.removeprefix("triggers[0].settings.")

    def test_good_ones(self) -> None:
        for more in (
            "user: a, password: b",
            "token: t, concurrency: 64, ack: double, tasks: digest",
            "nkey: SUA, backoff: [1, 5s], max_deliver: 3",
            "credentials: f.creds, tls: {ca: ca.pem, cert: c.pem, key: k.pem, handshake_first: true}",
            "dead_letter: dead.s, max_deliver: 1, backoff: [1], create_stream: true, timeout: 5m",
            "backoff: [1, 2, 3, 4], max_deliver: -1",
        ):
            with self.subTest(more):
                self.load(f"{REQUIRED}, {more}")

    def test_single_values(self) -> None:
        self.assertEqual(
            self.mistake("concurrency: 0"),
            "concurrency: found 0; expected a whole number, 1 to 10000",
        )
        self.assertEqual(
            self.mistake("dead_letter: dead.>"),
            "dead_letter: found 'dead.>'; expected a subject without * and >, such as dead.orders",
        )
        self.assertEqual(self.mistake("ack: twice"), "ack: found 'twice'; expected single or double")

    def test_dead_letters(self) -> None:
        self.assertEqual(
            self.mistake("dead_letter: d, max_deliver: -1"),
            "dead_letter: set with max_deliver -1; nothing would ever be its last delivery",
        )
        self.assertEqual(
            self.mistake("dead_letter: s.dead"),
            "dead_letter: s.dead is among the messages of this trigger, s.>; expected another subject, "
            "or they would come again and again",
        )

    def test_backoff(self) -> None:
        self.assertEqual(
            self.mistake("backoff: [1, 5, 30]"),
            "backoff: has 3 delays, and max_deliver 3 leaves room for 2; expected as many or fewer",
        )

    def test_logins(self) -> None:
        self.assertEqual(self.mistake("user: a"), "user: set without password; expected both or none")
        self.assertEqual(
            self.mistake("token: s3cret, nkey: s3cret"),
            "nkey: set beside token; expected one of user, token, nkey, credentials",
        )
        [text] = self.mistakes(REQUIRED.replace("//h", "//u:s3cret@h") + ", token: s3cret")
        self.assertEqual(
            text,
            "triggers[0].settings.token: set beside credentials in url; expected one of the two",
        )
        self.assertEqual(
            self.mistake("tls: {cert: c.pem}"),
            "tls: one of cert and key is set without the other; expected both or none",
        )

    def test_two_triggers_with_one_consumer(self) -> None:
        self.assertEqual(
            self.mistakes(REQUIRED, REQUIRED),
            [
                "triggers[1].settings.consumer_name: c is the consumer of trigger q0 already; "
                "expected one of its own"
            ],
        )

    def test_secrets_are_not_shown(self) -> None:
        config = self.load(f"{REQUIRED}, user: a, password: s3cret")
        self.assertNotIn("s3cret", repr(config))


class SubjectTests(SynchronousTestCase):
    def test_patterns(self) -> None:
        for pattern, subject, matches in (
            ("a.b", "a.b", True),
            ("a.b", "a.c", False),
            ("a.*", "a.c", True),
            ("a.*", "a.c.d", False),
            ("a.*", "a", False),
            ("a.>", "a.c.d", True),
            ("a.>", "a", False),
            (">", "a", True),
        ):
            self.assertEqual(subject_matches(pattern, subject), matches, (pattern, subject))

    @given(strategies.lists(strategies.sampled_from("ab"), min_size=1, max_size=4), strategies.data())
    def test_what_a_pattern_is_made_of_matches_it(
        self, subject: list[str], data: strategies.DataObject
    ) -> None:
        pattern = [data.draw(strategies.sampled_from([token, "*"])) for token in subject]
        if data.draw(strategies.booleans()):
            pattern[-1] = ">"
        self.assertTrue(subject_matches(".".join(pattern), ".".join(subject)))
