"""Tests for scfd.adapter.output."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from scfd.adapter.child import _end_of_character
from scfd.adapter.output import HOLD, MOST_LINES, MOST_TEXT, PluginOutput, read
from scfd.logs.fields import record
from tests.properties import given

LEVELS = {
    "critical": (
        "CRITICAL: disk gone",
        "F0101 12:00:00.000000 1 x.go:1] gone",
        '{"level": "FATAL", "msg": "gone"}',
        "<2>gone",
        '{"level": 60, "msg": "gone"}',
    ),
    "error": (
        "ERROR no price",
        "ERROR:root:no price",
        "[ERROR] no price",
        "error: no price",
        "2026-01-01 12:00:00,123 - my.name - ERROR - no price",
        "2026-01-01 12:00:00.123 | ERROR    | mod:func:1 - no price",
        "12:00:00.123 [main] ERROR c.e.App - no price",
        "2026-01-01T12:00:00.123Z  ERROR 1234 --- [main] c.e.App : no price",
        "2026/01/01 12:00:00 [error] 12#0: no price",
        "2026-01-01 12:00:00 [error    ] no price",
        "E0101 12:00:00.000000 1 x.go:1] no price",
        '{"severity": "ERROR", "message": "no price"}',
        '{"LevelName": "Error", "message": "no price"}',
        '{"level": 50, "msg": "no price"}',
        '{"levelno": 40, "msg": "no price"}',
        'time=2026-01-01T00:00:00Z level=error msg="no price"',
        "level=error no price",
    ),
    "warn": (
        "[WARN] slow",
        "WARNING: slow",
        "[2026-01-01 12:00:00 +0000] [123] [WARNING] slow",
        '{"lvl": "warning", "msg": "slow"}',
        "W0101 12:00:00.000000 1 x.go:1] slow",
    ),
    "info": (
        "INFO:     Started server process",
        "2026/01/01 12:00:00 INFO ready",
        "hello",
        "an ERROR somewhere in the text",
        "no errors: all is well",
        "ERROR-FREE since 2020",
        "Errors: 0",
        '{"price": 1}',
        "{not json}",
        '127.0.0.1 - - [01/Jan/2026 12:00:00] "GET /health HTTP/1.1" 200 -',
        "2026/01/01 12:00:00 an error occurred, and was mended",
        "a=b c",
        "",
    ),
    "debug": ("DEBUG:x:y", '{"level": "trace", "msg": "x"}', '{"level": 20, "msg": "x"}'),
}

PYTHON = """Traceback (most recent call last):
  File "a.py", line 1, in <module>
    f()
KeyError: 'a'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    g()
ValueError: no price"""
SYNTAX = """  File "/fn/plugin.py", line 5
    if price
            ^
SyntaxError: expected ':'"""
JAVA = """Exception in thread "main" java.lang.IllegalStateException: no price
\tat c.e.App.main(App.java:5)
Caused by: java.io.IOException: gone
\tat c.e.App.read(App.java:9)
\t... 1 more"""
GO = """panic: no price

goroutine 1 [running]:
main.f(...)
\t/src/main.go:4
main.main()
\t/src/main.go:8 +0x1d
exit status 2"""
NODE = """/src/app.js:3
  throw new Error("no price");
  ^

Error: no price
    at f (/src/app.js:3:9)
    at node:internal/main:28:49

