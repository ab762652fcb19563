"""Tests for scfd.adapter.process and scfd.adapter.child: processes that the test runs by hand."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from scfd.adapter.child import KILL_AFTER, KILL_GUARD_AFTER, LINES, LONGEST_LINE, PIPES_OPEN, WINDOW
from scfd.adapter.guard import kill_marked
from scfd.adapter.process import ASKED_FOR, PluginProcess, exit_text
from scfd.status.context import Context


class Run:
    """
    A process that was spawned, and its transport.

    :ivar asked: what was done to it.
    :ivar gone: whether it has ended already, which nobody was told yet.
    """

    def __init__(self, protocol: Any, command: Sequence[str], env: Mapping[str, str], fds: Any) -> None:
        self.protocol = protocol
        self.command = list(command)
        self.env = env
        self.fds = fds
        self.asked: list[str] = []
        self.gone = False
        self.paused = False
        protocol.makeConnection(self)

    def signalProcess(self, name: str) -> None:  # noqa: N802 - Twisted's name
        if self.gone:
            raise ProcessExitedAlready()
        self.asked.append(name)

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def closeStdin(self) -> None:  # noqa: N802 - Twisted's name
        self.asked.append("close stdin")

    def loseConnection(self) -> None:
        self.asked.append("close pipes")

    def writes(self, data: bytes, descriptor: int = 1) -> None:
        assert not self.paused, "nothing is read while it is paused"
        self.protocol.childDataReceived(descriptor, data)

    def ends(self, status: int | None = 0, signal: int | None = None) -> None:
        done = status == 0 and signal is None
        error = ProcessDone(0) if done else ProcessTerminated(status, signal, None)
        self.protocol.processExited(Failure(error))
        self.protocol.processEnded(Failure(error))


class ProcessReactor(Clock):
    """
    A clock that spawns nothing.

    :ivar runs: every process that was asked for.
    :ivar in_thread: what was called in a thread.
    :ivar failure: raised in place of the next processes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []
        self.in_thread: list[tuple[Any, ...]] = []
        self.failure: Exception | None = None

    def callInThread(self, *call: Any) -> None:  # noqa: N802 - Twisted's name
        self.in_thread.append(call)

    def spawnProcess(  # noqa: N802 - Twisted's name
        self,
        protocol: ProcessProtocol,
        executable: str,
        args: Sequence[str],
        env: Mapping[str, str],
        childFDs: Mapping[int, str],  # noqa: N803 - Twisted's name
    ) -> None:
        assert executable == args[0], (executable, args)
        if self.failure is not None:
            raise self.failure
        self.runs.append(Run(protocol, args, env, childFDs))


class PluginProcessTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = ProcessReactor()
        self.context = Context(self.reactor)
        self.metrics = self.context.metrics
        #: Whether the address is taken: what is asked before each start.
        self.taken: Any = succeed(False)
        self.process = PluginProcess(
            ["python3", "-u", "plugin.py"], {"PATH": "/bin", "A": "b"}, "", lambda: self.taken, self.context
        )
        self.starts = 0
        self.ends: list[str] = []

    def started(self) -> None:
        self.starts += 1

    def start(self) -> Run:
        self.process.start(self.started, self.ends.append)
        return self.last()

    def restarts(self, reason: str) -> float | None:
        return self.metrics.registry.get_sample_value("scfd_plugin_restarts_total", {"reason": reason})

    def last(self) -> Run:
        return self.reactor.runs[-1]


class ExitTextTests(SynchronousTestCase):
    def test_how_it_ended(self) -> None:
        for status, signal, text in (
            (0, None, "exit status 0"),
            (3, None, "exit status 3"),
            (128, None, "exit status 128"),
            (128 + 9, None, "killed by signal 9"),
            (None, 15, "killed by signal 15"),
        ):
            with self.subTest(status=status, signal=signal):
                error = ProcessTerminated(status, signal, None) if status or signal else ProcessDone(0)
                self.assertEqual(exit_text(Failure(error)), text)


