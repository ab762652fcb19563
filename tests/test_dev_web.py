"""The development control plane over HTTP, in memory."""

from __future__ import annotations

from typing import Any

from treq.testing import StubTreq
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from scfd.dev.state import ControlPlaneState
from scfd.dev.task_file import parse_tasks
from scfd.dev.web import BODY_LIMIT, resource_tree

URL = "http://127.0.0.1:18202"
HEARTBEAT = f"{URL}/gateway/cloudnode/ReportHeartbeatInner"
STATUS = f"{URL}/gateway/collectmgr/ReportTaskStatus"

#: 2026-11-23 21:48:00 UTC, in seconds since the epoch.
NOW = 1795470480.0


class ControlPlaneTestCase(SynchronousTestCase):
    """
    :ivar state: what the control plane under test knows.
    :ivar now: the time it is there.
    """

    def setUp(self) -> None:
        self.now = NOW
        self.state = ControlPlaneState(lambda: self.now)
        self.http: Any = StubTreq(resource_tree(self.state))

    def request(self, method: str, url: str, **kwargs: Any) -> tuple[int, Any]:
        """:returns: status, and the JSON of the answer."""
        response = self.successResultOf(self.http.request(method, url, **kwargs))
        return response.code, self.successResultOf(response.json())

    def heartbeat(self, **fields: Any) -> dict[str, Any]:
        """:returns: ``data[0]`` of the answer to a good heartbeat."""
        report = {
            "node_id": "n1",
            "node_type": "scf",
            "running_version": "v1",
            "tasks_md5": "empty",
            **fields,
        }
        status, answer = self.request("POST", HEARTBEAT, json=report)
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
        ours = [event for event in events if event["log_namespace"] == "scfd.dev.moox"]
        self.assertEqual(
            ["node n1 reports in: version v1", "1 tasks handed out to n1"],
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
            self.assertEqual((400, 400), (status, answer["code"]), body)
            self.assertTrue(answer["message"].startswith(message), answer)
        self.assertEqual([], self.request("GET", f"{URL}/state")[1]["nodes"])


class TaskStatusTests(ControlPlaneTestCase):
    def test_is_noted(self) -> None:
        report = {"id": "a", "node_id": "n1", "status": 2, "result": "cpu 3.1 %"}
        self.assertEqual((200, {"code": 200, "message": "ok"}), self.request("POST", STATUS, json=report))
        state = self.request("GET", f"{URL}/state")[1]
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
        ours = [event for event in events if event["log_namespace"] == "scfd.dev.moox"]
        self.assertEqual([LogLevel.debug], [event["log_level"] for event in ours])

    def test_refuses_what_is_no_report(self) -> None:
        good = {"id": "a", "node_id": "n", "status": 2, "result": ""}
        cases: list[tuple[dict[str, Any], str]] = [
            ({"id": ""}, "id: text that is not empty is expected"),
            ({"node_id": 5}, "node_id: text that is not empty is expected"),
            ({"status": "2"}, "status: an integer is expected"),
            ({"status": True}, "status: an integer is expected"),
            ({"result": None}, "result: text is expected"),
        ]
        for change, message in cases:
            self.assertEqual(
                (400, {"code": 400, "message": message}),
                self.request("POST", STATUS, json={**good, **change}),
            )
        self.assertEqual([], self.request("GET", f"{URL}/state")[1]["results"])

    def test_a_body_that_is_too_long(self) -> None:
        status, answer = self.request("POST", STATUS, data=b" " * (BODY_LIMIT + 1))
        self.assertEqual((413, 413), (status, answer["code"]))


class StateTests(ControlPlaneTestCase):
    def test_nodes(self) -> None:
        self.heartbeat(supported_collectors=["kline"], metadata={"os": "linux"})
        self.now += 9.5
        self.heartbeat(running_version="v2", supported_collectors=["symbol"])
        state = self.request("GET", f"{URL}/state")[1]
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
        state = self.request("GET", f"{URL}/state")[1]
        self.assertEqual(["a"], [task["task_id"] for task in state["tasks"]])
        self.assertEqual(
            {"heartbeats": 1, "results": 4, "succeeded": 2, "failed": 1, "by_task": {"a": 4}}, state["counts"]
        )

    def test_the_newest_thousand_results_the_oldest_first(self) -> None:
        for number in range(1005):
            self.state.result("a", "n1", 2, str(number))
        state = self.request("GET", f"{URL}/state")[1]
        self.assertEqual([str(number) for number in range(5, 1005)], [r["result"] for r in state["results"]])
        self.assertEqual(1005, state["counts"]["results"])


class ElsewhereTests(ControlPlaneTestCase):
    def test_page(self) -> None:
        response = self.successResultOf(self.http.get(f"{URL}/"))
        text = self.successResultOf(response.text())
        self.assertEqual(200, response.code)
        self.assertEqual(["text/html; charset=utf-8"], response.headers.getRawHeaders("Content-Type"))
        self.assertIn("<title>scfd control plane (development)</title>", text)
        # What comes from nodes never becomes markup.
        self.assertNotIn("innerHTML", text)
        self.assertNotIn("insertAdjacentHTML", text)

    def test_head(self) -> None:
        for path in ("/", "/state"):
            response = self.successResultOf(self.http.head(f"{URL}{path}"))
            self.assertEqual((200, b""), (response.code, self.successResultOf(response.content())))

    def test_unknown_path(self) -> None:
        self.assertEqual(
            (404, {"code": 404, "message": "there is nothing at this path"}),
            self.request("GET", f"{URL}/no/such?a=b"),
        )

    def test_wrong_method(self) -> None:
        for method, url, allowed in (("GET", STATUS, "POST"), ("POST", f"{URL}/state", "GET, HEAD")):
            response = self.successResultOf(self.http.request(method, url))
            answer = self.successResultOf(response.json())
            self.assertEqual((405, 405), (response.code, answer["code"]))
            self.assertEqual([allowed], response.headers.getRawHeaders("Allow"))
