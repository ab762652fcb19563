"""
What pytest finds by itself where scfd is installed: the fixture ``scfd_node``.

It makes nodes, and closes them when the test is over::

    def test_each_minute(scfd_node):
        node = scfd_node(plugin, {"triggers": [...]})
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from scfd.testing.node import Node


@pytest.fixture
def scfd_node() -> Iterator[Callable[..., Node]]:
    """A function that takes what `scfd.testing.Node` takes."""
    # Imported here: pytest reads this module for each project that scfd is installed for.
    from scfd.testing.node import Node

    with ExitStack() as nodes:

        def make(*arguments: Any, **named: Any) -> Node:
            return nodes.enter_context(Node(*arguments, **named))

        yield make
