"""Tests for scfd.logs."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import time
from typing import Any

from hypothesis import given, strategies
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    capturedLogs,
    formatEvent,
)
from twisted.python import log as legacy
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from scfd import logs

#: 2027-01-15 08:00:00.1234 UTC
MOMENT = 1_800_000_000.1234


def an_event(text: object = "4 tasks received", **fields: Any) -> LogEvent:
    return {
        "log_format": "{text}",
        "text": text,
        "log_level": LogLevel.info,
        "log_namespace": "scfd.heartbeat",
        "log_time": MOMENT,
        **fields,
    }


def shown(event: LogEvent, **options: bool) -> str:
    """What the console shows of one event."""
    stream = io.StringIO()
    logs.ConsoleObserver(stream, **options)(event)
    return stream.getvalue()


def text_shown(event: LogEvent, **options: bool) -> str:
    """The same without time, level and area."""
    return shown(event, **options)[len("2027-01-15 08:00:00.123 info  heartbeat    ") :]


def a_failure(error: Exception) -> Failure:
    try:
        raise error
    except Exception:
        return Failure()


class LineTests(SynchronousTestCase):
    def set_time_zone(self, zone: str) -> None:
        before = os.environ.get("TZ")

        def restore() -> None:
            if before is None:
                del os.environ["TZ"]
            else:
                os.environ["TZ"] = before
            time.tzset()

        self.addCleanup(restore)
        os.environ["TZ"] = zone
        time.tzset()

    def test_local_time_level_area_and_text(self) -> None:
        self.set_time_zone("CST-8")
        self.assertEqual(shown(an_event()), "2027-01-15 16:00:00.123 info  heartbeat    4 tasks received\n")

    def test_a_namespace_of_a_library_is_shown_whole(self) -> None:
        self.assertIn(
            " info  nats.aio.client hello\n", shown(an_event("hello", log_namespace="nats.aio.client"))
        )

    def test_traceback_is_indented_below_the_line(self) -> None:
        failure = a_failure(RuntimeError("first\n2027-01-15 08:00:00.123 info  forged"))
        first, *rest = shown(an_event(log_level=LogLevel.critical, log_failure=failure)).splitlines()
        self.assertTrue(first.endswith("critical heartbeat    4 tasks received"), first)
        self.assertEqual(rest[0], "    Traceback (most recent call last):")
        self.assertEqual(rest[-1], "    2027-01-15 08:00:00.123 info  forged")
        self.assertTrue(all(line.startswith("    ") for line in rest), rest)

    def test_a_legacy_error_shows_its_traceback_once(self) -> None:
        """`log.err` puts the traceback in the text too."""
        with capturedLogs() as events:
            legacy.err(a_failure(RuntimeError("boom")), "plugin broke")
        self.flushLoggedErrors(RuntimeError)
        output = shown(events[0])
        self.assertIn(" critical twisted      plugin broke\n    Traceback", output)
        self.assertEqual(output.count("Traceback"), 1, output)

    def test_colour_marks_the_level_only(self) -> None:
        self.assertIn(
            " \x1b[33mwarn \x1b[0m heartbeat ", shown(an_event(log_level=LogLevel.warn), colour=True)
        )
        self.assertNotIn("\x1b", shown(an_event(), colour=True))


class EscapeTests(SynchronousTestCase):
    def test_a_line_end_in_a_field_makes_no_second_line(self) -> None:
        self.assertEqual(
            text_shown(an_event("a\nb\r\x1b[2Jc\u2028d\u202ee")), "a\\nb\\r\\x1b[2Jc\\u2028d\\u202ee\n"
        )

    def test_other_languages_are_left_alone(self) -> None:
        self.assertEqual(text_shown(an_event("任务 naïve 🙂")), "任务 naïve 🙂\n")

    def test_the_namespace_is_escaped_too(self) -> None:
        self.assertIn(" a\\nb ", shown(an_event(log_namespace="a\nb")))

    @given(strategies.text())
    def test_any_text_is_one_line(self, text: str) -> None:
        output = shown(an_event(text))
        self.assertEqual(len(output.splitlines()), 1)
        output.encode("utf-8")

    def test_a_terminal_that_knows_only_ascii(self) -> None:
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding="ascii")
        logs.ConsoleObserver(stream)(an_event("任务"))
        self.assertTrue(raw.getvalue().endswith(b"\\u4efb\\u52a1\n"), raw.getvalue())


class NoiseTests(SynchronousTestCase):
    """Twisted's chatter is made by Twisted itself here, so that a change of its words is noticed."""

    def chatter(self) -> list[LogEvent]:
        factory = Factory()
        with capturedLogs() as events:
            factory.doStart()
            factory.doStop()
            legacy.msg("Site starting on 9000")
            legacy.msg("Site (TLS) starting on 9443")
            legacy.msg("(TCP Port 9000 Closed)")
            legacy.msg("Main loop terminated.")
            legacy.msg(
                format="Unable to write to plugin cache %(path)s: error number %(errno)d", path="/x", errno=13
            )
            log = Logger(namespace="twisted.scripts._twistd_unix.UnixAppLogger")
            log.info(
                "twistd {version} ({exe} {py}) starting up.",
                version="26.10",
                exe="/usr/bin/python3",
                py="3.11",
            )
            log.info("Server Shut Down.")
            log.info("reactor class: {reactor}.", reactor="asyncioreactor.AsyncioSelectorReactor")
        self.assertEqual(len(events), 10)
        return list(events)

    def test_chatter_is_left_out(self) -> None:
        self.assertEqual([shown(event) for event in self.chatter()], [""] * 10)

    def test_chatter_is_shown_when_verbose(self) -> None:
        for event in self.chatter():
            self.assertIn(formatEvent(event), shown(event, verbose=True))

    def test_debug_is_shown_only_when_verbose(self) -> None:
        event = an_event(log_level=LogLevel.debug)
        self.assertEqual(shown(event), "")
        self.assertIn(" debug heartbeat ", shown(event, verbose=True))

    def test_warnings_and_worse_are_always_shown(self) -> None:
        for level in (LogLevel.warn, LogLevel.error, LogLevel.critical):
            event = an_event("Stopping factory x", log_level=level, log_namespace="twisted.x")
            self.assertIn("Stopping factory x", shown(event))


