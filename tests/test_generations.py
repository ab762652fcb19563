"""Tests for scfd.control_plane.generations."""

from __future__ import annotations

import json
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from scfd.control_plane.client import ServerResponse
from scfd.control_plane.generations import (
    decoded,
    heartbeat_request,
    path,
    report_request,
    spoken,
)
from scfd.events.event import TaskResult

METHOD = "/cloudnode/ReportHeartbeatInner"


class PathTests(SynchronousTestCase):
    def test_the_paths_of_the_generations(self) -> None:
        for prefix in ("/gateway", "/api/service"):
            self.assertEqual(
                [path(generation, METHOD, prefix) for generation in (1, 2, 3)],
                [f"/gateway{METHOD}", f"/api/service{METHOD}", f"/api/service{METHOD}"],
            )

    def test_another_prefix_is_used_always(self) -> None:
        for generation in (1, 2, 3):
            self.assertEqual(path(generation, METHOD, "/proxy/moox"), f"/proxy/moox{METHOD}")


class HeartbeatRequestTests(SynchronousTestCase):
    message: ClassVar = {
        "node_id": "n",
        "node_type": "scf",
        "running_version": "v1",
        "metadata": {"os": "linux"},
        "tasks_md5": "empty",
        "supported_collectors": ["kline"],
        "load": 2,
    }

    def test_generations_1_and_2_take_any_field(self) -> None:
        for generation in (1, 2):
            self.assertEqual(heartbeat_request(generation, self.message), self.message)

    def test_generation_3_gets_unknown_fields_in_metadata(self) -> None:
        expected = {**self.message, "metadata": {"os": "linux", "load": 2}}
        del expected["load"]
        self.assertEqual(heartbeat_request(3, self.message), expected)

    def test_generation_3_gets_no_field_of_a_type_that_it_refuses(self) -> None:
        for name, value in (
            ("supported_collectors", "kline"),
            ("supported_collectors", [1]),
            ("metrics", [1]),
            ("timestamp", 1_800_000_000),
            ("source_service", None),
            ("local_dns_records", {"a": 1}),
            ("local_dns_records", ["a"]),
        ):
            with self.subTest(name=name, value=value):
                request = heartbeat_request(3, {**self.message, name: value})
                self.assertNotIn(name, request)
                self.assertEqual(request["metadata"][name], value)

    def test_generation_3_gets_its_own_fields_as_they_are(self) -> None:
        own = {
            "source_service": "s",
            "timestamp": "2026-07-01T00:00:00Z",
            "metrics": {"cpu": 1},
            "local_dns_records": [{"domain": "a", "ip_list": [], "resolve_at": ""}],
        }
        request = heartbeat_request(3, {**self.message, **own})
        self.assertEqual({name: request[name] for name in own}, own)

    def test_metadata_of_another_type(self) -> None:
        self.assertEqual(
            heartbeat_request(3, {"node_id": "n", "metadata": [1]}),
            {"node_id": "n", "metadata": {"metadata": [1]}},
        )


class ReportRequestTests(SynchronousTestCase):
    def test_the_name_of_the_task(self) -> None:
        result = TaskResult("task-001", 2, "done")
        rest = {"node_id": "n", "status": 2, "result": "done"}
        self.assertEqual(report_request(1, "n", result), {"id": "task-001", **rest})
        self.assertEqual(report_request(2, "n", result), {"id": "task-001", **rest})
        self.assertEqual(report_request(3, "n", result), {"instance_id": "task-001", **rest})

    def test_an_empty_result(self) -> None:
        """It leaves the text that generation 3 has of an earlier report: nothing is put in its place."""
        result = TaskResult("task-001", 2, "")
        self.assertEqual([report_request(g, "n", result)["result"] for g in (1, 2, 3)], ["", "", ""])

    def test_status_0_is_one_that_generations_1_and_2_take_for_none(self) -> None:
        result = TaskResult("task-001", 0)
        self.assertEqual([report_request(g, "n", result)["status"] for g in (1, 2, 3)], [1, 1, 0])


class DecodedTests(SynchronousTestCase):
    def test_deleted_tasks_are_invalid(self) -> None:
        for deleted, invalid in (("true", 1), ("false", 0), (True, 1), (False, 0), ("", 0), (None, 0)):
            tasks = [{"task_id": "a", "is_deleted": deleted}]
            body = json.dumps({"ret_info": {"code": 0}, "task_instances": tasks}).encode()
            value = decoded(ServerResponse(200, body))
            self.assertEqual(value["task_instances"], [{**tasks[0], "invalid": invalid}])


class SpokenTests(SynchronousTestCase):
    def assert_spoken(self, expected: int | None, asked: int, response: ServerResponse) -> None:
        self.assertEqual(spoken(asked, decoded(response), response), expected)

    def test_code_and_data(self) -> None:
        for asked, expected in ((1, 1), (2, 2), (3, 2)):
            for body in (b'{"code": 200}', b'{"code": 400, "message": "x"}'):
                self.assert_spoken(expected, asked, ServerResponse(200, body))

    def test_ret_info(self) -> None:
        for asked in (1, 2, 3):
            for code in (b"0", b"1", b"2", b"4", b"5", b"12", b"141"):
                self.assert_spoken(3, asked, ServerResponse(200, b'{"ret_info": {"code": %b}}' % code))

    def test_code_3_proves_nothing(self) -> None:
        """A generation 1 server says so for each path that it does not have."""
        response = ServerResponse(200, b'{"ret_info": {"code": 3, "msg": "x"}}')
        self.assert_spoken(None, 2, response)
        self.assert_spoken(None, 3, response)
        self.assert_spoken(3, 1, response)
        self.assert_spoken(3, 3, ServerResponse(200, response.body, "3"))

    def test_a_wrapped_status(self) -> None:
        response = ServerResponse(500, b'{"code":500,"message":"request failed with status 400"}')
        for asked, expected in ((1, 1), (2, 2), (3, 2)):
            self.assert_spoken(expected, asked, response)

    def test_what_anything_could_have_sent(self) -> None:
        for response in (
            ServerResponse(404, b'{"ret_info": {"code": 0}}'),
            ServerResponse(401, b"service auth failed"),
            ServerResponse(500, b"oops"),
            ServerResponse(200, b""),
            ServerResponse(200, b"[]"),
            ServerResponse(200, b'{"code": "200"}'),
            ServerResponse(200, b'{"ret_info": 0}'),
        ):
            for asked in (1, 2, 3):
                self.assert_spoken(None, asked, response)
