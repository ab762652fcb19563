"""Tests for scfd.events.tasks."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from hypothesis import strategies
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from scfd.events.tasks import EMPTY_SNAPSHOT, TaskSnapshot, TaskStore, is_valid, read_tasks, tasks_md5
from tests.properties import given


def a_task(task_id: str, **fields: Any) -> dict[str, Any]:
    known = {"id": 0, "rule_id": "", "planned_exec_node": "", "task_params": "", "invalid": 0}
    return {**known, "task_id": task_id, **fields}


task_lists = strategies.lists(
    strategies.builds(
        a_task, strategies.text(min_size=1), invalid=strategies.sampled_from([0, 0, 1, 2, None, False, 0.0])
    )
)


class DigestTests(SynchronousTestCase):
    def test_the_example_of_the_protocol(self) -> None:
        tasks = [a_task("task-002"), a_task("task-001")]
        self.assertEqual(tasks_md5(tasks), "933de3e4a87c37ff6e7234b5eaf845d2")

    def test_empty_without_a_valid_task(self) -> None:
        self.assertEqual(tasks_md5([]), "empty")
        self.assertEqual(tasks_md5([a_task("task-001", invalid=1)]), "empty")

    def test_sorted_by_code_point(self) -> None:
        # By UTF-16 code units, as some languages sort, U+1F525 would come before U+FF61.
        ids = ["\U0001f525", "\uff61", "b", "B", "é"]
        expected = hashlib.md5("B,b,é,\uff61,\U0001f525".encode()).hexdigest()
        self.assertEqual(tasks_md5(a_task(task_id) for task_id in ids), expected)

    def test_half_a_surrogate_pair(self) -> None:
        self.assertEqual(len(tasks_md5([a_task("\ud800")])), 32)

    def test_which_tasks_are_valid(self) -> None:
        for invalid, expected in (
            (0, True),
            (None, True),
            (0.0, True),
            (1, False),
            (-1, False),
            ("0", False),
        ):
            with self.subTest(invalid=invalid):
                self.assertEqual(is_valid({"task_id": "a", "invalid": invalid}), expected)
        self.assertTrue(is_valid({"task_id": "a"}))

    def test_more_than_are_sorted_at_once(self) -> None:
        ids = [f"t{number * 7919 % 20_000}" for number in range(20_000)]
        expected = hashlib.md5(",".join(sorted(ids)).encode()).hexdigest()
        self.assertEqual(tasks_md5(a_task(task_id) for task_id in ids), expected)

    @given(task_lists, strategies.randoms())
    def test_depends_on_nothing_but_the_valid_ids(self, tasks: list[dict[str, Any]], random: Any) -> None:
        valid = [task["task_id"] for task in tasks if task["invalid"] in (0, None)]
        in_order = sorted(valid, key=lambda task_id: [ord(character) for character in task_id])
        expected = hashlib.md5(",".join(in_order).encode()).hexdigest() if valid else "empty"
        random.shuffle(tasks)
        self.assertEqual(tasks_md5(tasks), expected)


class SnapshotTests(SynchronousTestCase):
    @given(task_lists)
    def test_json_is_the_task_list(self, tasks: list[dict[str, Any]]) -> None:
        snapshot = TaskSnapshot(tuple(tasks))
        self.assertEqual(json.loads(snapshot.json), tasks)
        self.assertEqual([json.loads(encoded) for encoded in snapshot.encoded], tasks)
        self.assertEqual(snapshot.md5, tasks_md5(tasks))

    def test_empty(self) -> None:
        self.assertEqual(EMPTY_SNAPSHOT.json, b"[]")
        self.assertEqual(EMPTY_SNAPSHOT.md5, "empty")


class TaskStoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = TaskStore()

    def replace(self, tasks: list[Any]) -> list[str]:
        """:returns: what was logged."""
        with capturedLogs() as logged:
            self.store.replace(tasks)
        return [formatEvent(event) for event in logged]

    def test_empty_at_start(self) -> None:
        self.assertEqual(self.store.get_all(), ())
        self.assertEqual(self.store.current_md5(), "empty")

    def test_a_list_replaces_the_one_before(self) -> None:
        self.replace([a_task("a"), a_task("b")])
        self.replace([a_task("c")])
        self.assertEqual([task["task_id"] for task in self.store.get_all()], ["c"])
        self.assertEqual(self.store.current_md5(), tasks_md5([a_task("c")]))

    def test_an_empty_list_clears_it(self) -> None:
        self.replace([a_task("a")])
        self.assertEqual(self.replace([]), ["0 tasks received"])
        self.assertEqual(self.store.get_all(), ())
        self.assertEqual(self.store.current_md5(), "empty")

    def test_unknown_fields_and_invalid_tasks_are_kept(self) -> None:
        tasks = [a_task("a", data_type="kline"), a_task("b", invalid=1)]
        self.replace(tasks)
        self.assertEqual(list(self.store.get_all()), tasks)

    def test_entries_without_a_task_id_are_left_out(self) -> None:
        unusable = [{}, {"task_id": ""}, {"task_id": True}, {"task_id": None}, None, "a", [1]]
        self.assertEqual(
            self.replace([*unusable, a_task("a")]),
            ["left out 7 of 8 task instances: they have no task_id", "1 task received: a"],
        )
        self.assertEqual(list(self.store.get_all()), [a_task("a")])

    def test_a_list_without_a_usable_entry_changes_nothing(self) -> None:
        self.replace([a_task("a")])
        self.assertEqual(
            self.replace([{}, {"task_id": 1.5}]),
            ["left out 2 of 2 task instances: they have no task_id; the task list stays as it is"],
        )
        self.assertEqual([task["task_id"] for task in self.store.get_all()], ["a"])

    def test_an_integer_id_is_taken_as_its_text(self) -> None:
        self.replace([{"task_id": 7}, {"task_id": 10**5000}])
        self.assertEqual(list(self.store.get_all()), [a_task("7")])
        self.assertEqual(self.store.current_md5(), tasks_md5([a_task("7")]))

    def test_of_two_entries_with_one_id_the_last_stands(self) -> None:
        self.replace([a_task("7", rule_id="old"), a_task("b"), {"task_id": 7, "rule_id": "new"}])
        self.assertEqual(
            [(task["task_id"], task["rule_id"]) for task in self.store.get_all()], [("7", "new"), ("b", "")]
        )
        self.assertEqual(self.store.current_md5(), tasks_md5([a_task("7"), a_task("b")]))

    def test_a_flag_that_is_text_is_the_number_that_it_means(self) -> None:
        texts = ("0", "", "false", "False", "1", "true", " 0")
        snapshot = read_tasks([{"task_id": f"t{n}", "invalid": text} for n, text in enumerate(texts)])
        assert snapshot is not None
        self.assertEqual([task["invalid"] for task in snapshot.tasks], [0, 0, 0, 0, 1, 1, 0])

    def test_what_is_missing_or_null_has_its_zero_value(self) -> None:
        self.replace([{"task_id": "a", "invalid": None, "other": None}])
        self.assertEqual(list(self.store.get_all()), [a_task("a", other=None)])
        self.assertEqual(json.loads(self.store.snapshot.json), [a_task("a", other=None)])

    def test_a_snapshot_taken_before_stays_as_it_was(self) -> None:
        self.replace([a_task("a")])
        before = self.store.snapshot
        self.replace([a_task("b")])
        self.assertEqual([task["task_id"] for task in before.tasks], ["a"])

    def test_says_so_only_when_something_changed(self) -> None:
        self.assertEqual(self.replace([a_task("a"), a_task("b")]), ["2 tasks received: a, b"])
        self.assertEqual(self.replace([a_task("a"), a_task("b")]), [])

    def test_says_nothing_when_the_digest_stays(self) -> None:
        self.replace([a_task("a")])
        self.assertEqual(self.replace([a_task("a", task_params="{}")]), [])
        self.assertEqual(self.store.get_all()[0]["task_params"], "{}")

    def test_a_list_that_was_read_elsewhere(self) -> None:
        snapshot = read_tasks([{"task_id": "a"}])
        self.store.take(snapshot)
        self.store.take(None)
        self.assertIs(self.store.snapshot, snapshot)

    def test_a_long_list_is_cut_in_the_log(self) -> None:
        self.assertEqual(
            self.replace([a_task(f"t{number}") for number in range(9)]),
            ["9 tasks received: t0, t1, t2, t3, t4, t5, t6, t7, …"],
        )

    def test_by_node(self) -> None:
        mine, other = a_task("a", planned_exec_node="me"), a_task("b", planned_exec_node="you")
        self.replace([mine, other, a_task("c")])
        self.assertEqual(self.store.get_by_node("me"), (mine,))
        self.assertEqual(self.store.get_by_node("nobody"), ())