Node.js v20.1.0"""


class ReadTests(SynchronousTestCase):
    def test_levels(self) -> None:
        for level, lines in LEVELS.items():
            for line in lines:
                with self.subTest(line):
                    found = read(line).level
                    self.assertEqual("info" if found is None else found.name, level)

    def test_fields_and_message(self) -> None:
        said = read('{"time": 1, "level": "warn", "msg": "slow", "symbol": "BTC", "deep": {"a": 1}}')
        self.assertEqual((said.text, said.fields), ("slow", {"time": 1, "symbol": "BTC", "deep": {"a": 1}}))
        said = read(r'level=warn msg="say \"hi\"" symbol=BTC')
        self.assertEqual((said.text, said.fields), ('say "hi"', {"symbol": "BTC"}))
        self.assertEqual(read('{"price": 1}').text, '{"price": 1}')

    @given(strategies.text())
    def test_any_line(self, line: str) -> None:
        for text in (line, f'{{"level": "error", "msg": {line!r}}}', f"level={line}"):
            read(text)


class OutputTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.output = PluginOutput(self.clock)

    def records(self, *lines: str, end: bool = True) -> list[dict[str, Any]]:
        with capturedLogs() as events:
            for line in lines:
                self.output.line(line)
            if end:
                self.output.end()
        return [record(event) for event in events]

    def test_a_traceback_is_one_event(self) -> None:
        for text, message, level in (
            (PYTHON, "ValueError: no price", "error"),
            (SYNTAX, "SyntaxError: expected ':'", "error"),
            (JAVA, JAVA.split("\n", 1)[0], "error"),
            (GO, "panic: no price", "critical"),
            (NODE, "Error: no price", "error"),
        ):
            with self.subTest(message):
                [before, found, after] = self.records("before", *text.split("\n"), "after")
                self.assertEqual((before["message"], after["message"]), ("before", "after"))
                self.assertEqual((found["message"], found["level"]), (message, level))
                self.assertEqual(found["error"]["traceback"], text)
        [found] = self.records(*PYTHON.split("\n"))
        self.assertEqual((found["error"]["type"], found["error"]["text"]), ("ValueError", "no price"))

    def test_the_line_in_front_is_its_message(self) -> None:
        for first in ("2026-01-01 12:00:00,123 - x - ERROR - can't collect", "ERROR:x:can't collect"):
            for text in (PYTHON, JAVA):
                [found] = self.records(first, *text.split("\n"))
                self.assertEqual((found["message"], found["error"]["traceback"]), (first, text))

    def test_each_error_is_an_event(self) -> None:
        self.assertEqual(
            [one["message"] for one in self.records("ERROR a", "ERROR b", "c")], ["ERROR a", "ERROR b", "c"]
        )

    def test_two_tracebacks_are_two(self) -> None:
        single = PYTHON.rpartition("\n\n")[2]
        self.assertEqual(len(self.records(*single.split("\n"), *single.split("\n"))), 2)

    def test_others_are_not_held(self) -> None:
        self.assertEqual(len(self.records("a", "  indented", "b", end=False)), 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_held_for_a_moment_only(self) -> None:
        with capturedLogs() as events:
            self.output.line("ERROR a")
            self.clock.advance(HOLD)
            self.assertEqual(len(events), 1)
            for _ in range(100):  # slowly, line by line
                self.output.line("panic: x")
                self.clock.advance(HOLD / 2)
        self.assertGreater(len(events), 3)

    def test_bounded(self) -> None:
        found = self.records("Traceback (most recent call last):", *["  x"] * 1000, "ValueError: y")
        self.assertEqual(sum(one["error"]["traceback"].count("  x") for one in found), 1000)
        self.assertTrue(all(one["error"]["traceback"].count("\n") < MOST_LINES for one in found))
        self.assertEqual({one["level"] for one in found}, {"error"})
        found = self.records("Traceback (most recent call last):", *["  " + "x" * 60000] * 10)
        self.assertTrue(all(len(one["error"]["traceback"]) < 2 * MOST_TEXT for one in found))

    def test_colours(self) -> None:
        found = self.records("\x1b[31mERROR\x1b[0m no \x1b[1mprice\x1b[0m", "\x1b]0;t\x07x")
        self.assertEqual(
            [(one["level"], one["message"]) for one in found], [("error", "ERROR no price"), ("info", "x")]
        )

    def test_ids_of_the_event(self) -> None:
        parent = f"00-{'a' * 32}-{'b' * 16}-01"
        [found] = self.records(f'{{"level": "info", "msg": "x", "traceparent": "{parent}"}}')
        self.assertEqual((found["event"], found["trace"]), ("b" * 16, "a" * 32))

    @given(
        strategies.lists(strategies.sampled_from([*PYTHON.split("\n"), *GO.split("\n"), *NODE.split("\n")]))
    )
    def test_nothing_is_lost(self, lines: list[str]) -> None:
        self.output = PluginOutput(Clock())
        shown = "\n".join(_all_text(one) for one in self.records(*lines))
        for line in lines:
            self.assertIn(line.strip(), shown)


def _all_text(found: dict[str, Any]) -> str:
    return f"{found['message']}\n{found.get('error', {}).get('traceback', '')}"


class CutTests(SynchronousTestCase):
    @given(strategies.text(min_size=4, max_size=8))
    def test_no_character_is_cut(self, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        for end in range(4, len(data) + 1):
            cut = _end_of_character(data[:end], end)
            self.assertLessEqual(end - cut, 3)
            data[:cut].decode("utf-8", "surrogatepass")
