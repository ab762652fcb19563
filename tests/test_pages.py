"""Tests for scfd.pages, as far as that goes without a browser, and for scfd.admin.stream."""

from __future__ import annotations

import json
import re
from importlib.resources import files

from twisted.trial.unittest import SynchronousTestCase

from scfd.admin.stream import INTERVAL, MOST_EVENTS, MOST_STREAMS
from scfd.events.event import TriggerResponse
from tests.http_fakes import Caller
from tests.operated import Operated

PAGES = files("scfd.pages")


class FilesTests(SynchronousTestCase):
    def test_what_comes_from_others_never_becomes_markup(self) -> None:
        for name in ("node.js", "control_plane.js", "common.js"):
            text = PAGES.joinpath(name).read_text()
            for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
                self.assertNotIn(way, text)

    def test_nothing_inline_and_nothing_from_other_hosts(self) -> None:
        for name in ("node.html", "control_plane.html"):
            text = PAGES.joinpath(name).read_text()
            self.assertEqual(re.findall(r"(?:https?:)?//\w[^\"' ]*", text), [])
            self.assertEqual(re.findall(r"<style|<script>| style=| on\w+=", text), [])

    def test_every_id_that_a_script_asks_for_is_in_its_page(self) -> None:
        for name in ("node", "control_plane"):
            ids = set(re.findall(r'id="([\w-]+)"', PAGES.joinpath(f"{name}.html").read_text()))
            asked = re.findall(r'(?:byId|say|fill)\(\s*"([\w-]+)"', PAGES.joinpath(f"{name}.js").read_text())
            self.assertTrue(asked)
            self.assertEqual(set(asked) - ids, set())


class PageTests(SynchronousTestCase):
    def test_the_page_and_its_parts(self) -> None:
        node = Operated(token="s3cret")
        for target, kind in (
            ("/", "text/html"),
            ("/page.js", "text/javascript"),
            ("/common.js", "text/javascript"),
            ("/style.css", "text/css"),
        ):
            received = node.request("GET", target)
            self.assertEqual(received.status, 200)
            self.assertEqual(received.header("content-type"), [f"{kind}; charset=utf-8"])
            self.assertNotIn("unsafe", received.header("content-security-policy")[0])


class StreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = Operated(lambda event: TriggerResponse(), ("t", "* * * * * * *"))
        self.caller = self.listen()

    def listen(self) -> Caller:
        caller = self.node.caller()
        caller.ask("GET", "/events")
        return caller

    def sent(self, caller: Caller) -> list[tuple[str, object]]:
        """What has been sent since the last call: (kind, data)."""
        text = caller.taken().decode()
        return [(kind, json.loads(data)) for kind, data in re.findall("event: (.*)\ndata: (.*)\n\n", text)]

    def test_the_status_at_once_and_then_what_happens(self) -> None:
        ((kind, status),) = self.sent(self.caller)
        self.assertEqual((kind, status["version"]), ("status", "v1"))  # type: ignore[index]
        self.node.tick()
        self.node.advance(seconds=INTERVAL)
        sent = dict(self.sent(self.caller))
        self.assertEqual(sorted(sent), ["events", "status"])
        self.assertEqual([event["trigger"] for event in sent["events"]], ["t"])  # type: ignore[attr-defined]

    def test_a_slow_reader_gets_the_newest(self) -> None:
        self.sent(self.caller)
        self.caller.stall()
        self.node.tick(MOST_EVENTS + 50)
        self.assertEqual(self.sent(self.caller), [])
        self.caller.go_on()
        self.node.advance(seconds=INTERVAL)
        numbers = [event["number"] for event in self.sent(self.caller)[0][1]]  # type: ignore
        self.assertEqual((len(numbers), numbers[-1]), (MOST_EVENTS, MOST_EVENTS + 50))

    def test_nothing_runs_when_nobody_looks(self) -> None:
        calls = self.node.parts.context.reactor.getDelayedCalls
        listening = len(calls())
        self.caller.leave()
        self.assertEqual(len(calls()), listening - 1)

    def test_a_bounded_number(self) -> None:
        callers = [self.listen() for _ in range(MOST_STREAMS - 1)]
        self.assertEqual(self.node.request("GET", "/events").status, 503)
        callers[0].leave()
        self.listen()

    def test_only_with_the_token(self) -> None:
        self.assertEqual(Operated(token="s3cret").request("GET", "/events").status, 401)