class StartTests(PluginProcessTestCase):
    def test_runs_the_command_under_the_guard(self) -> None:
        run = self.start()
        self.assertEqual(run.command[0], sys.executable)
        self.assertEqual(run.command[-4:], ["--", "python3", "-u", "plugin.py"])
        self.assertEqual(run.fds, {0: "w", 1: "r", 2: "r"})
        self.assertEqual((run.env["PATH"], run.env["A"]), ("/bin", "b"))
        self.assertEqual(self.starts, 1)

    def test_in_a_folder_of_its_own(self) -> None:
        process = PluginProcess(["./run"], {}, "/srv/plugin", lambda: self.taken, self.context)
        process.start(self.started, self.ends.append)
        self.assertEqual(self.last().command[-4:], ["--cwd", "/srv/plugin", "--", "./run"])

    def test_not_while_something_else_has_its_address(self) -> None:
        self.taken = succeed(True)
        with capturedLogs() as events:
            self.process.start(self.started, self.ends.append)
        why = "it can't be started: something else listens at its address"
        self.assertEqual(
            [formatEvent(e) for e in events], [f"the plugin is down: {why}; starting it again in 1 s"]
        )
        self.assertEqual((self.reactor.runs, self.starts, self.ends), ([], 0, [why]))
        self.assertEqual(self.restarts("address taken"), 1)
        self.taken = succeed(False)
        self.reactor.advance(1)
        self.assertEqual((len(self.reactor.runs), self.starts), (1, 1))

    def test_stopped_before_that_is_known(self) -> None:
        self.taken = Deferred()
        self.process.start(self.started, self.ends.append)
        self.successResultOf(self.process.stop())
        self.assertEqual((self.reactor.runs, self.reactor.getDelayedCalls()), ([], []))

    def test_is_logged(self) -> None:
        with capturedLogs() as events:
            self.start()
        self.assertEqual([formatEvent(e) for e in events], ["started the plugin: python3"])


class OutputTests(PluginProcessTestCase):
    def lines(self, *pieces: tuple[int, bytes], end: bool = False) -> list[str]:
        """What the log shows of some output on some descriptors."""
        run = self.start()
        with capturedLogs() as events:
            for descriptor, data in pieces:
                while run.paused:
                    self.reactor.advance(WINDOW)
                run.writes(data, descriptor)
            if end:
                run.ends()
        return [formatEvent(e) for e in events if e["log_namespace"] == "scfd.plugin.output"]

    def test_line_by_line(self) -> None:
        self.assertEqual(
            self.lines((1, b"one\ntw"), (2, b"error\n"), (1, b"o\r\nthree\n\n")),
            ["one", "error", "two", "three", ""],
        )

    def test_two_streams_do_not_mix(self) -> None:
        self.assertEqual(self.lines((1, b"out"), (2, b"err"), (1, b"1\n"), (2, b"2\n")), ["out1", "err2"])

    def test_the_last_line_may_lack_its_end(self) -> None:
        self.assertEqual(self.lines((2, b"MemoryError"), end=True), ["MemoryError"])

    def test_what_is_no_utf_8(self) -> None:
        self.assertEqual(self.lines((1, b"\xff{x}\n")), ["\ufffd{x}"])

    def test_a_line_without_an_end_comes_in_pieces(self) -> None:
        lines = self.lines(*[(1, b"x" * 1000)] * 100, (1, b"\n"))
        self.assertEqual("".join(lines), "x" * 100_000)
        self.assertEqual(len(lines), 2)
        self.assertLessEqual(max(map(len, lines)), LONGEST_LINE + 1000)

    def test_a_flood_is_taken_slowly(self) -> None:
        run = self.start()
        with capturedLogs() as events:
            run.writes(b"y\n" * 450)
            self.assertTrue(run.paused)
            self.assertEqual(len(events), LINES)
            self.reactor.pump([WINDOW] * 3)
            self.assertEqual((len(events), run.paused), (4 * LINES, True))
            self.reactor.advance(WINDOW)
            self.assertEqual((len(events), run.paused), (450, False))
            run.writes(b"y\n" * 60)
            self.assertTrue(run.paused, "the window is not over")
        self.assertEqual(len(events), 500)

    def test_long_lines_are_taken_still_more_slowly(self) -> None:
        run = self.start()
        run.writes(b"x" * LONGEST_LINE)
        self.assertFalse(run.paused)
        run.writes(b"x")
        self.assertTrue(run.paused)

    def test_the_end_of_a_flood_does_not_wait(self) -> None:
        run = self.start()
        with capturedLogs() as events:
            run.writes(b"y\n" * 450)
            run.protocol.processExited(Failure(ProcessDone(0)))
            self.assertFalse(run.paused)
            run.writes(b"z\n" * 8000)
            run.writes(b"Traceback\nKeyError\n")
            run.ends(1)
        lines = [formatEvent(e) for e in events if e["log_namespace"] == "scfd.plugin.output"]
        self.assertEqual(lines[LINES], "(8252 lines left out)")
        self.assertEqual((len(lines), lines[-2:]), (2 * LINES + 1, ["Traceback", "KeyError"]))


