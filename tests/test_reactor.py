"""Tests for scfd.reactor."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any
from unittest.mock import Mock

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from scfd.build import report_refused_connections
from scfd.reactor import ACCEPT_EACH, ExceptionHandler
from scfd.status.context import Context


class ExceptionHandlerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.handler = ExceptionHandler(self.clock.seconds)
        self.loop = Mock(spec=asyncio.AbstractEventLoop)

    def test_connections_that_can_not_be_accepted_are_one_line(self) -> None:
        context: dict[str, Any] = {
            "message": "socket.accept() out of system resource",
            "exception": OSError(24, "Too many open files"),
        }
        line = "new connections can't be accepted: Too many open files; trying again each second"
        for _ in range(2):
            with capturedLogs() as events:
                for _ in range(100):
                    self.handler(self.loop, context)
            self.assertEqual([formatEvent(event) for event in events], [line])
            self.clock.advance(ACCEPT_EACH)
        self.loop.default_exception_handler.assert_not_called()

    def test_asyncio_itself_says_so(self) -> None:
        """It may change its words in another version: then there would be a line for each again."""
        script = (
            "import asyncio, resource, socket, os\n"
            "async def main():\n"
            "    told = []\n"
            "    loop = asyncio.get_running_loop()\n"
            "    loop.set_exception_handler(lambda loop, context: told.append(context['message']))\n"
            "    server = await loop.create_server(asyncio.Protocol, '127.0.0.1', 0, backlog=3)\n"
            "    caller = socket.create_connection(server.sockets[0].getsockname())\n"
            "    most = len(os.listdir('/proc/self/fd')) - 1\n"
            "    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))\n"
            "    await asyncio.sleep(0.1)\n"
            "    print(set(told))\n"
            "asyncio.run(main())\n"
        )
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
        self.assertEqual(ended.stdout, "{'socket.accept() out of system resource'}\n", ended.stderr)

    def test_everything_else_is_asyncios(self) -> None:
        context: dict[str, Any] = {"message": "Task was destroyed"}
        self.handler(self.loop, context)
        self.loop.default_exception_handler.assert_called_once_with(context)


class ReportTests(SynchronousTestCase):
    def test_refused_connections_are_counted_and_a_problem_until_they_are_over(self) -> None:
        clock = Clock()
        context, handler = Context(clock, clock.seconds), ExceptionHandler(clock.seconds)
        report_refused_connections(handler, context)
        accept: dict[str, Any] = {"message": "socket.accept() out of system resource"}
        for _ in range(5):
            handler(Mock(), {**accept, "exception": OSError(24, "Too many open files")})
            clock.advance(1)
        (problem,) = context.readiness.problems()
        self.assertEqual(
            (problem.component, problem.reason, problem.since),
            ("connections", "new ones can't be accepted: Too many open files", 0),
        )
        count = context.metrics.registry.get_sample_value("scfd_connections_not_accepted_total")
        self.assertEqual(count, 5)
        clock.advance(3)
        self.assertEqual(context.readiness.problems(), [])
