"""Tests for scfd.lifecycle."""

from __future__ import annotations

import gc
import io
import signal
import subprocess
import sys

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from scfd.errors import StartupError
from scfd.identity import Identity
from scfd.lifecycle import REPEAT_IGNORED, STOP_LIMIT, VERSION_DRAIN_LIMIT, Node, ProcessEnd
from scfd.status.context import Context
from scfd.status.readiness import Phase
from tests.fakes import FakeReactor, FakeService

DRAIN_LIMIT = 20.0


class NodeTestCase(SynchronousTestCase):
    """A node with the services a, b and c."""

    def setUp(self) -> None:
        self.stderr = io.StringIO()
        self.patch(sys, "__stderr__", self.stderr)
        # A node that is ready freezes the heap; Deferreds that a test forgot would hide in it.
        self.addCleanup(gc.unfreeze)
        self.reactor = FakeReactor()
        self.identity = Identity("node-abc", "v1.0.0")
        self.context = Context(self.reactor, self.reactor.seconds)
        self.readiness = self.context.readiness
        self.ends: list[int] = []
        self.node = Node(self.context, self.identity, DRAIN_LIMIT, self.ends.append)
        self.journal: list[str] = []
        self.a, self.b, self.c = (FakeService(name, self.journal) for name in "abc")
        for service in (self.a, self.b, self.c):
            service.setServiceParent(self.node)

    def start(self) -> str:
        """:returns: what has been printed to stderr."""
        self.node.startService()
        self.reactor.run()
        return self.stderr.getvalue()

    def problems(self) -> list[tuple[str, str]]:
        return [(problem.component, problem.reason) for problem in self.readiness.problems()]


class StartTests(NodeTestCase):
    def test_nothing_starts_before_the_reactor_runs(self) -> None:
        self.node.startService()
        self.assertEqual(self.journal, [])

    def test_in_the_order_in_which_they_were_added(self) -> None:
        with capturedLogs() as logged:
            self.assertEqual(self.start(), "")
        self.assertEqual(self.journal, ["start a", "start b", "start c"])
        self.assertEqual(self.readiness.phase, Phase.RUNNING)
        self.assertEqual(self.problems(), [])
        self.assertEqual(formatEvent(logged[-1]), "ready")
        self.assertEqual(self.ends, [])

    def test_each_once_the_one_before_is_up(self) -> None:
        self.b.starting = Deferred()
        self.start()
        self.assertEqual(self.journal, ["start a", "start b"])
        self.assertEqual(self.readiness.phase, Phase.STARTING)
        self.assertEqual(self.problems(), [("node", "starting")])
        self.b.starting.callback(None)
        self.assertEqual(self.journal, ["start a", "start b", "start c"])
        self.assertEqual(self.readiness.phase, Phase.RUNNING)

    def test_a_mistake_of_the_user_is_one_line(self) -> None:
        self.b.starting = StartupError("b.listen: can't listen on 127.0.0.1:1")
        with capturedLogs() as logged:
            self.assertEqual(self.start(), "scfd: b.listen: can't listen on 127.0.0.1:1\n")
        self.assertEqual(
            [formatEvent(event) for event in logged],
            ["could not start: b.listen: can't listen on 127.0.0.1:1"],
        )
        self.assertNotIn("log_failure", logged[0])
        self.assertEqual(self.journal, ["start a", "start b"])
        self.assertEqual(self.ends, [1])
        self.assertEqual(self.problems(), [("node", "starting")])

    def test_a_mistake_found_later(self) -> None:
        self.b.starting = Deferred()
        self.start()
        self.b.starting.errback(StartupError("the plugin is not ready"))
        self.assertEqual(self.stderr.getvalue(), "scfd: the plugin is not ready\n")
        self.assertEqual(self.ends, [1])

    def test_a_fault_has_its_traceback(self) -> None:
        self.a.starting = KeyError("broken")
        self.assertEqual(self.start(), "scfd: KeyError: 'broken'\n")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(self.ends, [1])


