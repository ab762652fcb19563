"""Tests for scfd.logs."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from hypothesis import strategies
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    capturedLogs,
    formatEvent,
    globalLogPublisher,
)
from twisted.python import log as legacy
from twisted.python import threadable
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from scfd import logs
from scfd.config import LogSettings
from scfd.events.event import TriggerEvent, current_event
from scfd.logs.files import LogFile, log_file
from scfd.logs.formats import coloured_text_line, json_line, logfmt_line, text_line
from scfd.logs.levels import Levels
from scfd.logs.observers import UNFORMATTABLE_EACH, ConsoleObserver
from scfd.logs.repeats import Repeats
from scfd.status.metrics import Metrics
from scfd.status.readiness import Readiness
from tests.properties import given

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
    colour, verbose = options.get("colour", False), options.get("verbose", False)
    format = coloured_text_line if colour else text_line
    ConsoleObserver(stream, format, Levels("debug" if verbose else "info"))(event)
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

    def test_a_text_is_made_once(self) -> None:
        """For its level, each output and CLS: that is half of what a line costs."""
        made: list[str] = []

        class Value:
            def __str__(self) -> str:
                made.append("text")
                return "text"

        event = an_event(Value())
        self.assertEqual(text_shown(event), text_shown(event))
        json_line(event)
        self.assertEqual(made, ["text"])

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
        ConsoleObserver(stream)(an_event("任务"))
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
        observer = ConsoleObserver(stream)
        for _ in range(1000):
            observer(an_event(log_time="noon"))
        self.assertEqual(stream.getvalue().count("\n"), 1)
        clock.advance(UNFORMATTABLE_EACH)
        observer(an_event(log_time="noon"))
        self.assertIn("999 more lines were lost", stream.getvalue().splitlines()[1])
        observer(an_event("and the others are written"))
        self.assertIn("and the others are written", stream.getvalue())

    def test_no_file_is_opened_to_write_a_line(self) -> None:
        """None can be when the node has too many of them open; codecs are loaded at their first use."""
        script = (
            "import resource, io, os\n"
            "from twisted.logger import LogLevel\n"
            "from scfd.logs.observers import ConsoleObserver\n"
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
        observer = ConsoleObserver(stream)
        observer(an_event())
        observer(an_event())
        stream.close()

    def test_stream_closed(self) -> None:
        stream = io.StringIO()
        stream.close()
        ConsoleObserver(stream)(an_event())

    def test_a_full_pipe_loses_events_only_while_it_is_full(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w") as stream:
            observer = ConsoleObserver(stream)
            for _ in range(20):
                observer(an_event("x" * 10_000))
            reader.read1(1 << 20)
            observer(an_event("after"))
            self.assertTrue(reader.read1(1 << 20).endswith(b" after\n"))


class ConsoleTests(SynchronousTestCase):
    def written(self, terminal: bool, settings: LogSettings | None = None, **environment: str) -> str:
        """What a node that begins now writes of a debug event and a warning."""

        class Stream(io.StringIO):
            def isatty(self) -> bool:
                return terminal

        stream = Stream()
        self.patch(sys, "stdout", stream)
        self.patch(os, "environ", environment)
        self.addCleanup(logs.set_up, LogSettings())
        logs.set_up(settings or LogSettings())
        observer = logs.console()
        verifyObject(ILogObserver, observer)
        observer(an_event("details", log_level=LogLevel.debug))
        observer(an_event("tasks", log_level=LogLevel.info))
        return stream.getvalue()

    def test_colour_on_a_terminal_without_no_color(self) -> None:
        verbose = LogSettings(level="debug")
        self.assertIn("\x1b[2mdebug\x1b[0m", self.written(True, verbose))
        self.assertNotIn("\x1b", self.written(True, verbose, NO_COLOR="1"))
        self.assertNotIn("\x1b", self.written(False, verbose))
        self.assertNotIn("\x1b", self.written(True, LogSettings(level="debug", format="logfmt")))

    def test_debug_when_asked_by_the_environment(self) -> None:
        self.assertIn("details", self.written(False, SCFD_DEBUG="1"))
        self.assertNotIn("details", self.written(False))

    def test_json(self) -> None:
        line = json.loads(self.written(True, LogSettings(format="json")))
        self.assertEqual((line["message"], line["level"]), ("tasks", "info"))

    def test_a_file_besides(self) -> None:
        path = self.mktemp()
        screen = self.written(False, LogSettings(file=path))
        self.assertEqual(Path(path).read_text(), screen)
        self.assertIn("tasks", screen)


class FieldsTests(SynchronousTestCase):
    def record(self, **fields: Any) -> Any:
        return json.loads(json_line(an_event(**fields)))

    def test_what_a_program_reads(self) -> None:
        self.addCleanup(logs.about.__setitem__, 0, dict)
        logs.about[0] = lambda: {"node": "n1", "version": "v1", "plugin": ""}
        self.assertEqual(
            self.record(
                log_format="{trigger}: {what} failed: {error}",
                log_level=LogLevel.warn,
                trigger="t",
                what="the event",
                error="HTTP status 500",
                event="ab",
                trace="cd",
                count=3,
                big=float("inf"),
            ),
            {
                "time": "2027-01-15T08:00:00.123Z",
                "level": "warn",
                "namespace": "heartbeat",
                "node": "n1",
                "version": "v1",
                "trigger": "t",
                "event": "ab",
                "trace": "cd",
                "message": "t: the event failed: HTTP status 500",
                "error": {"text": "HTTP status 500"},
                "fields": {"what": "the event", "count": 3, "big": "inf"},
            },
        )

    def test_times_have_one_form(self) -> None:
        self.assertEqual(self.record(log_time=1_800_000_000.0)["time"], "2027-01-15T08:00:00.000Z")

    def test_a_failure(self) -> None:
        error = self.record(log_failure=a_failure(KeyError("price")))["error"]
        self.assertEqual((error["type"], error["text"]), ("KeyError", "'price'"))
        self.assertIn("Traceback", error["traceback"])
        with capturedLogs() as events:
            legacy.err(a_failure(ValueError("old")), "why")
        self.flushLoggedErrors(ValueError)
        old = json.loads(json_line(events[0]))
        self.assertEqual((old["message"], old["error"]["type"]), ("why", "ValueError"))

    def test_the_event_under_way(self) -> None:
        traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
        before = current_event.set(TriggerEvent("timer", "nightly", None, {"traceparent": traceparent}))
        self.addCleanup(current_event.reset, before)
        found = self.record()
        self.assertEqual((found["trigger"], found["event"], found["trace"]), ("nightly", "b" * 16, "a" * 32))
        self.assertEqual(self.record(event="own")["event"], "own")

    def test_extra_fields_of_the_standard_library(self) -> None:
        source = logging.Logger("mine")
        logs.bridge_stdlib(source)
        with capturedLogs() as events:
            source.info("%s rows", 3, extra={"symbol": "BTC", "level": "mine"})
        found = json.loads(json_line(events[0]))
        self.assertEqual((found["namespace"], found["message"], found["level"]), ("mine", "3 rows", "info"))
        self.assertEqual(found["fields"], {"symbol": "BTC", "level": "mine"})

    def test_logfmt(self) -> None:
        line = logfmt_line(an_event('say "hi"\nto all', log_failure=a_failure(KeyError("x"))))
        self.assertTrue(line.startswith("time=2027-01-15T08:00:00.123Z level=info namespace=heartbeat "))
        self.assertIn(r'message="say \"hi\"\nto all" error.type=KeyError error.text=' + "'x'", line)
        self.assertEqual(line.count("\n"), 1)
        self.assertIn('on=true none_is=""', logfmt_line(an_event(on=True, none_is="")).replace("fields.", ""))

    @given(strategies.text(), strategies.text())
    def test_every_event_is_one_line(self, text: str, more: str) -> None:
        event = an_event(text, more=more, log_failure=a_failure(ValueError(text)))
        for format in (json_line, logfmt_line):
            line = format(event)
            self.assertEqual((line.count("\n"), line[-1]), (1, "\n"))
            self.assertTrue(line.isascii() or line.rstrip().isprintable())
        self.assertEqual(json.loads(json_line(event))["message"], text)


class LevelsTests(SynchronousTestCase):
    def setUp(self) -> None:
        root = logging.getLogger()
        self.addCleanup(root.setLevel, root.level)

    def test_by_namespace(self) -> None:
        levels = Levels("warn", {"nats": "debug", "plugin.output": "error"})
        for namespace, level, expected in (
            ("scfd.heartbeat", LogLevel.info, False),
            ("scfd.heartbeat", LogLevel.warn, True),
            ("scfd.nats", LogLevel.debug, True),
            ("nats.aio.client", LogLevel.debug, True),
            ("natsume", LogLevel.info, False),
            ("scfd.plugin", LogLevel.warn, True),
            ("scfd.plugin.output", LogLevel.warn, False),
            ("scfd.plugin.output", LogLevel.critical, True),
        ):
            event = an_event(log_namespace=namespace, log_level=level)
            self.assertEqual(levels.shows(event), expected, (namespace, level))

    def test_set_while_it_runs(self) -> None:
        levels = Levels()
        event = an_event(log_namespace="scfd.nats", log_level=LogLevel.debug)
        self.assertFalse(levels.shows(event))
        levels.set("scfd.nats", "debug")
        self.assertTrue(levels.shows(event))
        self.assertEqual(logging.getLogger().level, logging.DEBUG)
        levels.set("nats", "info")
        levels.set("", "critical")
        self.assertFalse(levels.shows(event))
        self.assertFalse(levels.shows(an_event(log_level=LogLevel.error)))
        with self.assertRaisesRegex(ValueError, "level is 'loud'; expected debug, info"):
            levels.set("nats", "loud")

    def test_back_to_the_default(self) -> None:
        levels = Levels()
        levels.use("warn", {"nats": "debug"})
        levels.set("timer", "Fatal")
        levels.set("", " ERR ")
        self.assertEqual((levels.default, levels.named), ("error", {"nats": "debug", "timer": "critical"}))
        levels.set("scfd.timer", "default")
        levels.set("nats", "Default")
        levels.set("unknown", "default")
        levels.set("", "default")
        self.assertEqual((levels.default, levels.named), ("warn", {}))
        self.assertEqual(logging.getLogger().level, logging.WARNING)

    def test_many_namespaces_do_not_fill_the_memory(self) -> None:
        levels = Levels()
        for number in range(5000):
            levels.shows(an_event(log_namespace=f"n{number}"))
        self.assertLessEqual(len(levels._known), 1000)


class RepeatsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.seen = Clock(), []  # type: tuple[Clock, list[LogEvent]]
        self.repeats = Repeats(self.seen.append, self.clock)

    def warn(self, **fields: Any) -> None:
        self.repeats(an_event(**{"log_level": LogLevel.warn, **fields}))

    def texts(self) -> list[str]:
        texts = [formatEvent(event) for event in self.seen]
        self.seen.clear()
        return texts

    def test_a_thousand_times_a_second(self) -> None:
        for number in range(1000):
            self.warn(
                log_format="{trigger}: {what} failed: {error}", trigger="t", what=number, error="HTTP 500"
            )
        self.assertEqual(self.texts(), ["t: 0 failed: HTTP 500"])
        self.clock.advance(1)
        self.assertEqual(self.texts(), ["t: 999 failed: HTTP 500 (999 more like it in 1 s)"])
        self.assertEqual(self.repeats.left_out.value, 999)

    def test_windows_grow_and_end(self) -> None:
        for _ in range(600):
            self.warn()
            self.clock.advance(0.5)
        self.assertLess(len(self.texts()), 15)
        self.clock.advance(60)
        self.clock.advance(60)
        self.seen.clear()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.warn()
        self.assertEqual(self.texts(), ["4 tasks received"])

    def test_what_is_not_the_same(self) -> None:
        for fields in (
            {"text": "one"},
            {"text": "two"},
            {"text": "one", "log_level": LogLevel.error},
            {"text": "one", "log_namespace": "other"},
            {"log_format": "{trigger} {error}", "trigger": "a", "error": "HTTP 500"},
            {"log_format": "{trigger} {error}", "trigger": "b", "error": "HTTP 500"},
            {"log_format": "{trigger} {error}", "trigger": "a", "error": "HTTP 503"},
            {"text": "f", "log_failure": a_failure(KeyError("a"))},
            {"text": "f", "log_failure": a_failure(KeyError("b"))},
        ):
            self.warn(**fields)
        self.assertEqual(len(self.seen), 9)

    def test_two_servers_with_one_error_are_two(self) -> None:
        for server in ("a", "b"):
            self.warn(log_format="{server}: {error}", server=server, error="refused")
            self.warn(log_format="{server} is down: {error}", server=server, error="refused")
        self.assertEqual(
            self.texts(), ["a: refused", "a is down: refused", "b: refused", "b is down: refused"]
        )

    def test_at_the_end_what_was_counted_is_said(self) -> None:
        for number in range(3):
            self.warn(log_failure=a_failure(KeyError("a")), event=str(number))
        self.repeats.flush()
        self.assertEqual(self.texts()[1:], ["4 tasks received (2 more like it in 1 s)"])
        self.clock.advance(1)
        self.assertEqual((self.texts(), self.clock.getDelayedCalls()), ([], []))

    def test_from_a_thread_the_clock_is_not_touched(self) -> None:
        asked: list[Any] = []
        self.clock.callFromThread = lambda *call: asked.append(call)  # type: ignore[attr-defined]
        self.patch(threadable, "ioThread", threading.get_ident())
        thread = threading.Thread(target=self.warn)
        thread.start()
        thread.join()
        self.assertEqual((self.clock.getDelayedCalls(), len(asked)), ([], 1))

    def test_what_is_no_warning_always_passes(self) -> None:
        for _ in range(3):
            self.repeats(an_event())
        self.assertEqual(len(self.seen), 3)

    def test_a_sum_has_no_traceback(self) -> None:
        for _ in range(2):
            self.warn(text="f", log_failure=a_failure(KeyError("a")))
        self.clock.advance(1)
        self.assertNotIn("log_failure", self.seen[-1])

    def test_bounded(self) -> None:
        for number in range(3000):
            self.warn(text=str(number))
        self.assertEqual(len(self.seen), 3000)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1000)


class LogFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.file = LogFile()
        self.file.path = str(self.folder / "scfd.log")

    def files(self) -> dict[str, int]:
        return {path.name: path.stat().st_size for path in self.folder.iterdir()}

    def test_size_and_how_many_are_kept(self) -> None:
        self.file.max_size, self.file.keep = 1000, 2
        self.file.open()
        for _ in range(100):
            self.file.write("x" * 99 + "\n")
        self.assertEqual(set(self.files()), {"scfd.log", "scfd.log.1", "scfd.log.2"})
        self.assertLessEqual(max(self.files().values()), 1100)

    def test_two_processes_each_add_to_the_end(self) -> None:
        """As a second daemon does, which ends since the first one runs."""
        self.file.open()
        self.file.write("one\n")
        other = LogFile()
        other.path = self.file.path
        other.open()
        for file, text in ((self.file, "two\n"), (other, "three\n"), (self.file, "four\n")):
            file.write(text)
        self.assertEqual((self.folder / "scfd.log").read_text(), "one\ntwo\nthree\nfour\n")

    def test_age(self) -> None:
        clock = Clock()
        clock.advance(time.time())
        self.patch(time, "time", clock.seconds)
        self.file.max_age = 3600
        self.file.open()
        self.file.write("one\n")
        clock.advance(3599)
        self.file.write("two\n")
        clock.advance(2)
        self.file.write("three\n")
        self.assertEqual((self.folder / "scfd.log").read_text(), "three\n")
        self.assertEqual((self.folder / "scfd.log.1").read_text(), "one\ntwo\n")

    def test_bytes_count_and_other_files_stay(self) -> None:
        self.file.max_size, self.file.keep = 1000, 1
        for name in ("scfd.log.7", "scfd.log.1.gz", "scfd.log.old"):
            (self.folder / name).touch()
        self.file.open()
        for _ in range(10):
            self.file.write("\u4e2d" * 99 + "\n")
        self.assertEqual(set(self.files()), {"scfd.log", "scfd.log.1", "scfd.log.1.gz", "scfd.log.old"})
        self.assertLessEqual(max(self.files().values()), 1000)

    def test_the_age_of_what_another_run_has_begun(self) -> None:
        """As the first line says, in each format; the file itself was written to a moment ago."""
        self.file.max_age = 3600
        long_ago = an_event(log_time=time.time() - 3700)
        for number, format in enumerate((text_line, json_line, logfmt_line), start=1):
            (self.folder / "scfd.log").write_text(format(long_ago) + "last\n")
            self.file.open()
            self.file.write("new\n")
            self.assertEqual((self.folder / "scfd.log").read_text(), "new\n")
            self.assertEqual(len(self.files()), number + 1)

    def test_moved_away_and_opened_again(self) -> None:
        """As logrotate does; a new file begins at SIGHUP."""
        path, moved = self.folder / "scfd.log", self.folder / "moved"
        self.file.open()
        self.file.write("one\n")
        path.rename(moved)
        self.file.write("two\n")
        self.assertFalse(path.exists())
        self.file.reopen()
        self.file.write("three\n")
        self.assertEqual((moved.read_text(), path.read_text()), ("one\ntwo\n", "three\n"))

    def test_deleted_and_with_its_folder(self) -> None:
        path = self.folder / "scfd.log"
        self.file.open()
        path.unlink()
        self.file.write("one\n")
        self.assertEqual(path.read_text(), "one\n")
        path.unlink()
        self.folder.rmdir()
        self.assertRaises(OSError, self.file.write, "lost\n")
        self.assertIn("scfd.log can't be written: No such file or directory", self.file.problem)
        self.folder.mkdir()
        self.file.write("two\n")
        self.assertEqual((path.read_text(), self.file.problem), ("two\n", ""))

    def test_a_full_disk_tears_a_line(self) -> None:
        """What follows, once there is room, is a line of its own."""
        self.file.open()
        room, usual = [6], os.write

        def write(file: int, data: bytes) -> int:
            if not room[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = usual(file, data[: room[0]])
            room[0] -= written
            return written

        self.patch(os, "write", write)
        self.file.write("one\n")
        self.file.write("two\n")
        self.assertRaises(OSError, self.file.write, "three\n")
        self.assertIn("can't be written: No space left on device", self.file.problem)
        room[0] = 100
        self.file.write("four\n")
        self.assertEqual((self.folder / "scfd.log").read_text(), "one\ntw\nfour\n")

    def test_a_file_that_can_not_be_rotated_grows(self) -> None:
        self.file.max_size, self.file.keep = 10, 1
        self.file.open()
        (self.folder / "scfd.log.1").mkdir()
        for _ in range(3):
            self.file.write("1234567\n")
        self.assertIn("scfd.log can't be rotated, and grows: ", self.file.problem)
        self.assertEqual((self.folder / "scfd.log").read_text(), "1234567\n" * 3)

    def test_what_is_wrong_with_it_is_a_warning_and_said_once(self) -> None:
        metrics, readiness = Metrics(), Readiness(lambda: 0.0)
        look = logs.watch(metrics, readiness)
        self.patch(log_file, "problem", "x can't be written")
        with capturedLogs() as events:
            look(0.0)
            look(1.0)
        self.assertEqual([formatEvent(event) for event in events], ["log.file: x can't be written"])
        self.assertEqual([one.component for one in readiness.all()], ["log file"])
        log_file.problem = ""
        look(2.0)
        self.assertEqual(readiness.all(), [])


class BridgeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.source = logging.Logger("nats.aio.client")
        logs.bridge_stdlib(self.source)

    def test_each_arrives_once(self) -> None:
        logs.bridge_stdlib(self.source)
        with capturedLogs() as events:
            self.source.debug("bytes %r", b"x")
            self.source.info("100 %, {braces}")
            self.source.warning("slow %s", "consumer")
            self.source.error("no %s", "servers")
            self.source.critical("gone")
        self.assertEqual(
            [(e["log_namespace"], e["log_level"], formatEvent(e)) for e in events],
            [
                ("nats.aio.client", LogLevel.debug, "bytes b'x'"),
                ("nats.aio.client", LogLevel.info, "100 %, {braces}"),
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

    def test_an_observer_that_logs_and_fails(self) -> None:
        seen: list[LogEvent] = []

        @implementer(ILogObserver)
        def observer(event: LogEvent) -> None:
            seen.append(event)
            self.source.error("observer: %s", "no room")
            raise OSError(28, "no room")

        stderr = io.StringIO()
        self.patch(sys, "__stderr__", stderr)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.source.info("one")
        self.assertEqual(formatEvent(seen[0]), "one")
        self.assertLess(len(seen), 5)
        self.assertIn("nats.aio.client: observer: no room\n", stderr.getvalue())
        globalLogPublisher.removeObserver(observer)
        self.flushLoggedErrors(OSError)

    def test_braces_in_a_record_are_text(self) -> None:
        with capturedLogs() as events:
            self.source.warning("{not_a_field}")
        self.assertEqual(formatEvent(events[0]), "{not_a_field}")

    def test_arguments_that_do_not_fit(self) -> None:
        with capturedLogs() as events:
            self.source.warning("%d tasks", "four")
        self.assertIn("%d tasks", formatEvent(events[0]))
