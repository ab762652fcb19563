"""The plugin in a whole node, with a JetStream in memory. `python -m unittest` runs it."""

import unittest
from pathlib import Path

from my_function import MyFunction

from scfd.testing import Node

CONFIG = Path(__file__).with_name("config.yaml")


class MyFunctionTests(unittest.TestCase):
    def test_an_order(self) -> None:
        with Node(MyFunction(), CONFIG) as node:
            node.publish("orders.new", {"task_id": "orders", "pieces": 3, "price": 9.5})
            node.advance(seconds=1)
            self.assertEqual([result.result for result in node.results], ["28.50 EUR"])

    def test_a_result_survives_an_outage_of_the_control_plane(self) -> None:
        with Node(MyFunction(), CONFIG) as node:
            node.control_plane.down()
            node.publish("orders.new", {"task_id": "orders", "pieces": 2, "price": 1})
            node.advance(hours=1)
            self.assertEqual(node.results, [])
            node.control_plane.up()
            node.advance(hours=1)
            self.assertEqual([result.result for result in node.results], ["2.00 EUR"])