class StopTests(NodeTestCase):
    def stop(self) -> Deferred[None]:
        self.journal.clear()
        return self.node.stopService()

    def test_all_drain_and_then_stop_the_last_one_first(self) -> None:
        self.start()
        with capturedLogs() as logged:
            self.successResultOf(self.stop())
        self.assertEqual(self.journal, ["drain a", "drain b", "drain c", "stop c", "stop b", "stop a"])
        self.assertEqual(self.readiness.phase, Phase.STOPPING)
        self.assertEqual(self.problems(), [("node", "stopping")])
        self.assertEqual([formatEvent(event) for event in logged], ["stopped"])

    def test_work_under_way_is_waited_for(self) -> None:
        draining: Deferred[None] = Deferred()
        self.b.draining = draining
        self.start()
        stopped = self.stop()
        self.reactor.advance(DRAIN_LIMIT - 1)
        self.assertEqual(self.journal, ["drain a", "drain b", "drain c"])
        draining.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.journal[3:], ["stop c", "stop b", "stop a"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_but_not_for_ever(self) -> None:
        self.b.draining = Deferred()
        self.start()
        stopped = self.stop()
        with capturedLogs() as logged:
            self.reactor.advance(DRAIN_LIMIT)
        self.successResultOf(stopped)
        self.assertEqual(
            [formatEvent(event) for event in logged],
            ["work was still under way after 20.0 s; it is left for later", "stopped"],
        )

    def test_a_drain_that_fails_does_not_keep_the_others_from_stopping(self) -> None:
        self.a.draining = KeyError()
        self.start()
        self.successResultOf(self.stop())
        self.assertEqual(self.journal[3:], ["stop c", "stop b", "stop a"])

    def test_a_stop_that_fails_neither(self) -> None:
        self.c.stopping = KeyError()
        self.start()
        with capturedLogs() as logged:
            self.successResultOf(self.stop())
        self.assertEqual(self.journal[3:], ["stop c", "stop b", "stop a"])
        self.assertEqual(formatEvent(logged[0]), "c did not stop cleanly")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_a_stop_that_never_ends_neither(self) -> None:
        self.b.stopping = Deferred()
        self.start()
        stopped = self.stop()
        self.assertEqual(self.journal[3:], ["stop c", "stop b"])
        with capturedLogs() as logged:
            self.reactor.advance(STOP_LIMIT)
        self.successResultOf(stopped)
        self.assertEqual(self.journal[5:], ["stop a"])
        self.assertEqual(formatEvent(logged[0]), "b did not stop in 5 s; left behind")

    def test_while_starting(self) -> None:
        self.b.starting = Deferred()
        self.start()
        self.successResultOf(self.stop())
        self.b.starting.callback(None)
        self.assertEqual(self.journal, ["drain a", "drain b", "stop b", "stop a"])
        self.assertEqual(self.readiness.phase, Phase.STOPPING)
        self.assertEqual((self.stderr.getvalue(), self.ends), ("", []))

    def test_before_anything_has_started(self) -> None:
        self.node.startService()
        self.successResultOf(self.stop())
        self.assertEqual(self.journal, [])

    def test_after_a_failed_start(self) -> None:
        self.b.starting = StartupError("no")
        self.start()
        self.successResultOf(self.stop())
        self.assertEqual(self.journal, ["drain a", "drain b", "stop b", "stop a"])

    def test_hurry(self) -> None:
        self.b.draining = Deferred()
        self.start()
        stopped = self.stop()
        self.node.hurry()
        self.successResultOf(stopped)
        self.assertEqual(self.journal[3:], ["stop c", "stop b", "stop a"])

    def test_hurry_without_need(self) -> None:
        self.start()
        self.node.hurry()
        self.successResultOf(self.stop())
        self.node.hurry()

    def test_another_version_is_made_way_for_quickly(self) -> None:
        self.b.draining = Deferred()
        self.start()
        with capturedLogs() as logged:
            self.node.leave_for_version("v1.1.0", 3)
        self.assertEqual(
            [(event["log_level"], formatEvent(event)) for event in logged],
            [(LogLevel.critical, "version v1.1.0 should be running, this is v1.0.0: leaving")],
        )
        self.assertEqual(self.ends, [3])
        stopped = self.stop()
        self.reactor.advance(VERSION_DRAIN_LIMIT)
        self.successResultOf(stopped)

    def test_a_drain_limit_of_nothing(self) -> None:
        node = Node(self.context, self.identity, 0.0, self.ends.append)
        service = FakeService("d", self.journal)
        service.draining = Deferred()
        service.setServiceParent(node)
        self.start()
        node.startService()
        stopped = node.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)


