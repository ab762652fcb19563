"""Tests for scfd.triggers.nats.consumer_config: what a consumer gets, and what stays as it is."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies
from twisted.trial.unittest import SynchronousTestCase

from scfd.config import NatsSettings
from scfd.triggers.nats.consumer_config import (
    Terms,
    changed,
    difference,
    new_consumer,
    remarks,
    unusable,
    without_messages,
)
from tests.properties import given

SECOND = 1_000_000_000
STREAM = {"subjects": ["s.>"]}


def settings(**more: Any) -> NatsSettings:
    given: dict[str, Any] = {"name": "q", "url": "nats://h", "stream": "S", "consumer_name": "c"}
    return NatsSettings(**{**given, "subject": "s.>", **more})


def existing(**more: Any) -> dict[str, Any]:
    usual = {"ack_policy": "explicit", "ack_wait": 30 * SECOND, "max_deliver": -1, "max_ack_pending": 1000}
    return {**usual, **more}


class NewConsumerTests(SynchronousTestCase):
    def begins(self, deliver: str, floor: int | None = None, **stream: Any) -> list[Any]:
        config = new_consumer(settings(deliver=deliver), stream, floor)
        names = ("deliver_policy", "opt_start_seq", "opt_start_time")
        return [config[name] for name in names if name in config]

    def test_where_it_begins(self) -> None:
        self.assertEqual(self.begins(""), ["new"])
        self.assertEqual(self.begins("last"), ["last"])
        self.assertEqual(self.begins("7"), ["by_start_sequence", 7])
        self.assertEqual(self.begins("2026-01-31T08:00:00Z"), ["by_start_time", "2026-01-31T08:00:00Z"])
        self.assertEqual(self.begins("", retention="workqueue"), ["all"])

    def test_one_that_was_deleted_goes_on(self) -> None:
        self.assertEqual(self.begins("all", floor=41), ["by_start_sequence", 42])
        self.assertEqual(self.begins("", floor=41, retention="workqueue"), ["all"])

    def test_max_ack_pending(self) -> None:
        limits = {"consumer_limits": {"max_ack_pending": 50}}
        for more, stream, expected in (
            ({}, {}, 3210),
            ({"batch_size": 1}, {}, 1000),
            ({}, limits, 50),
            ({"max_ack_pending": 77}, limits, 77),
            ({"max_ack_pending": -1}, {}, -1),
        ):
            self.assertEqual(new_consumer(settings(**more), stream, None)["max_ack_pending"], expected)


class ChangedTests(SynchronousTestCase):
    def test_what_is_left_to_a_default_stays(self) -> None:
        self.assertIsNone(
            changed(settings(), existing(ack_wait=1, max_ack_pending=1, filter_subject="s.a"), STREAM)
        )

    def test_what_is_set_is_applied(self) -> None:
        old = existing(filter_subjects=["t.a", "s.a"], metadata={"a": "b"}, pause_until="x")
        new = changed(settings(ack_wait=2, max_deliver=5, subject="", subjects=("s.b", "s.c")), old, STREAM)
        assert new is not None
        expected = {**old, "ack_wait": 2 * SECOND, "max_deliver": 5, "filter_subjects": ["s.b", "s.c"]}
        self.assertEqual(new, expected)
        self.assertEqual(
            difference(old, new), "ack_wait 30 s -> 2 s, max_deliver -1 -> 5, subjects t.a, s.a -> s.b, s.c"
        )

    def test_its_backoff_has_the_ack_wait(self) -> None:
        old = existing(backoff=[SECOND], ack_wait=SECOND)
        self.assertIsNone(changed(settings(ack_wait=7), old, STREAM))

    def test_subjects(self) -> None:
        for subject, config, stream, changes in (
            ("s.>", {"filter_subject": "s.a"}, STREAM, False),
            ("s.a", {"filter_subject": "s.>"}, STREAM, True),
            ("s.>", {}, STREAM, False),
            ("s.a", {}, STREAM, True),
            ("s.>", {}, {}, True),  # a mirror: nobody knows its subjects
            ("s.>", {"filter_subjects": ["s.a", "t.a"]}, STREAM, True),
        ):
            new = changed(settings(subject=subject), existing(**config), stream)
            self.assertEqual(new is not None, changes, (subject, config))

    @given(strategies.data())
    def test_applied_once(self, data: strategies.DataObject) -> None:
        """A second start with the same file finds nothing left to change."""
        values = {
            "ack_wait": strategies.sampled_from([1.0, 30.0]),
            "max_deliver": strategies.sampled_from([-1, 3, 5]),
            "max_ack_pending": strategies.sampled_from([-1, 5]),
        }
        one = settings(**data.draw(strategies.fixed_dictionaries({}, optional=values)))
        subjects = data.draw(strategies.lists(strategies.sampled_from(["s.a", "t.a", "s.>"]), unique=True))
        old = existing(**({"filter_subjects": subjects} if subjects else {}))
        new = changed(one, old, STREAM)
        if new is not None:
            self.assertIsNone(changed(one, new, STREAM))


class OtherTests(SynchronousTestCase):
    def test_terms(self) -> None:
        terms = Terms.of(settings())
        self.assertEqual((terms.ack_wait, terms.max_deliver), (30, 3))
        terms.update(existing(backoff=[5 * SECOND, 2 * SECOND]))
        self.assertEqual((terms.ack_wait, terms.max_deliver), (2, -1))

    def test_unusable(self) -> None:
        self.assertIsNone(unusable(existing(max_expires=SECOND)))
        self.assertEqual(unusable(existing(ack_policy="all")), "has ack_policy all; expected explicit")

    def test_subjects_that_the_stream_does_not_have(self) -> None:
        config = existing(filter_subjects=["s.a", "q.x", "*.b"], max_deliver=3)
        stream = {"subjects": ["s.>", "t.*"]}
        self.assertEqual(without_messages(config, stream), ["q.x"])
        self.assertEqual(
            next(remarks(settings(), config, stream)),
            f"delivers q.x, and no message of stream {settings().stream} has it: those are s.>, t.*",
        )
        self.assertEqual(without_messages(config, {"sources": [{"name": "OTHER"}], **stream}), [])
        self.assertEqual(without_messages(config, {}), [])

    def test_remarks(self) -> None:
        one = settings(dead_letter="d", batch_size=20, fetch_max_wait=9, concurrency=5)
        config = existing(max_batch=2, max_expires=SECOND, max_ack_pending=4, filter_subject="s.a")
        config["inactive_threshold"] = 60 * SECOND
        self.assertEqual(
            list(remarks(one, config, {})),
            [
                "has inactive_threshold 60 s: the server deletes it when no node pulls for so long",
                "delivers s.a, narrower than the trigger's s.>, and stays like that",
                "has no max_deliver, so that no message will ever go to dead_letter",
                "has max_ack_pending 4, which limits concurrency 5",
                "has max_batch 2, which limits batch_size 20",
                "has max_expires 1 s, which limits fetch_max_wait 9 s",
            ],
        )
        self.assertEqual(
            list(remarks(settings(), existing(filter_subject="s.>", max_deliver=3), {"subjects": ["s.a"]})),
            [],
        )
