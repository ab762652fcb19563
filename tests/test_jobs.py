"""Tests for scfd.triggers.timer.jobs, with the table of intervals counted out instead of computed."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import settings, strategies
from twisted.trial.unittest import SynchronousTestCase

from scfd.events.tasks import EMPTY_SNAPSHOT, MANY_JOBS, TaskSnapshot
from scfd.triggers.timer.jobs import is_due, timer_payload
from tests.properties import given

UTC = timezone.utc


def due_by_counting(number: int, unit: str, moment: datetime) -> bool:
    """The table: count from its zero in steps of the interval, and see whether the moment is met."""
    utc = moment.astimezone(UTC)
    day, clock = utc.date().toordinal(), (utc.hour, utc.minute)
    if unit == "m":
        return utc.minute in range(0, 60, number)
    if unit == "h":
        return clock in [(hour, 0) for hour in range(0, 24, number)]
    if unit == "d":
        return clock == (0, 0) and day in range(date(1970, 1, 1).toordinal(), date.max.toordinal(), number)
    if unit == "w":
        # 1970-01-05 was a Monday, and so is every seventh day after it.
        return clock == (0, 0) and day in range(
            date(1970, 1, 5).toordinal(), date.max.toordinal(), 7 * number
        )
    return clock == (0, 0) and utc.day == 1 and utc.month in range(number, 13, number)


#: Often at midnight, and often on the first of a month or on a Monday, where intervals fall due.
moments = strategies.builds(
    lambda day, hour, minute, second: datetime(
        day.year, day.month, day.day, hour, minute, second, tzinfo=UTC
    ),
    strategies.dates(date(1970, 1, 5), date(2099, 12, 31))
    | strategies.dates(date(1970, 2, 1), date(2099, 12, 31)).map(lambda day: day.replace(day=1))
    | strategies.dates(date(1970, 2, 1), date(2099, 12, 31)).map(
        lambda day: day - timedelta(days=day.weekday())
    ),
    strategies.just(0) | strategies.integers(0, 23),
    strategies.just(0) | strategies.integers(0, 59),
    strategies.just(0) | strategies.integers(0, 59),
)
zones = strategies.sampled_from(
    [UTC, ZoneInfo("Asia/Shanghai"), ZoneInfo("America/St_Johns"), ZoneInfo("Asia/Kathmandu")]
)


class IsDueTests(SynchronousTestCase):
    @settings(max_examples=500)
    @given(strategies.integers(1, 70), strategies.sampled_from("mhdwM"), moments, zones)
    def test_the_table(self, number: int, unit: str, moment: datetime, zone: ZoneInfo) -> None:
        expected = due_by_counting(number, unit, moment)
        self.assertEqual(is_due(f"{number}{unit}", moment), expected)
        self.assertEqual(is_due(f"{number}{unit}", moment.astimezone(zone)), expected)

    def test_examples(self) -> None:
        for interval, moment, expected in (
            ("1m", "2025-01-01T00:01", True),
            ("5m", "2025-01-01T00:25", True),
            ("5m", "2025-01-01T00:26", False),
            ("7m", "2025-01-01T01:00", True),
            ("90m", "2025-01-01T01:30", False),
            ("1h", "2025-01-01T07:00", True),
            ("4h", "2025-01-01T07:00", False),
            ("4h", "2025-01-01T08:00", True),
            ("1d", "2025-01-01T00:00", True),
            ("1d", "2025-01-01T01:00", False),
            ("2d", "1970-01-03T00:00", True),
            ("2d", "1970-01-04T00:00", False),
            ("1w", "2025-01-06T00:00", True),
            ("1w", "2025-01-05T00:00", False),
            ("2w", "1970-01-12T00:00", False),
            ("2w", "1970-01-19T00:00", True),
            ("1M", "2025-02-01T00:00", True),
            ("3M", "2025-03-01T00:00", True),
            ("3M", "2025-04-01T00:00", False),
            ("3M", "2025-03-02T00:00", False),
            ("13M", "2025-01-01T00:00", False),
        ):
            with self.subTest(interval=interval, moment=moment):
                self.assertEqual(is_due(interval, datetime.fromisoformat(f"{moment}+00:00")), expected)

    def test_anything_else_is_never_due(self) -> None:
        midnight = datetime(2029, 1, 1, tzinfo=UTC)  # a Monday: every right interval of 1 is due
        for interval in (
            *(
                "",
                "m",
                "1",
                "0m",
                "-1m",
                "+1m",
                "1.0m",
                "1 m",
                " 1m",
                "1m ",
                "1m\n",
                "1min",
                "1s",
                "1y",
                "1H",
            ),
            *("\uff11m", "\u0663m", "1m1h", "0x1m", "1_0m", None, 1, 1.0, True, ["1m"], {"1m": 1}, b"1m"),
        ):
            with self.subTest(interval=interval):
                self.assertFalse(is_due(interval, midnight))

    def test_a_number_of_any_length(self) -> None:
        # Longer than what int() takes (4,300 digits): due where 0 % N is.
        for digits in (20, 10_000):
            number = "9" * digits
            self.assertTrue(is_due(f"{number}m", datetime(2025, 1, 1, 5, 0, tzinfo=UTC)))
            self.assertFalse(is_due(f"{number}m", datetime(2025, 1, 1, 5, 1, tzinfo=UTC)))
            self.assertFalse(is_due(f"{number}d", datetime(2025, 1, 1, tzinfo=UTC)))

    @given(strategies.text() | strategies.from_regex(r"\A[0-9]*[a-zA-Z]?\Z"), moments)
    def test_never_raises(self, interval: str, moment: datetime) -> None:
        is_due(interval, moment)


def a_task(task_id: str, params: object, invalid: int = 0) -> dict[str, Any]:
    return {"task_id": task_id, "invalid": invalid, "task_params": params}


def with_intervals(task_id: str, *intervals: object, invalid: int = 0) -> dict[str, Any]:
    return a_task(task_id, json.dumps({"symbol": "BTC-USDT", "intervals": intervals}), invalid)


class TimerPayloadTests(SynchronousTestCase):
    def payload(self, *tasks: dict[str, Any], moment: str = "2025-01-01T00:05:00+00:00") -> dict[str, Any]:
        """The payload as the plugin sees it; its JSON has to say the same."""
        payload = timer_payload(TaskSnapshot(tasks), datetime.fromisoformat(moment))
        value, decoded = payload.value(), json.loads(b"".join(payload.parts))
        self.assertEqual(json.loads(json.dumps(value)), decoded)
        assert isinstance(decoded, dict)
        return decoded

    def test_no_tasks(self) -> None:
        payload = timer_payload(EMPTY_SNAPSHOT, datetime(2025, 1, 1, tzinfo=UTC))
        self.assertEqual(payload.value(), {"tasks": (), "tasks_md5": "empty"})
        self.assertEqual(b"".join(payload.parts), b'{"tasks":[],"tasks_md5":"empty"}')

    def test_the_snapshot(self) -> None:
        tasks = [a_task("b", "{}"), a_task("a", None, invalid=1)]
        self.assertEqual(self.payload(*tasks), {"tasks": tasks, "tasks_md5": TaskSnapshot(tuple(tasks)).md5})

    def test_jobs_are_the_pairs_that_are_due(self) -> None:
        first, second = with_intervals("a", "1m", "5m", "1h"), with_intervals("b", "2m", "1m")
        self.assertEqual(
            self.payload(first, second)["jobs"],
            [
                {"task": first, "interval": "1m"},
                {"task": first, "interval": "5m"},
                {"task": second, "interval": "1m"},
            ],
        )

    def test_an_empty_list_of_jobs_when_nothing_is_due(self) -> None:
        self.assertEqual(self.payload(with_intervals("a", "7m"))["jobs"], [])
        self.assertEqual(self.payload(with_intervals("a"))["jobs"], [])

    def test_tasks_without_intervals_are_no_jobs(self) -> None:
        task = with_intervals("a", "1m")
        others = [
            a_task("b", params)
            for params in (
                "{}",
                "[]",
                "1m",
                "",
                None,
                7,
                {"intervals": ["1m"]},
                '{"intervals": "1m"}',
                "[" * 9999,
            )
        ]
        self.assertEqual(self.payload(*others, task)["jobs"], [{"task": task, "interval": "1m"}])
        self.assertNotIn("jobs", self.payload(*others))

    def test_invalid_tasks_are_no_jobs(self) -> None:
        invalid = with_intervals("a", "1m", invalid=1)
        self.assertNotIn("jobs", self.payload(invalid))
        valid = with_intervals("b", "1m")
        self.assertEqual(self.payload(invalid, valid)["jobs"], [{"task": valid, "interval": "1m"}])

    def test_unusable_intervals_are_left_out(self) -> None:
        task = with_intervals("a", None, 5, ["1m"], "soon", "1m")
        self.assertEqual(self.payload(task)["jobs"], [{"task": task, "interval": "1m"}])

    def test_half_a_surrogate_pair(self) -> None:
        # Such as '{"a": "\\ud800"}' inside the JSON of a heartbeat's answer.
        self.assertNotIn("jobs", self.payload(a_task("a", '{"a": "\ud800", "intervals": ["1m"]}')))

    def test_a_task_list_is_neither_encoded_nor_copied_for_each_event(self) -> None:
        snapshot = TaskSnapshot(tuple(with_intervals(f"t{number}", "1m", "1h") for number in range(100)))
        first, second = (
            timer_payload(snapshot, datetime(2025, 1, 1, 1, minute, tzinfo=UTC)) for minute in (1, 2)
        )
        for one, other in zip(first.parts, second.parts, strict=True):
            self.assertTrue(one is other or len(one) < 100, one)
        self.assertIs(first.value()["jobs"], second.value()["jobs"])

    def test_many_jobs_are_made_when_they_are_read(self) -> None:
        count = MANY_JOBS // 2 + 1
        tasks = tuple(with_intervals(f"t{number}", "1m", "7h", "1h") for number in range(count))
        jobs = timer_payload(TaskSnapshot(tasks), datetime(2025, 1, 1, 1, tzinfo=UTC)).value()["jobs"]
        first = {"task": tasks[0], "interval": "1m"}
        last = {"task": tasks[-1], "interval": "1h"}
        self.assertEqual(len(jobs), 2 * count)
        self.assertEqual((jobs[0], jobs[count - 1]["task"], jobs[-1]), (first, tasks[-1], last))
        self.assertEqual(jobs[count - 1 : count + 1], [jobs[count - 1], jobs[count]])
        self.assertEqual([job["interval"] for job in jobs], ["1m"] * count + ["1h"] * count)
        self.assertIn(first, jobs)
        self.assertRaises(IndexError, lambda: jobs[2 * count])

    def test_each_moment_anew(self) -> None:
        task = with_intervals("a", "1m", "1h")
        snapshot = TaskSnapshot((task,))
        jobs = [
            timer_payload(snapshot, datetime(2025, 1, 1, 1, minute, tzinfo=UTC)).value()["jobs"]
            for minute in (59, 0)
        ]
        self.assertEqual([[job["interval"] for job in due] for due in jobs], [["1m"], ["1m", "1h"]])

    @given(
        strategies.lists(
            strategies.lists(
                strategies.sampled_from(["1m", "5m", "1h", "1d", "1w", "1M", "0m", "x"]), max_size=4
            ),
            max_size=5,
        ),
        moments,
    )
    def test_json_and_value_agree(self, intervals: list[list[str]], moment: datetime) -> None:
        tasks = [with_intervals(f"t{index}", *some) for index, some in enumerate(intervals)]
        payload = self.payload(*tasks, moment=moment.isoformat())
        expected = [
            {"task": task, "interval": interval}
            for task, some in zip(tasks, intervals, strict=True)
            for interval in some
            if interval not in ("0m", "x")
            and due_by_counting(1 if interval != "5m" else 5, interval[-1], moment)
        ]
        self.assertEqual(payload.get("jobs", []), expected)
        self.assertEqual("jobs" in payload, bool(tasks))