class ProcessEndTests(SynchronousTestCase):
    """Statuses other than 0 end the process as it exits: that is tried in a process of its own."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.process = ProcessEnd(self.reactor)
        self.hurries = 0

    def signal(self, number: signal.Signals) -> list[str]:
        """A signal arrives. :returns: what was logged."""
        with capturedLogs() as logged:
            self.process._on_signal(number)
            self.reactor.advance(0)
        return [formatEvent(event) for event in logged]

    def handle_signals(self) -> None:
        """Take signals, without the handlers: those of this process belong to the test runner."""
        self.reactor.callWhenRunning = lambda function: None  # type: ignore[method-assign]
        self.process.handle_signals(self.hurry)

    def hurry(self) -> None:
        self.hurries += 1

    def test_end_stops_the_reactor(self) -> None:
        self.reactor.run()
        self.process.end(0)
        self.assertEqual((self.process.status, self.reactor.stops), (0, 1))

    def test_the_first_call_decides(self) -> None:
        self.reactor.run()
        self.process.end(0)
        self.process.end(3)
        self.assertEqual((self.process.status, self.reactor.stops), (0, 1))

    def test_a_reactor_that_does_not_run_is_fine(self) -> None:
        self.process.end(0)
        self.assertEqual(self.process.status, 0)

    def test_signals_stay_with_the_reactor_until_it_runs(self) -> None:
        before = signal.getsignal(signal.SIGTERM)
        self.process.handle_signals(self.hurry)
        self.assertIs(signal.getsignal(signal.SIGTERM), before)

    def test_the_first_signal_stops_the_second_hurries(self) -> None:
        self.reactor.run()
        self.handle_signals()
        self.assertEqual(self.signal(signal.SIGTERM), ["SIGTERM: stopping"])
        self.assertEqual((self.process.status, self.reactor.stops, self.hurries), (0, 1, 0))
        self.reactor.advance(REPEAT_IGNORED + 0.1)
        self.assertEqual(self.signal(signal.SIGINT), [])
        self.assertEqual((self.process.status, self.reactor.stops, self.hurries), (0, 1, 1))

    def test_a_signal_that_arrives_twice_at_once_is_one(self) -> None:
        self.reactor.run()
        self.handle_signals()
        self.signal(signal.SIGTERM)
        self.reactor.advance(REPEAT_IGNORED / 2)
        self.signal(signal.SIGTERM)
        self.assertEqual(self.hurries, 0)

    def test_the_status_is_that_of_the_process(self) -> None:
        script = (
            "from scfd.lifecycle import ProcessEnd; from tests.fakes import FakeReactor\n"
            "process = ProcessEnd(FakeReactor()); process.end({status}); print('last words', end='')"
        )
        for status in (0, 1, 3):
            ended = subprocess.run(
                [sys.executable, "-c", script.format(status=status)],
                env={"PYTHONPATH": ":".join(sys.path)},
                capture_output=True,
                text=True,
                timeout=60,
            )
            self.assertEqual((ended.returncode, ended.stdout, ended.stderr), (status, "last words", ""))
