"""Tests for scfd.control_plane.learning."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from scfd.control_plane.client import ServerResponse
from scfd.control_plane.generations import report_request
from scfd.control_plane.learning import CONFIRM_TIMEOUT, HEARTBEAT, Exchange, LearningClient
from scfd.control_plane.orders import RefusedError, RetryError, read_response
from scfd.control_plane.verdict import Verdict, judge
from scfd.events.event import TaskResult
from tests.http_fakes import FakeControlPlaneClient

SERVER = "http://10.0.0.1:18202"
METHOD = "/collectmgr/ReportTaskStatus"


def real(generation: int, url: str, body: dict[str, Any]) -> ServerResponse:
    """What a server of a generation responds to a report, by its own rules."""
    if generation == 1:
        if not url.startswith(f"{SERVER}/gateway/"):
            return ServerResponse(200, b'{"ret_info": {"code": 3, "msg": "no permission"}}')
        return ServerResponse(200, b'{"code": 200}')
    if not url.startswith(f"{SERVER}/api/service/"):
        return ServerResponse(404, b"404 page not found")
    if generation == 2:
        if "id" not in body:
            return ServerResponse(500, b'{"code": 500, "message": "request failed with status 400"}')
        return ServerResponse(200, b'{"code": 200}')
    if "id" in body:
        return ServerResponse(200, b'{"ret_info": {"code": 1, "msg": "unknown field \\"id\\""}}')
    return ServerResponse(200, b'{"ret_info": {"code": 0, "msg": ""}}')


class LearningTestCase(SynchronousTestCase):
    """:ivar taken: how many reports the server has taken."""

    protocol, signed = "auto", True

    def setUp(self) -> None:
        self.generation = 1
        self.respond: Callable[[str, dict[str, Any]], Any] | None = None
        self.clock = Clock()
        self.http = FakeControlPlaneClient(self.react)
        self.client = self.make()

    def make(self, protocol: str = "auto", prefix: str = "/gateway", signed: bool = True) -> LearningClient:
        return LearningClient(self.http, self.clock, protocol, prefix, signed)

    def react(self, body: dict[str, Any]) -> Any:
        url = self.http.posts[-1][0]
        return self.respond(url, body) if self.respond else real(self.generation, url, body)

    def start_report(self) -> Deferred[Exchange]:
        result = TaskResult("task-001", 2)
        call = self.client.call(SERVER, METHOD, lambda g: report_request(g, "n", result), 5)
        return Deferred.fromCoroutine(call)

    def report(self) -> Exchange:
        return self.successResultOf(self.start_report())

    def heartbeat(self) -> Exchange:
        """A call of the other method; the server here takes the same fields for it."""
        call = self.client.call(SERVER, HEARTBEAT, lambda g: {"instance_id" if g == 3 else "id": ""}, 5)
        return self.successResultOf(Deferred.fromCoroutine(call))

    def requests(self) -> list[str]:
        """The paths and task fields since the last call."""
        posts, self.http.posts[:] = list(self.http.posts), []
        return [
            f"{url.removeprefix(SERVER).removesuffix(METHOD)} {next(iter(body))}" for url, body, _ in posts
        ]


class AutoTests(LearningTestCase):
    def test_finds_each_generation_at_once(self) -> None:
        for generation, requests in (
            (1, ["/api/service instance_id", "/gateway id"]),
            (2, ["/api/service instance_id", "/api/service id"]),
            (3, ["/api/service instance_id"]),
        ):
            with self.subTest(generation=generation):
                self.generation, self.client = generation, self.make()
                self.assertEqual(judge(self.report()), Verdict.TAKEN)
                self.assertEqual(self.requests(), requests)
                self.assertEqual(judge(self.report()), Verdict.TAKEN)
                self.assertEqual(self.requests(), requests[-1:])

    def test_without_keys_generation_1_is_tried_first(self) -> None:
        self.client = self.make(signed=False)
        self.report()
        self.assertEqual(self.requests(), ["/gateway id"])

    def test_the_prefix_of_the_newer_generations_without_keys(self) -> None:
        self.client, self.generation = self.make(prefix="/api/service", signed=False), 2
        self.assertEqual(judge(self.report()), Verdict.TAKEN)

    def test_each_change_of_generation_is_noticed_and_costs_no_result(self) -> None:
        """Also that from 3 to 1, whose responses look like a refusal."""
        for generation in (1, 3, 1, 2, 1, 3, 2, 3):
            self.generation = generation
            first = self.start_report()
            self.heartbeat()
            for report in (first, self.start_report()):
                self.assertEqual(judge(self.successResultOf(report)), Verdict.TAKEN, generation)
            self.assertEqual(self.client.generation(SERVER), generation)

    def test_is_remembered_by_address(self) -> None:
        self.generation = 3
        self.report()
        self.assertEqual(self.client.generation(SERVER), 3)
        self.client = self.make(signed=False)
        self.report()
        self.assertEqual(self.client.generation(SERVER), 3)
        self.assertEqual(self.client.generation("http://other"), 1)

    def test_a_real_refusal_with_code_3(self) -> None:
        """A generation 3 server that refuses: its 404 for the other path shows that it is no generation 1."""
        self.generation = 3
        self.report()
        refusal = ServerResponse(200, b'{"ret_info": {"code": 3, "msg": "no permission"}}')
        self.respond = lambda url, body: refusal if "/api/" in url else ServerResponse(404, b"")
        exchange = self.report()
        self.assertEqual((exchange.response, judge(exchange)), (refusal, Verdict.UNAVAILABLE))
        self.assertEqual(self.client.generation(SERVER), 3)

    def test_a_404_of_a_known_generation_1_server_is_a_refusal(self) -> None:
        self.report()
        trap = real(1, "", {})
        self.respond = lambda url, body: trap if "/api/" in url else ServerResponse(404, b"no such task")
        doubts: list[None] = []
        self.client.on_doubt = lambda: doubts.append(None)
        report = self.start_report()
        self.assertNoResult(report)
        self.assertEqual(len(doubts), 1)
        self.respond = None
        self.heartbeat()
        self.requests()
        self.assertEqual(judge(self.successResultOf(report)), Verdict.REFUSED)
        self.assertEqual(self.requests(), [])  # it has been sent once

    def test_a_404_of_what_was_a_generation_1_server(self) -> None:
        """The heartbeat learns the new generation, and the report is made again in its form."""
        self.report()
        self.generation = 3
        report = self.start_report()
        self.assertNoResult(report)
        self.heartbeat()
        self.assertEqual(judge(self.successResultOf(report)), Verdict.TAKEN)

    def test_a_404_that_no_heartbeat_explains(self) -> None:
        self.report()
        self.respond = lambda url, body: ServerResponse(404, b"")
        report = self.start_report()
        self.clock.advance(CONFIRM_TIMEOUT)
        self.assertEqual(judge(self.successResultOf(report)), Verdict.RETRY)

    def test_a_404_of_a_server_that_nothing_is_known_of_is_none(self) -> None:
        self.respond = lambda url, body: ServerResponse(404, b"")
        self.client = self.make(signed=False)
        self.assertEqual(judge(self.report()), Verdict.RETRY)
        self.assertEqual(self.requests(), ["/gateway id", "/api/service instance_id"])

    def test_what_proves_nothing_is_not_tried_in_another_form(self) -> None:
        for response in (
            ServerResponse(401, b"service auth failed"),
            ServerResponse(503, b""),
            ServerResponse(200, b""),
            ServerResponse(200, b"<html>"),
            ServerResponse(200, b'{"ret_info": {"code": 4}}'),
        ):
            with self.subTest(response=response):
                self.respond = lambda url, body, r=response: r
                self.assertEqual(self.report().response, response)
                self.assertEqual(len(self.requests()), 1)

    def test_a_server_that_says_every_time_that_it_is_another_is_asked_three_times(self) -> None:
        def contrary(url: str, body: Any) -> ServerResponse:
            wrong = b'{"ret_info": {"code": 1}}' if "id" in body else b'{"code": 400}'
            return ServerResponse(200, wrong)

        self.respond = contrary
        self.report()
        self.assertLessEqual(len(self.requests()), 3)

    def test_a_response_to_another_generations_form_is_no_refusal(self) -> None:
        """Generation 2 takes no instance_id; the request in its own form then meets a fault."""
        self.generation = 3
        self.report()
        wrong_form = ServerResponse(500, b'{"code": 500, "message": "request failed with status 400"}')
        for then in (
            ServerResponse(503, b""),
            ServerResponse(200, b'{"ret_info": {"code": 1, "msg": "no"}}'),
        ):
            with self.subTest(then=then):
                self.respond = lambda url, body, r=then: wrong_form if "instance_id" in body else r
                self.assertNotIn(judge(self.report()), (Verdict.REFUSED, Verdict.TAKEN))
                self.respond = None
                self.assertEqual(judge(self.report()), Verdict.TAKEN)

    def test_a_404_whose_other_form_meets_a_fault_is_no_refusal(self) -> None:
        self.report()
        self.generation = 3
        report = self.start_report()
        self.respond = lambda url, body: (
            real(3, url, body) if "Heartbeat" in url else ServerResponse(503, b"")
        )
        self.heartbeat()
        self.assertEqual(judge(self.successResultOf(report)), Verdict.RETRY)

    def test_keys_that_are_missing(self) -> None:
        """Of the 404 and the 401, the latter says what to do."""
        self.client = self.make(signed=False)
        no_keys = ServerResponse(401, b"service auth failed")
        self.respond = lambda url, body: no_keys if "/api/" in url else ServerResponse(404, b"")
        exchange = self.report()
        self.assertEqual((exchange.response, judge(exchange)), (no_keys, Verdict.UNAVAILABLE))

    def test_servers_that_take_turns_behind_an_address(self) -> None:
        """Each request goes to either of them; none is refused, and most are taken at once."""
        for first, second in itertools.permutations((1, 2, 3), 2):
            chance, self.client = random.Random(1), self.make()
            self.respond = lambda url, body, pair=(first, second), c=chance: real(c.choice(pair), url, body)
            verdicts = []
            for _ in range(20):
                report = self.start_report()
                while not report.called:
                    self.heartbeat()
                verdicts.append(judge(self.successResultOf(report)))
            with self.subTest(first=first, second=second, verdicts=verdicts):
                self.assertNotIn(Verdict.REFUSED, verdicts)
                self.assertGreaterEqual(verdicts.count(Verdict.TAKEN), 10)

    def test_turns_are_said_once(self) -> None:
        with capturedLogs() as events:
            for _ in range(20):
                for self.generation in (2, 3):
                    self.assertEqual(judge(self.report()), Verdict.TAKEN)
        self.assertEqual(len(events), 9)
        self.assertEqual(
            formatEvent(events[-1]),
            f"{SERVER} responds as generation 3 and as 2 by turns:"
            " expected servers of one generation behind an address",
        )
        self.clock.advance(60)
        self.generation = 2
        self.report()
        self.assertEqual(self.client.generation(SERVER), 2)

    def test_a_failure_is_passed_on(self) -> None:
        self.respond = lambda url, body: ConnectionRefusedError()
        call = self.client.call(SERVER, METHOD, lambda g: {}, 5)
        self.failureResultOf(Deferred.fromCoroutine(call), ConnectionRefusedError)

    def test_few_addresses_are_remembered(self) -> None:
        for port in range(100):
            self.respond = lambda url, body: ServerResponse(200, b'{"code": 200}')
            call = self.client.call(f"http://10.0.0.1:{port}", METHOD, lambda g: {}, 5)
            self.successResultOf(Deferred.fromCoroutine(call))
        self.assertEqual(self.client.generation("http://10.0.0.1:0"), 3)
        self.assertEqual(self.client.generation("http://10.0.0.1:99"), 2)

    def test_says_once_what_a_server_speaks(self) -> None:
        with capturedLogs() as events:
            for generation in (3, 3, 1, 1):
                self.generation = generation
                self.report()
        self.assertEqual(
            [(event["log_level"], formatEvent(event)) for event in events],
            [(LogLevel.info, f"{SERVER} speaks generation {g} of the protocol") for g in (3, 1)],
        )


class FixedTests(LearningTestCase):
    def test_a_server_of_another_generation_is_named(self) -> None:
        """By the responses that prove nothing; the others have a warning of their own."""
        newer = "; probably a server of generation 2 or 3, whose paths begin with /api/service: expected "
        newer += "heartbeat.protocol auto, 2 or 3, and heartbeat.auth"
        older = "; probably a server of generation 1: expected heartbeat.protocol auto or 1"
        for fixed, generation, advice in (
            *((1, 1, ""), (1, 2, newer), (1, 3, newer), (2, 2, ""), (3, 3, "")),
            *((2, 1, older), (3, 1, older)),
        ):
            with self.subTest(fixed=fixed, generation=generation):
                self.client, self.generation = self.make(str(fixed)), generation
                exchange = self.heartbeat()
                self.assertEqual(exchange.advice, advice)
                if advice:
                    error = self.assertRaises((RetryError, RefusedError), read_response, exchange)
                    self.assertIn(advice, str(error))

    def test_no_generation_has_such_a_path(self) -> None:
        self.respond = lambda url, body: ServerResponse(404, b"<html>")
        self.assertIn("; expected the address of a control plane", self.heartbeat().advice)
        self.client = self.make(prefix="/own")
        self.assertEqual(self.heartbeat().advice, "; expected heartbeat.api_prefix to be its own")

    def test_is_spoken_whatever_the_responses_are_like(self) -> None:
        for fixed, request in ((1, "/gateway id"), (2, "/api/service id"), (3, "/api/service instance_id")):
            for generation in (1, 2, 3):
                with self.subTest(fixed=fixed, generation=generation):
                    self.client, self.generation = self.make(str(fixed)), generation
                    report = self.start_report()
                    self.clock.advance(CONFIRM_TIMEOUT)
                    verdict = judge(self.successResultOf(report))
                    self.assertEqual(verdict is Verdict.TAKEN, fixed == generation)
                    self.assertEqual(self.requests(), [request])

    def test_a_404_is_no_refusal_while_heartbeats_get_one_too(self) -> None:
        """The server has become another, or the setting is wrong."""
        self.client = self.make("1")
        self.assertEqual(judge(self.report()), Verdict.TAKEN)
        self.generation = 3
        report = self.start_report()
        self.heartbeat()
        self.assertNoResult(report)
        self.clock.advance(CONFIRM_TIMEOUT)
        self.assertEqual(judge(self.successResultOf(report)), Verdict.RETRY)

    def test_says_once_that_the_server_speaks_another(self) -> None:
        self.client, self.generation = self.make("2"), 3
        with capturedLogs() as events:
            self.report()
            self.report()
        self.assertEqual(
            [(event["log_level"], formatEvent(event)) for event in events],
            [
                (
                    LogLevel.warn,
                    f"heartbeat.protocol is 2, but {SERVER} responds as generation 3: expected auto or 3",
                )
            ],
        )
