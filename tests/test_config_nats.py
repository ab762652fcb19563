"""Tests for scfd.config.nats: settings of NATS triggers, and those that contradict each other."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies
from twisted.trial.unittest import SynchronousTestCase

from scfd.config import Config, NatsSettings, load
from scfd.config.nats import subject_matches, subjects_overlap
from scfd.errors import ConfigError
from tests.properties import given

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

    def trigger(self, more: str) -> NatsSettings:
        [trigger] = self.load(f"{REQUIRED}, {more}").triggers
        assert isinstance(trigger, NatsSettings)
        return trigger

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

    def test_consumers(self) -> None:
        for more in (
            "deliver: 1000, max_ack_pending: -1, domain: hub, inbox_prefix: _INBOX_q",
            "deliver: last_per_subject, api_prefix: JS.q.API.",
        ):
            self.load(f"{REQUIRED}, {more}")
        trigger = self.trigger("deliver: 2026-01-31T08:00:00+08:00, api_prefix: JS.q.API.")
        self.assertEqual((trigger.deliver, trigger.api), ("2026-01-31T00:00:00Z", "JS.q.API"))
        trigger = self.trigger("deliver: 2026-01-31T08:00:00.123456789Z")
        self.assertEqual(trigger.deliver, "2026-01-31T08:00:00.123456Z")
        self.assertEqual(
            self.trigger("deliver: 2026-01-31T08:00:00.5Z").deliver, "2026-01-31T08:00:00.500000Z"
        )
        self.assertEqual(self.trigger("domain: hub").api, "$JS.hub.API")
        deliver = "new, all, last, last_per_subject, a stream sequence such as 1000, or a time with a zone"
        for wrong in ("first", "0", "2026-01-31T08:00:00", "-1"):
            text = f"deliver: found {wrong}; expected {deliver} such as 2026-01-31T08:00:00Z"
            self.assertEqual(self.mistake(f"deliver: {wrong}").replace("'", ""), text)
        self.assertEqual(
            self.mistake("domain: hub, api_prefix: JS.q.API"),
            "api_prefix: set beside domain; expected one of the two",
        )

    def test_which_keys_the_file_sets(self) -> None:
        self.assertEqual(
            self.trigger("ack_wait: 30, max_deliver: null").explicit,
            {"url", "stream", "subject", "consumer_name", "ack_wait"},
        )
        made = NatsSettings("q", "nats://h", "S", "c", "s.>", ack_wait=7)
        self.assertEqual(made.explicit & {"ack_wait", "max_deliver"}, {"ack_wait"})

    def test_lower_bounds(self) -> None:
        for key, least in (("ack_wait", 0.5), ("fetch_max_wait", 0.1)):
            self.load(f"{REQUIRED}, {key}: {least}")
            self.assertEqual(
                self.mistake(f"{key}: 1e-10"),
                f"{key}: found '1e-10'; expected seconds, such as 9 or 0.5, or text such as "
                f'"1m30s" or "500ms"; at least {least}, up to 365 days',
            )
        self.assertIn("at least 0.05", self.mistake("backoff: [0]"))

    def test_lower_bounds_elsewhere(self) -> None:
        adapter = "adapter: {http: {name: p, url: 'http://h', health_interval: 1e-9}}"
        for text in ("heartbeat: {interval: 1e-10}", adapter):
            path = Path(self.mktemp())
            path.write_text(text)
            error = self.assertRaises(ConfigError, load, str(path), {})
            self.assertIn("at least 0.1", str(error))

    def test_subjects(self) -> None:
        several = REQUIRED.replace("subject: s.>", "subjects: [s.a, s.b.*]")
        [trigger] = self.load(several).triggers
        assert isinstance(trigger, NatsSettings)
        self.assertEqual(trigger.filters, ("s.a", "s.b.*"))
        where = "triggers[0].settings"
        self.assertEqual(
            self.mistakes(REQUIRED.replace("subject: s.>, ", "")),
            [
                f"{where}.subject: is missing; expected a subject, such as orders.new, orders.* or orders.>, "
                "or subjects, a list of them"
            ],
        )
        self.assertEqual(
            self.mistake("subjects: [s.a]"), "subjects: set beside subject; expected one of the two"
        )
        self.assertEqual(
            self.mistakes(several.replace("s.a", "s.>")),
            [f"{where}.subjects: s.> and s.b.* overlap; expected subjects that have no message in common"],
        )
        self.assertIn("s.b.c is among the messages", self.mistakes(f"{several}, dead_letter: s.b.c")[0])

    def test_bind(self) -> None:
        bound = REQUIRED.replace("subject: s.>", "bind: true")
        self.load(bound, f"{REQUIRED.replace('S', 'T')}, bind: true, backoff: [1, 2, 3, 4, 5]")
        for key, value in (
            ("ack_wait", 30),
            ("max_deliver", 3),
            ("deliver", "all"),
            ("create_stream", "true"),
        ):
            self.assertEqual(
                self.mistakes(f"{bound}, {key}: {value}"),
                [
                    f"triggers[0].settings.{key}: set beside bind: true, which leaves the consumer as it is; "
                    "expected one of the two"
                ],
            )

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
            ("a.>", "a.*", True),
            ("a.*", "a.*", True),
            ("a.*", "a.>", False),
            ("a.b", "a.*", False),
            ("a.>", "a.>", True),
        ):
            self.assertEqual(subject_matches(pattern, subject), matches, (pattern, subject))

    def test_overlaps(self) -> None:
        for one, other, overlaps in (
            ("a.*", "*.b", True),
            ("a.>", "a.b.c", True),
            ("a.b", "a.c", False),
            ("a.*", "a.b.c", False),
            ("a.>", "a", False),
        ):
            self.assertEqual(subjects_overlap(one, other), overlaps, (one, other))
            self.assertEqual(subjects_overlap(other, one), overlaps, (other, one))

    @given(strategies.lists(strategies.sampled_from("ab"), min_size=1, max_size=4), strategies.data())
    def test_what_a_pattern_is_made_of_matches_it(
        self, subject: list[str], data: strategies.DataObject
    ) -> None:
        pattern = [data.draw(strategies.sampled_from([token, "*"])) for token in subject]
        if data.draw(strategies.booleans()):
            pattern[-1] = ">"
        self.assertTrue(subject_matches(".".join(pattern), ".".join(subject)))
