"""Tests for scfd.events.event and scfd.errors: the values that travel through a node."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from hypothesis import strategies
from twisted.trial.unittest import SynchronousTestCase

from scfd.errors import ConfigError, Mistake, describe
from scfd.events.event import TaskResult, TaskStatus, TriggerEvent, TriggerResponse
from scfd.events.tasks import TaskSnapshot
from scfd.triggers.timer.jobs import timer_payload
from tests.properties import given
from tests.test_wire import json_values

SNAPSHOT = TaskSnapshot(({"task_id": "task-001", "invalid": 0}, {"task_id": "task-002", "invalid": 1}))
TASKS = [{"task_id": "task-001", "invalid": 0}, {"task_id": "task-002", "invalid": 1}]


class TaskResultTests(SynchronousTestCase):
    def test_usable(self) -> None:
        for status in (TaskStatus.SUCCESS, 4, 0, 99, -1):
            self.assertTrue(TaskResult("task-001", status).is_usable())

    def test_not_usable(self) -> None:
        task_id: Any
        status: Any
        for task_id, status in (("", 2), (None, 2), (7, 2), ("a", "2"), ("a", 2.0), ("a", True), ("a", None)):
            with self.subTest(task_id=task_id, status=status):
                self.assertFalse(TaskResult(task_id, status).is_usable())

    def test_statuses_are_those_of_the_wire(self) -> None:
        self.assertEqual(
            {status.name: int(status) for status in TaskStatus},
            {"PENDING": 0, "RUNNING": 1, "SUCCESS": 2, "PARTLY_FAILED": 3, "FAILED": 4},
        )

    def test_a_response_takes_any_iterable(self) -> None:
        result = TaskResult("a", 2)
        self.assertEqual(TriggerResponse(iter([result])).task_results, (result,))
        self.assertEqual(TriggerResponse().task_results, ())


class TriggerEventTests(SynchronousTestCase):
    def test_timer(self) -> None:
        payload = {"tasks": [], "tasks_md5": "empty"}
        event = TriggerEvent("timer", "every-minute", payload, {"nodeID": "n"}, SNAPSHOT)
        self.assertEqual(
            json.loads(event.to_json()),
            {"type": "timer", "name": "every-minute", "payload": payload, "metadata": {"nodeID": "n"}},
        )

    def test_timer_with_tasks_and_jobs_at_the_top_level_too(self) -> None:
        task = {"task_id": "a", "task_params": '{"intervals":["1m"]}'}
        snapshot = TaskSnapshot((task,))
        payload = timer_payload(snapshot, datetime(2025, 1, 1, tzinfo=timezone.utc))
        event = TriggerEvent(
            "timer", "t", payload.value, {}, snapshot, payload.parts, jobs_json=payload.jobs
        ).at_node({"nodeID": "n"}, snapshot)
        decoded = json.loads(b"".join(event.to_json_parts(both=True)))
        jobs = [{"task": task, "interval": "1m"}]
        self.assertEqual((decoded["tasks"], decoded["jobs"]), ([task], jobs))
        self.assertEqual(decoded["tasks_md5"], snapshot.md5)
        self.assertEqual(decoded["payload"], {name: decoded[name] for name in ("tasks", "tasks_md5", "jobs")})
        # The same objects, so that no list is encoded or copied a second time.
        for part in (snapshot.json, *payload.jobs):
            self.assertEqual(sum(one is part for one in event.to_json_parts(both=True)), 2)
            self.assertEqual(sum(one is part for one in event.to_json_parts()), 1)

    def test_timer_without_due_jobs_has_none_at_the_top_level(self) -> None:
        payload = timer_payload(SNAPSHOT, datetime(2025, 1, 1, 0, 1, tzinfo=timezone.utc))
        event = TriggerEvent("timer", "t", payload.value, {}, SNAPSHOT, payload.parts, jobs_json=payload.jobs)
        decoded = json.loads(b"".join(event.to_json_parts(both=True)))
        self.assertEqual(set(decoded), {"type", "name", "payload", "metadata", "tasks", "tasks_md5"})

    def test_nats_has_the_tasks_beside_the_payload(self) -> None:
        event = TriggerEvent("nats", 'a "queue"', "text", {"subject": "s.é"}, SNAPSHOT)
        self.assertEqual(
            json.loads(event.to_json()),
            {
                "type": "nats",
                "name": 'a "queue"',
                "payload": "text",
                "metadata": {"subject": "s.é"},
                "tasks": TASKS,
                "tasks_md5": SNAPSHOT.md5,
            },
        )

    def test_ready_made_json_is_copied_in(self) -> None:
        event = TriggerEvent("nats", "queue", {"a": 1}, payload_json=b'{ "a": 1.0 }')
        self.assertIn(b'"payload":{ "a": 1.0 }', event.to_json())

    def test_ready_made_parts_are_not_copied(self) -> None:
        part = b"1" * 100
        event = TriggerEvent("timer", "t", 0, payload_json=(b"[", part, b"]"))
        self.assertTrue(any(one is part for one in event.to_json_parts()))
        self.assertEqual(json.loads(event.to_json())["payload"], [int(part)])
        event = TriggerEvent("nats", "q", 0, snapshot=SNAPSHOT)
        self.assertTrue(any(one is SNAPSHOT.json for one in event.to_json_parts()))

    def test_tasks_and_digest_are_those_of_the_snapshot(self) -> None:
        event = TriggerEvent("timer", "t", snapshot=SNAPSHOT)
        self.assertEqual(list(event.tasks), TASKS)
        self.assertEqual(event.tasks_md5, SNAPSHOT.md5)

    @given(json_values, strategies.text(), strategies.dictionaries(strategies.text(), strategies.text()))
    def test_is_json_whatever_is_in_it(self, payload: Any, name: str, metadata: dict[str, str]) -> None:
        event = TriggerEvent("nats", name, payload, metadata, SNAPSHOT)
        decoded = json.loads(event.to_json())
        self.assertEqual(
            (decoded["payload"], decoded["name"], decoded["metadata"]), (payload, name, metadata)
        )


class ErrorTests(SynchronousTestCase):
    def test_a_mistake_is_one_line(self) -> None:
        self.assertEqual(
            str(Mistake("etc/c.yaml", 3, "triggers[0].name", "is empty")),
            "etc/c.yaml:3: triggers[0].name: is empty",
        )
        self.assertEqual(str(Mistake("etc/c.yaml", 0, "", "no such file")), "etc/c.yaml: no such file")
        self.assertEqual(str(Mistake("etc/c.yaml", 7, "", "not YAML")), "etc/c.yaml:7: not YAML")

    def test_mistakes_are_told_in_the_order_of_their_lines(self) -> None:
        error = ConfigError([Mistake("c", 10, "b", "second"), Mistake("c", 9, "z", "first")])
        self.assertEqual(str(error), "c:9: z: first\nc:10: b: second")

    def test_an_exception_in_one_line(self) -> None:
        self.assertEqual(describe(ValueError("two\n  lines")), "ValueError: two lines")
        self.assertEqual(describe(TimeoutError()), "TimeoutError")