class RestartTests(PluginProcessTestCase):
    def test_is_started_again_with_growing_pauses(self) -> None:
        self.start()
        for n, pause in enumerate((1, 2, 4, 8, 16, 30, 30), start=1):
            self.last().ends(1)
            self.reactor.advance(pause - 0.1)
            self.assertEqual(len(self.reactor.runs), n)
            self.reactor.advance(0.2)
            self.assertEqual(len(self.reactor.runs), n + 1)

    def test_one_that_ran_well_is_started_again_soon(self) -> None:
        self.start()
        for pause in (1, 2, 4):
            self.last().ends(1)
            self.reactor.advance(pause)
        self.reactor.advance(30)
        self.last().ends(1)
        self.reactor.advance(1)
        self.assertEqual(len(self.reactor.runs), 5)

    def test_every_end_is_told_and_logged(self) -> None:
        self.assertEqual(self.process.end, "")
        self.start()
        with capturedLogs() as events:
            self.last().ends(137)
        how = "its process ended: killed by signal 9"
        self.assertEqual((self.ends, self.process.end), ([how], how))
        self.assertEqual(
            [formatEvent(event) for event in events],
            [f"the plugin is down: {how}; starting it again in 1 s"],
        )
        self.assertEqual(self.restarts("signal"), 1)

    def test_an_end_without_a_fault_is_one_too(self) -> None:
        self.start().ends(0)
        self.reactor.advance(1)
        self.assertEqual((self.ends, len(self.reactor.runs)), (["its process ended: exit status 0"], 2))
        self.assertEqual(self.restarts("exit"), 1)

    def test_one_that_can_not_run_says_so(self) -> None:
        for status in (126, 127):
            with self.subTest(status=status):
                self.setUp()
                run = self.start()
                run.writes(b"can't run x: Permission denied\n", 2)
                run.ends(status)
                self.assertEqual(self.process.cannot_run, "can't run x: Permission denied")
                self.reactor.advance(1)
                self.last().ends(1)
                self.assertEqual(self.process.cannot_run, "")

    def test_a_spawn_that_fails_is_tried_again_for_ever(self) -> None:
        for number in (errno.EAGAIN, errno.EMFILE, errno.ENOMEM):
            with self.subTest(errno=number):
                self.setUp()
                self.reactor.failure = OSError(number, os.strerror(number))
                with capturedLogs() as events:
                    self.process.start(self.started, self.ends.append)
                    self.reactor.pump([1, 2, 4, 8, 16, 30, 30])
                why = f"it can't be started: {os.strerror(number)}"
                self.assertEqual(
                    [formatEvent(e) for e in events],
                    [
                        f"the plugin is down: {why}; starting it again in {s} s"
                        for s in (1, 2, 4, 8, 16, 30, 30, 30)
                    ],
                )
                self.assertEqual((self.ends, self.process.end, self.starts), ([why] * 8, why, 0))
                self.assertEqual(self.restarts("not started"), 8)
                self.reactor.failure = None
                self.reactor.advance(30)
                self.assertEqual(self.starts, 1)
                self.last().ends(1)
                self.assertEqual(self.process.end, "its process ended: exit status 1")

    def test_an_exec_that_fails_for_now_is_tried_again(self) -> None:
        run = self.start()
        run.writes(b"can't run ./x: Text file busy\n", 2)
        run.ends(125)
        why = "it can't be started: can't run ./x: Text file busy"
        self.assertEqual((self.ends, self.process.cannot_run), ([why], ""))
        self.reactor.advance(1)
        self.last().ends(125)
        self.assertEqual(self.ends[1:], ["its process ended: exit status 125"], "its own status")

    def test_a_guard_that_is_killed_while_a_child_holds_its_pipes(self) -> None:
        run = self.start()
        killed = Failure(ProcessTerminated(None, 9, None))
        run.protocol.processExited(killed)
        ((function, mark),) = self.reactor.in_thread
        name, _, value = mark.partition("=")
        self.assertEqual((function, run.env[name]), (kill_marked, value))
        self.reactor.advance(PIPES_OPEN)
        self.assertEqual(run.asked, ["close pipes"])
        run.protocol.processEnded(killed)
        self.assertEqual(self.ends, ["its process ended: killed by signal 9"])
        self.reactor.advance(1)
        self.assertNotEqual(self.last().env[name], value)

    def test_what_a_guard_leaves_behind_is_none_of_its_business(self) -> None:
        self.start().ends(137)
        self.assertEqual(self.reactor.in_thread, [])

    def test_one_that_has_stopped_answering(self) -> None:
        run = self.start()
        self.process.restart("it has stopped responding")
        self.process.restart("it has stopped responding")
        self.assertEqual((run.asked, self.ends), (["TERM"], []))
        self.reactor.advance(KILL_AFTER)
        self.assertEqual(run.asked, ["TERM", "close stdin"])
        run.ends(137)
        self.assertEqual(self.ends, ["it has stopped responding"])
        self.assertEqual(self.restarts("not responding"), 1)
        self.reactor.advance(1)
        self.last().ends(1)
        self.assertEqual(self.ends[1:], ["its process ended: exit status 1"])
        self.process.restart("it has stopped responding")

    def test_one_that_was_asked_for_is_no_failure(self) -> None:
        """It comes at once, however often, and is not an error in the log."""
        self.start()
        for _ in range(3):
            with capturedLogs() as events:
                self.process.restart("an operator has asked for it", ASKED_FOR)
                self.last().ends(143)
                self.reactor.advance(0)
            self.assertEqual({event["log_level"] for event in events}, {LogLevel.info})
        self.assertEqual((len(self.reactor.runs), self.restarts("asked for")), (4, 3))


