"""The development control plane over HTTP, in memory."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

from attrs import fields
from hypothesis import strategies as st
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived

from scfd.dev.state import ControlPlaneState, Faults
from scfd.dev.task_file import parse_tasks
from scfd.dev.web import resource_tree
from tests.properties import given

URL = "http://127.0.0.1:18202"
HEARTBEAT = f"{URL}/gateway/cloudnode/ReportHeartbeatInner"
STATUS = f"{URL}/gateway/collectmgr/ReportTaskStatus"
STATE = f"{URL}/state"
FAULTS = f"{URL}/faults"

#: What `Faults` says when nothing is on.
ALL_OFF = {"down": False, "slow": 0, "status": 0, "package_version": "", "refuse": []}
ALL_OFF |= {"initializing": False, "unknown_nodes": False}

#: A heartbeat, and a report, that are accepted.
GOOD_HEARTBEAT = {"node_id": "n1", "node_type": "scf", "running_version": "v1", "tasks_md5": "empty"}
GOOD_REPORT = {"id": "a", "node_id": "n1", "status": 2, "result": ""}

#: 2026-11-23 21:48:00 UTC, in seconds since the epoch.
NOW = 1795470480.0


class ControlPlaneTestCase(SynchronousTestCase):
    """
    :ivar state: what the control plane under test knows.
    :ivar now: the time it is there.
    :ivar clock: what its late answers wait for.
    """

    def setUp(self) -> None:
        self.now = NOW
        self.state = ControlPlaneState(lambda: self.now)
        self.clock = Clock()
        self.resource = resource_tree(self.state, self.clock)
        self.http: Any = StubTreq(self.resource)

    def request(self, method: str, url: str, **kwargs: Any) -> tuple[int, Any]:
        """:returns: status, and the JSON of the answer."""
        response = self.successResultOf(self.http.request(method, url, **kwargs))
        return response.code, self.successResultOf(response.json())

    def heartbeat(self, **fields: Any) -> dict[str, Any]:
        """:returns: ``data[0]`` of the answer to a good heartbeat."""
        status, answer = self.request("POST", HEARTBEAT, json={**GOOD_HEARTBEAT, **fields})
        self.assertEqual((200, 200, 1), (status, answer["code"], len(answer["data"])))
        data: dict[str, Any] = answer["data"][0]
        return data


class HeartbeatTests(ControlPlaneTestCase):
    def test_hands_out_tasks_to_a_node_whose_digest_differs(self) -> None:
        self.state.tasks = parse_tasks("[{task_id: task-002}, {task_id: task-001, task_params: {a: 1}}]", "t")
        self.assertEqual(
            {
                "package_version": "v1",
                "tasks_md5": "933de3e4a87c37ff6e7234b5eaf845d2",
                "task_instances": [
                    {
                        "id": 1,
                        "task_id": "task-002",
                        "rule_id": "rule-001",
                        "planned_exec_node": "n1",
                        "task_params": "{}",
                        "invalid": 0,
                    },
                    {
                        "id": 2,
                        "task_id": "task-001",
                        "rule_id": "rule-002",
                        "planned_exec_node": "n1",
                        "task_params": '{"a": 1}',
                        "invalid": 0,
                    },
                ],
            },
            self.heartbeat(),
        )

    def test_hands_out_nothing_to_a_node_whose_digest_is_the_same(self) -> None:
        self.state.tasks = parse_tasks("[{task_id: a}]", "t")
        md5 = self.heartbeat()["tasks_md5"]
        self.assertEqual({"package_version": "v1", "tasks_md5": md5}, self.heartbeat(tasks_md5=md5))

    def test_hands_out_again_to_a_node_that_has_lost_its_tasks(self) -> None:
        self.state.tasks = parse_tasks("[{task_id: a}]", "t")
        md5 = self.heartbeat()["tasks_md5"]
        self.heartbeat(tasks_md5=md5)
        self.assertEqual(1, len(self.heartbeat(tasks_md5="empty")["task_instances"]))

    def test_hands_out_changed_parameters_although_the_digest_is_the_same(self) -> None:
        self.state.tasks = parse_tasks("[{task_id: a}]", "t")
        md5 = self.heartbeat()["tasks_md5"]
        self.state.tasks = parse_tasks("[{task_id: a, task_params: {path: /tmp}}]", "t")
        answer = self.heartbeat(tasks_md5=md5)
        self.assertEqual('{"path": "/tmp"}', answer["task_instances"][0]["task_params"])
        self.assertNotIn("task_instances", self.heartbeat(tasks_md5=md5))

    def test_an_empty_list_is_authoritative(self) -> None:
        self.assertEqual(
            {"package_version": "v1", "tasks_md5": "empty", "task_instances": []},
            self.heartbeat(tasks_md5="933de3e4a87c37ff6e7234b5eaf845d2"),
        )

    def test_a_task_for_one_node_goes_to_that_one_only(self) -> None:
        self.state.tasks = parse_tasks("[{task_id: a, planned_exec_node: n2}, {task_id: b}]", "t")
        one, two = self.heartbeat(node_id="n1"), self.heartbeat(node_id="n2")
        self.assertEqual(["b"], [task["task_id"] for task in one["task_instances"]])
        self.assertEqual(["a", "b"], [task["task_id"] for task in two["task_instances"]])
        self.assertNotEqual(one["tasks_md5"], two["tasks_md5"])

    def test_says_in_the_log_what_happens(self) -> None:
        self.state.tasks = parse_tasks("[{task_id: a}]", "t")
        with capturedLogs() as events:
            md5 = self.heartbeat()["tasks_md5"]
            self.heartbeat(tasks_md5=md5)
        ours = [event for event in events if event["log_namespace"] == "scfd.dev.control_plane"]
        self.assertEqual(
            ["node n1 reports in: version v1", "1 task handed out to n1"],
            [event["log_format"].format(**event) for event in ours],
        )

    def test_refuses_what_is_no_heartbeat(self) -> None:
        cases: list[tuple[bytes, str]] = [
            (b"{", "the body is not JSON: "),
            (b"[]", "the body is not a JSON object"),
            (b"{}", "node_id: text that is not empty is expected"),
            (b'{"node_id": ""}', "node_id: text that is not empty is expected"),
            (b'{"node_id": "n", "running_version": 1}', "running_version: text is expected"),
            (b'{"node_id": "n", "tasks_md5": null}', "tasks_md5: text is expected"),
        ]
        for body, message in cases:
            status, answer = self.request("POST", HEARTBEAT, data=body)
            self.assertEqual((500, "request failed with status 400"), (status, answer["message"]), body)
            self.assertTrue(answer["reason"].startswith(message), answer)
        self.assertEqual([], self.request("GET", STATE)[1]["nodes"])


class TaskStatusTests(ControlPlaneTestCase):
    def test_is_noted(self) -> None:
        report = {"id": "a", "node_id": "n1", "status": 2, "result": "cpu 3.1 %"}
        self.assertEqual((200, {"code": 200, "message": "ok"}), self.request("POST", STATUS, json=report))
        state = self.request("GET", STATE)[1]
        self.assertEqual(
            [
                {
                    "task_id": "a",
                    "node_id": "n1",
                    "status": 2,
                    "result": "cpu 3.1 %",
                    "at": "2026-11-23T21:48:00Z",
                }
            ],
            state["results"],
        )

    def test_is_only_for_debugging_in_the_log(self) -> None:
        with capturedLogs() as events:
            self.request("POST", STATUS, json={"id": "a", "node_id": "n", "status": 2, "result": ""})
        ours = [event for event in events if event["log_namespace"] == "scfd.dev.control_plane"]
        self.assertEqual([LogLevel.debug], [event["log_level"] for event in ours])

    def test_refuses_what_is_no_report(self) -> None:
        cases: list[tuple[dict[str, Any], str]] = [
            ({"id": ""}, "id: text that is not empty is expected"),
            ({"node_id": 5}, "node_id: text that is not empty is expected"),
            ({"status": "2"}, "status: an integer is expected"),
            ({"status": True}, "status: an integer is expected"),
            ({"result": None}, "result: text is expected"),
        ]
        for change, message in cases:
            wrapped = {"code": 500, "message": "request failed with status 400", "reason": message}
            self.assertEqual((500, wrapped), self.request("POST", STATUS, json={**GOOD_REPORT, **change}))
        self.assertEqual([], self.request("GET", STATE)[1]["results"])


class StateTests(ControlPlaneTestCase):
    def test_nodes(self) -> None:
        self.heartbeat(supported_collectors=["kline"], metadata={"os": "linux"})
        self.now += 9.5
        self.heartbeat(running_version="v2", supported_collectors=["symbol"])
        state = self.request("GET", STATE)[1]
        self.assertEqual(
            [
                {
                    "node_id": "n1",
                    "version": "v2",
                    "node_type": "scf",
                    "first_seen": "2026-11-23T21:48:00Z",
                    "last_heartbeat": "2026-11-23T21:48:09.500Z",
                    "heartbeats": 2,
                    "tasks_md5": "empty",
                    "extra": {"supported_collectors": ["symbol"]},
                }
            ],
            state["nodes"],
        )

    def test_tasks_and_counts(self) -> None:
        self.state.tasks = parse_tasks("[{task_id: a}]", "t")
        for status in (2, 2, 4, 3):
            self.state.result("a", "n1", status, "")
        self.heartbeat()
        state = self.request("GET", STATE)[1]
        self.assertEqual(["a"], [task["task_id"] for task in state["tasks"]])
        self.assertEqual(
            {"heartbeats": 1, "results": 4, "succeeded": 2, "failed": 1, "by_task": {"a": 4}}, state["counts"]
        )

    def test_the_newest_thousand_results_the_oldest_first(self) -> None:
        for number in range(1005):
            self.state.result("a", "n1", 2, str(number))
        state = self.request("GET", STATE)[1]
        self.assertEqual([str(number) for number in range(5, 1005)], [r["result"] for r in state["results"]])
        self.assertEqual(1005, state["counts"]["results"])


class SwitchTests(ControlPlaneTestCase):
    """What ``/faults`` takes and says."""

    def test_all_are_off_at_first(self) -> None:
        self.assertEqual((200, ALL_OFF), self.request("GET", FAULTS))
        self.assertEqual(ALL_OFF, self.request("GET", STATE)[1]["faults"])

    def test_what_is_not_named_stays(self) -> None:
        self.assertEqual((200, {**ALL_OFF, "slow": 2.5}), self.request("POST", FAULTS, json={"slow": 2.5}))
        expected = {"down": True, "slow": 2.5, "status": 599, "package_version": "v2", "refuse": ["a", "b"]}
        expected |= {"initializing": True, "unknown_nodes": True}
        changes = {name: value for name, value in expected.items() if name != "slow"}
        self.assertEqual((200, expected), self.request("POST", FAULTS, json=changes))
        self.assertEqual((200, expected), self.request("GET", FAULTS))
        self.assertEqual(expected, self.request("GET", STATE)[1]["faults"])
        self.assertEqual((200, ALL_OFF), self.request("POST", FAULTS, json=ALL_OFF))

    def test_mistakes_change_nothing(self) -> None:
        seconds = "slow: a number of seconds up to 600, or 0 for off, is expected"
        status = "status: an HTTP status from 400 to 599, or 0 for off, is expected"
        task_ids = "refuse: a list of task ids, or [] for off, is expected"
        cases: list[tuple[str, str]] = [
            ("{", "the body is not JSON: "),
            ("[]", "the body is not a JSON object"),
            (
                '{"slo": 1}',
                "slo: there is no such switch; there are down, slow, status, package_version, refuse,"
                " initializing, unknown_nodes",
            ),
            ('{"down": 1}', "down: true or false is expected"),
            ('{"slow": -1}', seconds),
            ('{"slow": 600.5}', seconds),
            ('{"slow": true}', seconds),
            ('{"slow": "1"}', seconds),
            ('{"status": 200}', status),
            ('{"status": 399}', status),
            ('{"status": 600}', status),
            ('{"status": 500.5}', status),
            ('{"status": false}', status),
            ('{"package_version": null}', 'package_version: a version, or "" for off, is expected'),
            ('{"refuse": "a"}', task_ids),
            ('{"refuse": [""]}', task_ids),
            ('{"refuse": [1]}', task_ids),
            ('{"down": true, "slow": -1}', seconds),
        ]
        for body, message in cases:
            code, answer = self.request("POST", FAULTS, data=body)
            self.assertEqual((400, 400), (code, answer["code"]), body)
            self.assertEqual(message, answer["message"][: len(message)], body)
        self.assertEqual(Faults(), self.state.faults)

    @given(
        st.dictionaries(
            st.sampled_from([*ALL_OFF, "other"]),
            st.booleans() | st.floats(-1, 700) | st.integers(-1, 700) | st.text() | st.lists(st.text()),
        )
    )
    def test_any_object_is_taken_or_refused(self, changes: dict[str, Any]) -> None:
        state = ControlPlaneState(lambda: NOW)
        try:
            state.switch_faults(changes)
        except ValueError:
            self.assertEqual(Faults(), state.faults)
        else:
            self.assertEqual({**ALL_OFF, **changes}, json.loads(json.dumps(state.faults.as_json())))

    def test_says_in_the_log_what_is_on(self) -> None:
        with capturedLogs() as events:
            everything = {"slow": 2, "status": 500, "package_version": "v2", "refuse": ["a", "b"]}
            self.request("POST", FAULTS, json={"down": True})
            self.request("POST", FAULTS, json={**everything, "down": False})
            self.request("POST", FAULTS, json=ALL_OFF)
        ours = [event for event in events if event["log_namespace"] == "scfd.dev.control_plane"]
        self.assertEqual(
            [
                (LogLevel.warn, "faults are on: down"),
                (
                    LogLevel.warn,
                    "faults are on: slow by 2 s; status 500; version v2; reports of a, b refused",
                ),
                (LogLevel.info, "all faults are off"),
            ],
            [(event["log_level"], event["log_format"].format(**event)) for event in ours],
        )


class FaultTests(ControlPlaneTestCase):
    """What the nodes get of it."""

    def send(self, url: str = STATUS, value: object = GOOD_REPORT) -> Deferred[Any]:
        """A request that may have to wait for its answer."""
        sent: Deferred[Any] = self.http.post(url, json=value)
        self.http.flush()
        return sent

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.http.flush()

    def heard(self) -> tuple[int, int]:
        """:returns: how many heartbeats and reports were taken."""
        counts = self.request("GET", STATE)[1]["counts"]
        return counts["heartbeats"], counts["results"]

    def test_down(self) -> None:
        self.state.switch_faults({"down": True, "slow": 5, "status": 500})
        for url, value in ((HEARTBEAT, GOOD_HEARTBEAT), (STATUS, GOOD_REPORT)):
            self.failureResultOf(self.send(url, value), ResponseNeverReceived)
        self.assertEqual((0, 0), self.heard())

    def test_what_people_use_answers_always(self) -> None:
        self.state.switch_faults({"down": True, "slow": 5, "status": 500})
        for path in ("/", "/state", "/faults"):
            self.assertEqual(200, self.successResultOf(self.http.get(f"{URL}{path}")).code)
        self.assertEqual((200, ALL_OFF), self.request("POST", FAULTS, json=ALL_OFF))
        self.assertEqual(200, self.request("POST", STATUS, json=GOOD_REPORT)[0])

    def test_status(self) -> None:
        self.state.switch_faults({"status": 503})
        for url, value in ((HEARTBEAT, GOOD_HEARTBEAT), (f"{STATUS}?a=b", GOOD_REPORT)):
            self.assertEqual(
                (503, {"code": 503, "message": "a fault that is switched on"}),
                self.request("POST", url, json=value),
            )
        self.assertEqual((0, 0), self.heard())

    def test_slow(self) -> None:
        self.state.switch_faults({"slow": 2.5})
        beat, report = self.send(HEARTBEAT, GOOD_HEARTBEAT), self.send()
        self.advance(2.4)
        self.assertNoResult(beat)
        self.assertNoResult(report)
        self.advance(0.1)
        self.assertEqual(200, self.successResultOf(beat).code)
        self.assertEqual(200, self.successResultOf(report).code)
        self.assertEqual((1, 1), self.heard())

    def test_slow_with_another_status(self) -> None:
        self.state.switch_faults({"slow": 3, "status": 500})
        report = self.send()
        self.advance(2)
        self.assertNoResult(report)
        self.advance(1)
        self.assertEqual(500, self.successResultOf(report).code)

    def test_what_is_switched_on_befalls_those_who_wait(self) -> None:
        self.state.switch_faults({"slow": 3})
        report = self.send()
        self.state.switch_faults({"down": True})
        self.advance(3)
        self.failureResultOf(report, ResponseNeverReceived)
        self.assertEqual((0, 0), self.heard())

    def test_a_late_answer_does_not_outlive_its_connection(self) -> None:
        self.state.switch_faults({"slow": 3})
        report = self.send()
        report.cancel()
        self.failureResultOf(report)
        self.http.flush()
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual((0, 0), self.heard())

    def test_close_ends_those_who_wait(self) -> None:
        self.state.switch_faults({"slow": 3})
        reports = [self.send(), self.send()]
        self.advance(1)
        self.resource.close()
        self.http.flush()
        for report in reports:
            self.failureResultOf(report, ResponseNeverReceived)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_a_new_version(self) -> None:
        self.state.switch_faults({"package_version": "v2"})
        self.assertEqual("v2", self.heartbeat()["package_version"])
        self.state.switch_faults({"package_version": ""})
        self.assertEqual("v1", self.heartbeat()["package_version"])

    def test_refused_tasks(self) -> None:
        self.state.switch_faults({"refuse": ["a", "c"]})
        status, response = self.request("POST", STATUS, json=GOOD_REPORT)
        self.assertEqual((500, "request failed with status 404"), (status, response["message"]))
        self.assertEqual("reports of a are refused: a fault that is switched on", response["reason"])
        self.assertEqual(200, self.request("POST", STATUS, json={**GOOD_REPORT, "id": "b"})[0])
        self.assertEqual({"b": 1}, self.request("GET", STATE)[1]["counts"]["by_task"])


class Controls(HTMLParser):
    """
    The controls of a page.

    :ivar named: their names.
    :ivar unlabelled: those that no label belongs to.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.named: list[str] = []
        self._ids: dict[str, str] = {}
        self._labels: set[str] = set()
        self._in_label = False
        self.feed(text)
        self.unlabelled = [name for name, its_id in self._ids.items() if its_id not in self._labels]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "label":
            self._in_label = True
            self._labels.add(values.get("for") or "")
        elif tag in ("input", "textarea", "select"):
            name = values.get("name") or ""
            self.named.append(name)
            if not self._in_label:
                self._ids[name] = values.get("id") or "none"

    def handle_endtag(self, tag: str) -> None:
        if tag == "label":
            self._in_label = False


