"""Tests for scfd.logs.cls."""

from __future__ import annotations

import time
from typing import Any

from attrs import evolve
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from scfd.config.values import ClsSettings
from scfd.errors import StartupError
from scfd.logs import cls
from scfd.logs.levels import Levels
from tests.cls_endpoint import Endpoint, respond
from tests.test_logs import MOMENT, a_failure, an_event

SETTINGS = ClsSettings("topic", "http://127.0.0.1:9", "id", "key", linger_ms=10, retries=0)


class ToClsTests(SynchronousTestCase):
    def made(self, **settings: Any) -> cls.ToCls:
        made = cls.make_to_cls(evolve(SETTINGS, **settings), Levels())
        self.addCleanup(made.close)
        return made

    def sent(self, *events: LogEvent, faults: Any = ()) -> tuple[cls.ToCls, Endpoint]:
        endpoint = Endpoint()
        self.addCleanup(endpoint.close)
        endpoint.faults += faults
        made = self.made(host=endpoint.url)
        for event in events:
            made(event)
        made.close()
        return made, endpoint

    def test_entries(self) -> None:
        _, endpoint = self.sent(
            an_event(count=4, trigger="t", event="e", trace="f"),
            an_event(log_level=LogLevel.error, log_failure=a_failure(KeyError("x"))),
            an_event(log_level=LogLevel.debug),
        )
        self.assertEqual(endpoint.wrong, [])
        (moment, first), (_, second) = endpoint.taken
        self.assertEqual(moment, int(MOMENT * 1_000_000))
        expected = {"Level": "info", "Msg": "4 tasks received", "Name": "heartbeat", "count": "4"}
        self.assertEqual(first, {**first, **expected, "trigger": "t", "event": "e", "trace": "f"})
        self.assertEqual((second["ErrorType"], second["Error"]), ("KeyError", "'x'"))
        self.assertIn("Traceback", second["StackTrace"])

    def test_what_is_lost_is_counted_and_said_once(self) -> None:
        with capturedLogs() as events:
            fault = [lambda handler: respond(handler, 404, b"no topic")]
            made, _ = self.sent(*[an_event()] * 3, faults=fault)
            made.look()
            made.look()
            for event in events:
                made(event)
        self.assertEqual(made.lost, 3)
        [said] = map(formatEvent, events)
        self.assertEqual(said, "log.cls: 3 lines of the log did not get to CLS: HTTP status 404: no topic")

    def test_a_dead_endpoint_holds_nobody_up(self) -> None:
        self.patch(cls, "FLUSH_LIMIT", 0.1)
        made = self.made(total_size_ln_bytes=10_000, retries=10)
        began = time.monotonic()
        for _ in range(1000):
            made(an_event())
        self.assertLess(time.monotonic() - began, 1)
        self.assertGreater(made.lost, 900)
        with capturedLogs() as events:
            made.close()
        self.assertLess(time.monotonic() - began, 3)
        self.assertEqual(made.lost, 1000)
        [said] = map(formatEvent, events)
        self.assertRegex(said, "1000 lines of the log did not get .* before the end: ConnectionRefusedError")

    def test_credentials_are_missing(self) -> None:
        with self.assertRaisesRegex(StartupError, "^log.cls: secret_id is missing; secret_key is missing$"):
            self.made(secret_id="", secret_key="")
