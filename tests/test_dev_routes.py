"""The development control plane refuses what the real one of each generation refuses."""

from __future__ import annotations

import json
from typing import Any

from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from scfd.control_plane.signing import Signer
from scfd.dev.state import ControlPlaneState
from scfd.dev.task_file import parse_tasks
from scfd.dev.web import resource_tree

URL = "http://127.0.0.1:18202"
HEARTBEAT = "/cloudnode/ReportHeartbeatInner"
REPORT = "/collectmgr/ReportTaskStatus"
BEAT = {"node_id": "n", "node_type": "scf", "tasks_md5": "empty"}
RESULT = {"node_id": "n", "status": 2, "result": ""}


class GenerationTestCase(SynchronousTestCase):
    protocol, prefix = "1", "/gateway"

    def setUp(self) -> None:
        self.state = ControlPlaneState(lambda: 1000.0)
        self.state.tasks = parse_tasks("[{task_id: a}, {task_id: b, invalid: 1}]", "t")
        self.keys = Signer("key", "secret", lambda: 1000.0)
        tree = resource_tree(self.state, Clock(), self.protocol, self.keys)
        self.http: Any = StubTreq(tree)

    def post(self, path: str, value: Any, signed: bool = True) -> tuple[int, bytes, str]:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        headers = {"Auth": self.keys.sign(body)} if signed else {}
        response = self.successResultOf(self.http.post(URL + path, data=body, headers=headers))
        trpc_ret = response.headers.getRawHeaders("Trpc-Ret", [""])[0]
        return response.code, self.successResultOf(response.content()), trpc_ret

    def call(self, method: str, value: Any) -> tuple[int, Any]:
        status, body, _ = self.post(self.prefix + method, value)
        return status, json.loads(body)

    def results(self) -> list[tuple[str, int]]:
        return [(result["task_id"], result["status"]) for result in self.state.as_json()["results"]]


class Generation1Tests(GenerationTestCase):
    def test_other_paths_are_the_trap(self) -> None:
        for path in ("/api/service" + REPORT, "/gateway/other/Method"):
            status, body, trpc_ret = self.post(path, {})
            self.assertEqual((status, json.loads(body)["ret_info"]["code"], trpc_ret), (200, 3, ""))

    def test_an_unknown_node(self) -> None:
        self.state.switch_faults({"unknown_nodes": True})
        self.assertEqual(self.call(HEARTBEAT, BEAT)[0], 200)
        status, response = self.call(HEARTBEAT, {**BEAT, "supported_collectors": ["kline"]})
        self.assertEqual((status, response["message"]), (500, "request failed with status 500"))

    def test_not_planned_yet(self) -> None:
        self.state.switch_faults({"initializing": True})
        (orders,) = self.call(HEARTBEAT, BEAT)[1]["data"]
        self.assertEqual((orders["tasks_md5"], orders["task_instances"]), ("initializing", []))

    def test_what_ends_in_a_wrapped_400(self) -> None:
        for change in (
            {"status": 0},
            {"status": 0.0},
            {"node_id": ""},
            {"node_id": None},
            {"id": "a#b"},
            {"id": "a%b"},
            {"id": "a/b"},
        ):
            status, response = self.call(REPORT, {"id": "a", **RESULT, **change})
            self.assertEqual((status, response["message"]), (500, "request failed with status 400"))
        self.assertEqual(self.results(), [])


class Generation2Tests(GenerationTestCase):
    protocol, prefix = "2", "/api/service"

    def test_a_heartbeat(self) -> None:
        status, response = self.call(HEARTBEAT, {**BEAT, "anything": 1})
        self.assertEqual((status, response["code"]), (200, 200))
        self.assertEqual([task["task_id"] for task in response["data"][0]["task_instances"]], ["a", "b"])

    def test_a_heartbeat_that_is_refused_has_status_200(self) -> None:
        status, response = self.call(HEARTBEAT, {})
        self.assertEqual((status, response["code"]), (200, 400))

    def test_an_unknown_node(self) -> None:
        self.state.switch_faults({"unknown_nodes": True})
        status, response = self.call(HEARTBEAT, {**BEAT, "supported_collectors": ["kline"]})
        self.assertEqual((status, response["code"]), (200, 500))

    def test_a_report(self) -> None:
        self.assertEqual(self.call(REPORT, {"id": "a", **RESULT})[1]["code"], 200)
        self.assertEqual(self.results(), [("a", 2)])
        status, response = self.call(REPORT, {"instance_id": "a", **RESULT})
        self.assertEqual((status, response["message"]), (500, "request failed with status 400"))

    def test_reports_that_are_wrapped(self) -> None:
        for change in ({"status": 0}, {"node_id": ""}, {"id": "a/b"}, {"id": 7}, {"status": "x"}):
            status, response = self.call(REPORT, {"id": "a", **RESULT, **change})
            self.assertEqual((status, response["message"]), (500, "request failed with status 400"))
        self.state.switch_faults({"refuse": ["a"]})
        self.assertEqual(
            self.call(REPORT, {"id": "a", **RESULT})[1]["message"], "request failed with status 404"
        )

    def test_the_signature(self) -> None:
        status, body, _ = self.post(self.prefix + HEARTBEAT, BEAT, signed=False)
        self.assertEqual((status, body), (401, b"service auth failed"))

    def test_the_paths_of_generation_1(self) -> None:
        for method in (HEARTBEAT, REPORT):
            self.assertEqual(self.post("/gateway" + method, BEAT)[:2], (404, b"404 page not found\n"))