class RobustnessTests(SynchronousTestCase):
    def test_an_event_that_cannot_be_formatted(self) -> None:
        for text in ("{nothing}", "a {text of {braces", '{"a": 1}', "{text.missing}", "{0}"):
            self.assertEqual(text_shown(an_event(log_format=text)), text + "\n")
        line = shown(an_event(log_time="noon"))
        self.assertTrue(line.startswith("a log line could not be formatted (TypeError("), line)
        self.assertTrue(line.endswith("): '{text}'\n"), line)

    def test_many_events_that_cannot_be_formatted_are_one_line(self) -> None:
        stream, clock = io.StringIO(), Clock()
        self.patch(time, "monotonic", clock.seconds)
        observer = logs.ConsoleObserver(stream)
        for _ in range(1000):
            observer(an_event(log_time="noon"))
        self.assertEqual(stream.getvalue().count("\n"), 1)
        clock.advance(logs.UNFORMATTABLE_EACH)
        observer(an_event(log_time="noon"))
        self.assertIn("999 more lines were lost", stream.getvalue().splitlines()[1])
        observer(an_event("and the others are written"))
        self.assertIn("and the others are written", stream.getvalue())

    def test_no_file_is_opened_to_write_a_line(self) -> None:
        """None can be when the node has too many of them open; codecs are loaded at their first use."""
        script = (
            "import resource, io, os\n"
            "from twisted.logger import LogLevel\n"
            "from scfd.logs import ConsoleObserver\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
            "event = {'log_format': '{a}', 'a': 'x\\ny', 'log_level': LogLevel.info, 'log_time': 0.0}\n"
            "stream = io.StringIO(); ConsoleObserver(stream)(event); os.write(1, stream.getvalue().encode())"
        )
        ended = subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertTrue(ended.stdout.endswith(" x\\ny\n"), ended.stdout + ended.stderr)

    def test_a_failure_without_a_traceback(self) -> None:
        self.assertIn("\n    no traceback to be had: AttributeError\n", shown(an_event(log_failure="boom")))

    def test_reader_gone(self) -> None:
        """No error, not when an event is written and not when the stream is flushed at exit."""
        reading, writing = os.pipe()
        stream = os.fdopen(writing, "w")
        os.close(reading)
        observer = logs.ConsoleObserver(stream)
        observer(an_event())
        observer(an_event())
        stream.close()

    def test_stream_closed(self) -> None:
        stream = io.StringIO()
        stream.close()
        logs.ConsoleObserver(stream)(an_event())

    def test_a_full_pipe_loses_events_only_while_it_is_full(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w") as stream:
            observer = logs.ConsoleObserver(stream)
            for _ in range(20):
                observer(an_event("x" * 10_000))
            reader.read1(1 << 20)
            observer(an_event("after"))
            self.assertTrue(reader.read1(1 << 20).endswith(b" after\n"))


class ConsoleTests(SynchronousTestCase):
    def observer(self, terminal: bool, **environment: str) -> logs.ConsoleObserver:
        class Stream(io.StringIO):
            def isatty(self) -> bool:
                return terminal

        self.patch(sys, "stdout", Stream())
        self.patch(os, "environ", environment)
        return logs.console()

    def test_provides_the_interface_that_twistd_asks_for(self) -> None:
        verifyObject(ILogObserver, self.observer(terminal=False))

    def test_colour_on_a_terminal_without_no_color(self) -> None:
        self.assertTrue(self.observer(terminal=True).colour)
        self.assertFalse(self.observer(terminal=True, NO_COLOR="1").colour)
        self.assertFalse(self.observer(terminal=False).colour)

    def test_verbose_when_asked_by_the_environment(self) -> None:
        self.assertTrue(self.observer(terminal=False, SCFD_DEBUG="1").verbose)
        self.assertFalse(self.observer(terminal=False).verbose)


class BridgeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.source = logging.Logger("nats.aio.client")
        logs.bridge_stdlib(self.source)

    def test_warnings_and_worse_arrive_once(self) -> None:
        logs.bridge_stdlib(self.source)
        with capturedLogs() as events:
            self.source.info("left out")
            self.source.warning("slow %s", "consumer")
            self.source.error("no %s", "servers")
            self.source.critical("gone")
        self.assertEqual(
            [(e["log_namespace"], e["log_level"], formatEvent(e)) for e in events],
            [
                ("nats.aio.client", LogLevel.warn, "slow consumer"),
                ("nats.aio.client", LogLevel.error, "no servers"),
                ("nats.aio.client", LogLevel.critical, "gone"),
            ],
        )

    def test_an_exception_comes_along(self) -> None:
        with capturedLogs() as events:
            try:
                raise ConnectionRefusedError("port 4222")
            except OSError:
                self.source.exception("not connected")
        [error] = self.flushLoggedErrors(ConnectionRefusedError)
        self.assertIs(events[0]["log_failure"], error)
        self.assertIn("test_an_exception_comes_along", error.getTraceback())

    def test_braces_in_a_record_are_text(self) -> None:
        with capturedLogs() as events:
            self.source.warning("{not_a_field}")
        self.assertEqual(formatEvent(events[0]), "{not_a_field}")

    def test_arguments_that_do_not_fit(self) -> None:
        with capturedLogs() as events:
            self.source.warning("%d tasks", "four")
        self.assertIn("%d tasks", formatEvent(events[0]))
