"""The task file of the development control plane."""

from __future__ import annotations

import json
import os
from pathlib import Path

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from scfd.dev.task_file import TaskFile, odd_keys, parse_tasks
from scfd.errors import ConfigError
from tests.properties import given


class ParseTests(SynchronousTestCase):
    def mistakes(self, text: str) -> list[str]:
        error = self.assertRaises(ConfigError, parse_tasks, text, "t.yaml")
        return [str(mistake) for mistake in error.mistakes]

    def test_fills_in_what_is_missing(self) -> None:
        self.assertEqual(
            (
                {"id": 1, "rule_id": "rule-001", "invalid": 0, "task_params": "{}", "task_id": "a"},
                {"id": 2, "rule_id": "rule-002", "invalid": 0, "task_params": "{}", "task_id": "b"},
            ),
            parse_tasks("[{task_id: a}, {task_id: b}]", "t.yaml"),
        )

    def test_keeps_what_is_given(self) -> None:
        text = (
            "tasks:\n- {id: 9, task_id: a, rule_id: r, invalid: 1, task_params: x,"
            " planned_exec_node: n, symbol: S}"
        )
        self.assertEqual(
            (
                {
                    "id": 9,
                    "task_id": "a",
                    "rule_id": "r",
                    "invalid": 1,
                    "task_params": "x",
                    "planned_exec_node": "n",
                    "symbol": "S",
                },
            ),
            parse_tasks(text, "t.yaml"),
        )

    def test_parameters_become_json_text(self) -> None:
        (task,) = parse_tasks("[{task_id: a, task_params: {path: /ä, n: [1, 2.5, null]}}]", "t.yaml")
        self.assertEqual({"path": "/ä", "n": [1, 2.5, None]}, json.loads(task["task_params"]))

    def test_empty_list(self) -> None:
        self.assertEqual((), parse_tasks("[]", "t.yaml"))

    def test_unknown_keys(self) -> None:
        """They are said with the nearest known one, and handed out."""
        text = "more: 1\ntasks:\n- task_id: a\n  task_parms: {x: 1}\n"
        text += "- {task_id: b,\n   zzz: 1, symbol: S,\n   symbol: T}\n"
        known = (
            "expected task_id, task_params, invalid, planned_exec_node, id, rule_id, data_type, symbol, "
            "interval, is_deleted"
        )
        self.assertEqual(
            [str(mistake) for mistake in odd_keys(text, "t.yaml")],
            [
                "t.yaml:1: more: not used; expected tasks, a list",
                "t.yaml:4: tasks[0].task_parms: unknown key, handed out as it is; did you mean task_params? "
                + known,
                f"t.yaml:6: tasks[1].zzz: unknown key, handed out as it is; {known}",
                "t.yaml:7: tasks[1].symbol: this key is there already, and the last one counts; "
                "expected each key once",
            ],
        )
        self.assertEqual(parse_tasks(text, "t.yaml")[0]["task_parms"], {"x": 1})
        path = Path(self.mktemp())
        path.write_text(text)
        file = TaskFile(str(path))
        file.read()
        self.assertEqual(len(file.warnings), 4)

    def test_every_mistake_with_its_line(self) -> None:
        text = (
            "- task_id: a\n- 5\n- task_id: 7\n- {}\n"
            "- {task_id: b, invalid: 2}\n- {task_id: b, task_params: 3}\n"
            "- task_id: a\n- {task_id: c, task_params: {day: 2026-01-01}}\n- {task_id: d, rule_id: 4}\n"
        )
        self.assertEqual(
            [
                "t.yaml:2: tasks[1]: a mapping with a task_id is expected",
                "t.yaml:3: tasks[2].task_id: text is expected, such as task-001",
                "t.yaml:4: tasks[3].task_id: text is expected, such as task-001",
                "t.yaml:5: tasks[4].invalid: 0 (to be executed) or 1 (not to be) is expected",
                "t.yaml:6: tasks[5].task_params: a mapping, or text, is expected",
                "t.yaml:7: tasks[6].task_id: a is on line 1 already",
                "t.yaml:8: tasks[7].task_params: something in it is not JSON;"
                " a date, for instance, needs quotes",
                "t.yaml:9: tasks[8].rule_id: text is expected",
            ],
            self.mistakes(text),
        )

    def test_something_else_than_a_list(self) -> None:
        expected = "a list of tasks is expected; write [] for none"
        self.assertEqual([f"t.yaml: {expected}"], self.mistakes(""))
        self.assertEqual([f"t.yaml:2: {expected}"], self.mistakes("# comment\nword"))
        self.assertEqual([f"t.yaml: {expected}"], self.mistakes("jobs: []"))
        self.assertEqual([f"t.yaml:1: {expected}"], self.mistakes("tasks: 5"))

    def test_invalid_yaml(self) -> None:
        self.assertEqual(
            ["t.yaml:2: not valid YAML: expected ',' or ']', but got '<stream end>'"], self.mistakes("[a\n")
        )
        self.assertEqual(
            ["t.yaml:1: not valid YAML: could not determine a constructor for the tag '!x'"],
            self.mistakes("- !x {task_id: a}"),
        )

    def test_values_that_are_not_what_they_say(self) -> None:
        for written in ("!!timestamp x", "!!bool x", "!!int x", "2026-02-30", "!!float ''"):
            self.assertEqual(
                self.mistakes(f"- task_id: a\n- {{task_id: {written}}}"),
                [
                    "t.yaml:2: a date, a number or a tagged value in it is none; expected quotes around it, "
                    "if it is text"
                ],
            )

    def test_a_list_inside_itself(self) -> None:
        self.assertEqual(
            ["t.yaml:1: tasks[0]: something in it is not JSON; a date, for instance, needs quotes"],
            self.mistakes("- {task_id: a, loop: &x [*x]}"),
        )

    @given(st.text(alphabet="task_id:- {}[]&*!?|>'\"\n\t#0123456789.~,é\x00", max_size=60))
    def test_any_text_is_tasks_or_a_mistake(self, text: str) -> None:
        try:
            tasks = parse_tasks(text, "t.yaml")
        except ConfigError as error:
            self.assertTrue(error.mistakes)
        else:
            self.assertTrue(all(task["task_id"] for task in tasks))


class TaskFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.file = TaskFile(str(self.path))

    def test_missing(self) -> None:
        error = self.assertRaises(ConfigError, self.file.read)
        expected = "No such file or directory; expected a YAML file with a list of tasks"
        self.assertEqual(f"{self.path}: can't be read: {expected}", str(error))

    def test_not_utf_8(self) -> None:
        self.path.write_bytes(b"\xff")
        self.assertEqual(
            f"{self.path}: is not UTF-8 text", str(self.assertRaises(ConfigError, self.file.read))
        )

    def test_reads_again_when_it_has_changed(self) -> None:
        self.path.write_text("[{task_id: a}]")
        self.assertEqual(["a"], [task["task_id"] for task in self.file.read()])
        self.assertIsNone(self.file.read_if_changed())
        self.path.write_text("[{task_id: a}, {task_id: b}]")
        self.assertEqual(["a", "b"], [task["task_id"] for task in self.file.read_if_changed() or ()])
        self.assertIsNone(self.file.read_if_changed())

    def test_notices_a_change_of_the_same_length(self) -> None:
        self.path.write_text("[{task_id: a}]")
        self.file.read()
        self.path.write_text("[{task_id: b}]")
        os.utime(self.path, ns=(1, 1))  # the clock of a file system may be too coarse for a test
        self.assertEqual(["b"], [task["task_id"] for task in self.file.read_if_changed() or ()])

    def test_a_mistake_is_raised_once(self) -> None:
        self.path.write_text("[]")
        self.file.read()
        self.path.write_text("nothing")
        self.assertRaises(ConfigError, self.file.read_if_changed)
        self.assertIsNone(self.file.read_if_changed())

    def test_a_file_that_goes_and_comes_back(self) -> None:
        self.path.write_text("[]")
        self.file.read()
        self.path.unlink()
        self.assertRaises(ConfigError, self.file.read_if_changed)
        self.assertIsNone(self.file.read_if_changed())
        self.path.write_text("[{task_id: a}]")
        self.assertEqual(["a"], [task["task_id"] for task in self.file.read_if_changed() or ()])


class DemoTasksTests(SynchronousTestCase):
    def test_the_shipped_file(self) -> None:
        path = Path(__file__).parent.parent / "etc" / "tasks.yaml"
        tasks = TaskFile(str(path)).read()
        self.assertEqual(
            [("cpu", "cpu"), ("memory", "memory"), ("disk", "disk"), ("load", "load")],
            [(task["task_id"], json.loads(task["task_params"])["metric"]) for task in tasks],
        )