class Generation3Tests(GenerationTestCase):
    protocol, prefix = "3", "/api/service"

    def code(self, method: str, value: Any) -> int:
        status, response = self.call(method, value)
        self.assertEqual(status, 200)
        code: int = response["ret_info"]["code"]
        return code

    def test_a_heartbeat(self) -> None:
        for alias in (HEARTBEAT, "/cloudnode/ReportHeartbeat"):
            _, response = self.call(alias, BEAT)
            self.assertEqual(response["ret_info"]["code"], 0)
            deleted = [(task["task_id"], task["is_deleted"]) for task in response["task_instances"]]
            self.assertEqual(deleted, [("a", "false"), ("b", "true")])
            self.assertNotIn("invalid", response["task_instances"][0])

    def test_nothing_to_do(self) -> None:
        self.state.tasks = ()
        _, response = self.call(HEARTBEAT, {**BEAT, "tasks_md5": "x"})
        self.assertEqual((response["tasks_md5"], response["task_instances"]), ("empty", []))

    def test_strict_requests(self) -> None:
        for value in (
            b"",
            b"{",
            b"[]",
            {},
            {**BEAT, "node_id": ""},
            {**BEAT, "node_type": ""},
            {**BEAT, "timestamp": 1},
            {**BEAT, "metrics": 1},
            {**BEAT, "local_dns_records": {}},
            {"node_id": "n"},
            {**BEAT, "server_ip": "x"},
            {**BEAT, "node_id": 1},
            {**BEAT, "supported_collectors": "kline"},
            {**BEAT, "metadata": []},
        ):
            with self.subTest(value=value):
                self.assertEqual(self.code(HEARTBEAT, value), 1)
        self.assertEqual(self.code(HEARTBEAT, {**BEAT, "metadata": {"a": [1]}, "metrics": {"b": {}}}), 0)
        for body in (b"{", b"[]", b"\xff"):
            self.assertEqual(self.post(self.prefix + HEARTBEAT, body)[2], "1")
        self.assertEqual(self.post(self.prefix + HEARTBEAT, {"server_ip": "x"})[2], "")
        self.assertIn('unknown field "id"', self.call(REPORT, {"id": "a"})[1]["ret_info"]["msg"])

    def test_reports(self) -> None:
        for status in (2, 2.0, "2"):
            self.assertEqual(self.code(REPORT, {"instance_id": "a", **RESULT, "status": status}), 0)
        self.assertEqual(self.results(), [("a", 2)] * 3)
        for value, code in (
            ({"id": "a", **RESULT}, 1),
            (RESULT, 1),
            ({"instance_id": "a", "status": 2}, 1),
            ({"instance_id": 7, **RESULT}, 1),
            ({"instance_id": "unknown", **RESULT}, 4),
            *(({"instance_id": "a", **RESULT, "status": odd}, 1) for odd in (2.5, True, "x", "", None, [2])),
            ({"instance_id": "a", **RESULT, "result": 1}, 1),
            ({"instance_id": "a", **RESULT, "more": 1}, 1),
        ):
            with self.subTest(value=value):
                self.assertEqual(self.code(REPORT, value), code)

    def test_the_signature(self) -> None:
        self.assertEqual(self.post(self.prefix + REPORT, {}, signed=False)[:2], (401, b"service auth failed"))
        good = self.keys.sign(b"{}")
        tampered = good[:-1] + ("0" if good[-1] != "0" else "1")
        for header in (
            "",
            "moox-auth-v1",
            tampered,
            good.replace("/1800/", "/1801/"),
            good.replace("-v1/", "-v2/"),
            f"{good}/x",
            Signer("key", "other", lambda: 1000.0).sign(b"{}"),
            Signer("other", "secret", lambda: 1000.0).sign(b"{}"),
            self.signed_at(1301.0),
            self.signed_at(1000.0 - 1800 - 301),
            self.keys.sign(b"{} "),
        ):
            with self.subTest(header=header):
                self.assertEqual(self.status_of(header), 401)
        for skew in (-300, 0, 300):
            self.assertEqual(self.status_of(self.signed_at(1000.0 + skew)), 200)

    def signed_at(self, moment: float) -> str:
        return Signer("key", "secret", lambda: moment).sign(b"{}")

    def status_of(self, header: str) -> int:
        post = self.http.post(URL + self.prefix + REPORT, data=b"{}", headers={"Auth": header})
        status: int = self.successResultOf(post).code
        return status

    def test_other_paths(self) -> None:
        self.assertEqual(self.post("/gateway" + HEARTBEAT, BEAT)[:2], (404, b"404 page not found\n"))
        for path, code in (
            ("/other/Method", 999),
            ("/cloudnode/Other", 12),
            ("/collectmgr/ReportHeartbeat", 12),
            ("/collectmgr", 999),
        ):
            status, body, trpc_ret = self.post(self.prefix + path, {})
            self.assertEqual((status, json.loads(body)["ret_info"]["code"], trpc_ret), (200, code, str(code)))

    def test_an_unknown_node(self) -> None:
        self.state.switch_faults({"unknown_nodes": True})
        self.assertEqual(self.code(HEARTBEAT, BEAT), 0)
        _, response = self.call(HEARTBEAT, {**BEAT, "supported_collectors": ["kline"]})
        self.assertEqual(response.pop("ret_info")["code"], 4)
        self.assertEqual(response, {"package_version": "", "tasks_md5": "", "task_instances": None})

    def test_not_planned_yet(self) -> None:
        self.state.switch_faults({"initializing": True})
        _, response = self.call(HEARTBEAT, BEAT)
        self.assertEqual((response["tasks_md5"], response["task_instances"]), ("initializing", []))
