"""
Tests of plugins: a node in memory, in virtual time. See docs/testing.rst.

``clock`` has the time of asyncio and Twisted, ``jetstream`` and ``control_plane`` what is outside of a node,
``outside`` gives it to the node's own code, ``engine`` runs that, and ``node`` is what a test speaks to.
"""

from scfd.testing.engine import START
from scfd.testing.mistakes import TestingError
from scfd.testing.node import Node
from scfd.testing.record import Result
from scfd.testing.stream import StoredMessage

__all__ = ["START", "Node", "Result", "StoredMessage", "TestingError"]