class ElsewhereTests(ControlPlaneTestCase):
    def test_the_page_has_every_switch(self) -> None:
        response = self.successResultOf(self.http.get(f"{URL}/"))
        controls = Controls(self.successResultOf(response.text()))
        self.assertEqual([field.name for field in fields(Faults)], controls.named)
        self.assertEqual([], controls.unlabelled)

    def test_page(self) -> None:
        response = self.successResultOf(self.http.get(f"{URL}/"))
        text = self.successResultOf(response.text())
        self.assertEqual(200, response.code)
        self.assertEqual(["text/html; charset=utf-8"], response.headers.getRawHeaders("Content-Type"))
        self.assertIn("<title>scfd control plane (development)</title>", text)
        policy = response.headers.getRawHeaders("Content-Security-Policy")[0]
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("unsafe", policy)

    def test_head(self) -> None:
        for path in ("/", "/state", "/faults"):
            response = self.successResultOf(self.http.head(f"{URL}{path}"))
            self.assertEqual((200, b""), (response.code, self.successResultOf(response.content())))

    def test_unknown_path(self) -> None:
        self.assertEqual(
            (404, {"code": 404, "message": "there is nothing at this path"}),
            self.request("GET", f"{URL}/no/such?a=b"),
        )

    def test_wrong_method(self) -> None:
        for method, url, allowed in (
            ("GET", STATUS, "POST"),
            ("POST", STATE, "GET, HEAD"),
            ("PUT", FAULTS, "GET, HEAD, POST"),
        ):
            response = self.successResultOf(self.http.request(method, url))
            answer = self.successResultOf(response.json())
            self.assertEqual((405, 405), (response.code, answer["code"]))
            self.assertEqual([allowed], response.headers.getRawHeaders("Allow"))