class StopTests(PluginProcessTestCase):
    def stop(self) -> Deferred[None]:
        return self.process.stop()

    def test_asks_it_to_end_and_waits(self) -> None:
        run = self.start()
        stopped = self.stop()
        self.assertEqual(run.asked, ["TERM"])
        self.assertNoResult(stopped)
        run.ends(143)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.ends, [])

    def test_kills_one_that_does_not_listen(self) -> None:
        run = self.start()
        stopped = self.stop()
        self.reactor.advance(KILL_AFTER - 0.1)
        self.assertEqual(run.asked, ["TERM"])
        self.reactor.advance(0.2)
        self.assertEqual(run.asked, ["TERM", "close stdin"])
        self.assertNoResult(stopped)
        run.ends(137)
        self.successResultOf(stopped)

    def test_kills_a_guard_that_does_not_do_its_work(self) -> None:
        run = self.start()
        stopped = self.stop()
        self.reactor.pump([KILL_AFTER, KILL_GUARD_AFTER])
        self.assertEqual(run.asked, ["TERM", "close stdin", "KILL"])
        run.ends(None, 9)
        self.successResultOf(stopped)

    def test_is_not_started_again(self) -> None:
        run = self.start()
        self.stop()
        run.ends(143)
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.runs), 1)

    def test_nor_when_it_is_stopped_because_of_its_end(self) -> None:
        self.process.start(self.started, lambda how: self.process.stop())
        self.last().ends(127)
        self.reactor.advance(100)
        self.assertEqual((len(self.reactor.runs), self.restarts("exit")), (1, 0))

    def test_while_it_waits_to_be_started_again(self) -> None:
        self.start().ends(1)
        self.successResultOf(self.stop())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_one_that_never_started(self) -> None:
        self.successResultOf(self.stop())

    def test_one_that_has_ended_unnoticed(self) -> None:
        run = self.start()
        run.gone = True
        stopped = self.stop()
        self.assertNoResult(stopped)
        run.ends(0)
        self.successResultOf(stopped)
