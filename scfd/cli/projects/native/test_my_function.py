"""The plugin in a whole node, in virtual time: an hour takes milliseconds. `python -m unittest` runs it."""

import unittest
from pathlib import Path

from my_function import MyFunction

from scfd.testing import Node

CONFIG = Path(__file__).with_name("config.yaml")


class MyFunctionTests(unittest.TestCase):
    def test_each_task_has_a_result(self) -> None:
        tasks = [{"task_id": "a", "task_params": {"name": "Ada"}}]
        with Node(MyFunction(), CONFIG, tasks=tasks) as node:
            node.advance(minutes=1)
            self.assertEqual([result.result for result in node.results], ["Hello, Ada"] * 12)

    def test_another_task_list(self) -> None:
        with Node(MyFunction(), CONFIG) as node:
            node.advance(hours=1)
            self.assertEqual(node.results, [])
            node.set_tasks([{"task_id": "b", "task_params": {"name": "Grace"}}])
            node.advance(hours=1)
            self.assertEqual({result.result for result in node.results}, {"Hello, Grace"})
