"""
The node against a scripted control plane, over real sockets: what existing servers rely on.

The protocol, in the order of its parts: identity, heartbeat, probe, task status. Here against a server of
generation 1; ``test_conformance_2`` and ``test_conformance_3`` have those of what depends on the generation
against the others.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.integration.daemon import reactor, until
from tests.integration.node import KEYS, NodeTestCase, asynchronous
from tests.integration.scripted import HEARTBEAT, REPORT, Heard, Say, task, tasks_response

TIMESTAMP = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"


def wrapped(status: int) -> Say:
    """How a gateway of generation 1 or 2 passes on an error of the service behind it."""
    return Say({"code": 500, "message": f"request failed with status {status}"}, 500)


#: The digest of the valid tasks task-001 and task-002.
EXAMPLE_MD5 = "933de3e4a87c37ff6e7234b5eaf845d2"


class IdentityTests(NodeTestCase):
    @asynchronous
    async def test_the_platform_names_the_node(self) -> None:
        self.start(environ={"SCF_FUNCTIONNAME": "scf-name", "TENCENTCLOUD_FUNCTIONNAME": "tc-name"})
        self.assertEqual((await self.heartbeats(1))[0]["node_id"], "scf-name")

    @asynchronous
    async def test_the_other_variable(self) -> None:
        self.start(environ={"TENCENTCLOUD_FUNCTIONNAME": "tc-name"})
        self.assertEqual((await self.heartbeats(1))[0]["node_id"], "tc-name")

    @asynchronous
    async def test_no_node_id(self) -> None:
        """Heartbeats are skipped with a warning, and the probe says why it fails."""
        daemon = self.start(node_id="")
        await daemon.says("warn +heartbeat +no node id")
        code, response = await self.probe(self.address())
        self.assertEqual(code, 200)
        self.assertRegex(response.pop("timestamp"), TIMESTAMP)
        self.assertEqual(
            response, {"success": False, "message": "failed to build response: node ID is empty"}
        )
        self.assertEqual(self.server.heartbeats, [])


class HeartbeatTests(NodeTestCase):
    #: A code that refuses a heartbeat, and a response with it.
    refusal: ClassVar = (500, Say({"code": 500, "message": "no"}))

    @asynchronous
    async def test_what_a_heartbeat_says(self) -> None:
        self.start(
            plugin={
                "static": {"supported_collectors": ["kline"], "who": "static"},
                "dynamic": {"who": "dynamic"},
            }
        )
        (body,) = (await self.heartbeats(1))[:1]
        heard = self.server.heartbeats[0]
        self.assertEqual((heard.method, heard.path), ("POST", self.prefix + HEARTBEAT))
        self.assertEqual(heard.headers["content-type"], "application/json")
        metadata = body.pop("metadata")
        extra = self.extra(body, metadata)
        self.assertEqual((extra.pop("who"), type(extra.pop("count"))), ("dynamic", int))
        self.assertEqual(metadata.pop("version"), "v1.0.0")
        self.assertEqual(sorted(metadata), ["arch", "os", "python_version"])
        self.assertEqual(
            body,
            {
                "node_id": "node-abc",
                "node_type": "scf",
                "running_version": "v1.0.0",
                "tasks_md5": "empty",
                "supported_collectors": ["kline"],
            },
        )

    def extra(self, body: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
        """Where a heartbeat has the fields of a plugin that the server does not know."""
        return body

    @asynchronous
    async def test_the_digest_and_the_task_list(self) -> None:
        """
        A list replaces the store; unusable entries are left out, unknown fields reach the plugin. An empty
        list does so when its digest says that it is meant. The version that runs anyway changes nothing.
        """
        self.server.on_heartbeat = lambda heard: tasks_response(
            [
                task("task-002", symbol="BTC-USDT"),
                task("task-001"),
                task("task-003", invalid=1),
                {"id": 4},
                "junk",
            ]
        )
        daemon = self.start()
        await self.digest_becomes(EXAMPLE_MD5)
        await daemon.says("left out 2 of 5 task instances")
        events = await self.events(lambda seen: any(e["payload"]["tasks_md5"] == EXAMPLE_MD5 for e in seen))
        event = next(e for e in events if e["payload"]["tasks_md5"] == EXAMPLE_MD5)
        self.assertEqual(
            [entry["task_id"] for entry in event["payload"]["tasks"]], ["task-002", "task-001", "task-003"]
        )
        self.assertEqual(event["payload"]["tasks"][0]["symbol"], "BTC-USDT")
        self.server.on_heartbeat = lambda heard: tasks_response([task("only")], package_version="v1.0.0")
        await self.digest_becomes(hashlib.md5(b"only").hexdigest())
        self.server.on_heartbeat = lambda heard: tasks_response([], "empty")
        await self.digest_becomes("empty")

    async def events(self, condition: Callable[[list[Any]], bool]) -> list[Any]:
        file = self.folder / "events.jsonl"

        def seen() -> list[Any]:
            return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

        async def there() -> bool:
            return condition(seen())

        await until(there, "events")
        return seen()

    @asynchronous
    async def test_responses_that_change_nothing(self) -> None:
        """Each of these after a list is in place: two heartbeats later the digest is the same."""
        self.server.on_heartbeat = lambda heard: tasks_response([task("task-001"), task("task-002")])
        daemon = self.start(interval=0.1)
        await self.digest_becomes(EXAMPLE_MD5)
        one = [task("other")]
        for say in (
            tasks_response(None),
            tasks_response([]),
            tasks_response([], "initializing"),
            tasks_response(one, "initializing"),
            Say(orders={"tasks_md5": "empty"}),
            Say(orders={"package_version": 9, "task_instances": None}),
            Say(b"not JSON"),
            Say(b""),
            Say(b"\xff\xfe"),
            Say([{"code": 200}]),
            tasks_response({"task_id": "no-list"}),
            tasks_response([], "empty ", package_version=""),
            *self.no_orders(one),
        ):
            self.server.on_heartbeat = lambda heard, say=say: say  # type: ignore[misc]
            bodies = await self.heartbeats(2)
            self.assertEqual(bodies[-1]["tasks_md5"], EXAMPLE_MD5, say)
        self.assertIsNone(daemon.status)
        self.assertNotIn("Traceback", daemon.output)

    def no_orders(self, one: list[Any]) -> Iterable[Say]:
        """Responses of the generation that change nothing, though most have a list."""
        return (
            Say({"code": 200, "data": []}),
            Say({"code": 200, "data": None}),
            Say({"code": 200}),
            Say({"code": 200, "data": ["text"]}),
            Say({"code": 200, "data": [None, {"task_instances": one}]}),
            Say({"code": 200, "data": {"task_instances": one}}),
            Say({"code": 500, "data": [{"task_instances": one, "package_version": "v9"}]}),
            Say({"code": "200", "data": [{"task_instances": one}]}),
            Say({"data": [{"task_instances": one}]}),
        )

    @asynchronous
    async def test_a_code_other_than_200_is_not_retried(self) -> None:
        code, say = self.refusal
        self.server.on_heartbeat = lambda heard: say
        daemon = self.start(interval=8)
        await daemon.says(f"warn +heartbeat +not accepted by .*: code {code}: no")
        await deferLater(reactor, 2.5)
        self.assertEqual(len(self.server.heartbeats), 1)

    @asynchronous
    async def test_another_version_ends_the_node_with_status_3(self) -> None:
        """The tasks of the same response are stored first."""
        self.server.on_heartbeat = lambda heard: tasks_response([task("a")], package_version="v2.0.0")
        daemon = self.start()
        self.assertEqual(await daemon.end(), 3)
        self.assertRegex(daemon.output, "critical node +version v2.0.0 should be running, this is v1.0.0")
        self.assertLess(daemon.output.index("1 task received: a"), daemon.output.index("version v2.0.0"))


class PaceTests(NodeTestCase):
    """What does not depend on the generation."""

    @asynchronous
    async def test_the_first_at_once_then_every_interval(self) -> None:
        """Within an interval also, a server that was dead is found again."""
        daemon = self.start(interval=1)
        await daemon.says("ready")
        ready = reactor.seconds()
        await self.heartbeats(3)
        times = [heard.at for heard in self.server.heartbeats]
        self.assertLess(times[0] - ready, 0.9)
        for earlier, later in pairwise(times):
            self.assertLess(abs(later - earlier - 1), 0.5)
        await self.server.close()
        await daemon.says("not accepted by .*: .*refused")
        self.server.listen()
        back = reactor.seconds()
        await self.heartbeats(1)
        self.assertLess(self.server.heartbeats[-1].at - back, 1.5)

    @asynchronous
    async def test_another_status_is_retried_with_backoff(self) -> None:
        """The first pauses are 1 and 2 s, and no other heartbeat comes between the tries."""
        self.server.on_heartbeat = lambda heard: Say(b"busy", 503)
        self.start(interval=20)
        await self.heartbeats(3)
        times = [heard.at for heard in self.server.heartbeats]
        pauses = [later - earlier for earlier, later in pairwise(times)]
        for pause, expected in zip(pauses, (1, 2), strict=True):
            self.assertLess(abs(pause - expected), 0.5)

    @asynchronous
    async def test_a_slow_server_gets_one_heartbeat_at_a_time(self) -> None:
        """A try ends after 5 s; the heartbeats of the time between do not pile up."""
        self.server.on_heartbeat = lambda heard: Say(delay=20)
        self.start(interval=0.5)
        await self.heartbeats(2)
        times = [heard.at for heard in self.server.heartbeats]
        for earlier, later in pairwise(times):
            self.assertGreater(later - earlier, 4.9)

    @asynchronous
    async def test_a_broken_contributor_costs_its_fields_only(self) -> None:
        self.start(plugin={"static": {"a": 1}, "broken": True})
        body = (await self.heartbeats(1))[0]
        self.assertEqual(body["a"], 1)
        self.assertNotIn("count", body)


class FirstProbeTests(NodeTestCase):
    @asynchronous
    async def test_a_probe_brings_the_address_and_gets_the_figures(self) -> None:
        self.server.on_heartbeat = lambda heard: tasks_response(
            [task("task-001"), task("task-002", invalid=1)]
        )
        daemon = self.start(server="")
        await daemon.says("waiting for a probe")
        code, response = await self.probe(
            {**self.address(), "request_id": "keepalive_1", "action": "keepalive"}
        )
        self.assertEqual(code, 200)
        await self.heartbeats(2)
        await self.reported(bool)
        code, response = await self.probe({**self.address(), "request_id": "keepalive_2"})
        self.assertEqual((response["success"], response["message"]), (True, "probe handled successfully"))
        self.assertEqual(response["request_id"], "keepalive_2")
        self.assertRegex(response["timestamp"], TIMESTAMP)
        data = response["data"]
        self.assertEqual((data["node_id"], data["state"]), ("node-abc", "running"))
        details = data["details"]
        self.assertEqual(
            sorted(details),
            ["heartbeat_info", "metrics", "node_info", "running_tasks", "system_info", "task_stats"],
        )
        info = details["node_info"]
        self.assertEqual((info["node_id"], info["node_type"], info["version"]), ("node-abc", "scf", "v1.0.0"))
        self.assertEqual(info["capabilities"], ["recorder"])
        self.assertEqual(sorted(info["metadata"]), ["arch", "os", "python_version"])
        self.assertEqual(details["running_tasks"], [{"task_id": "task-001", "status": "running"}])
        self.assertEqual(
            details["task_stats"], {"total": 2, "running": 1, "pending": 0, "stopped": 1, "error": 0}
        )
        metrics = details["metrics"]
        self.assertGreater(metrics["memory_usage"], 10)
        self.assertLess(metrics["memory_usage"], 500)
        self.assertGreater(metrics["cpu_usage"], 0)
        self.assertEqual((metrics["success_rate"], metrics["error_count"]), (1.0, 0))
        heartbeat = details["heartbeat_info"]
        self.assertRegex(heartbeat["last_report"], TIMESTAMP)
        self.assertGreaterEqual(heartbeat["report_count"], 2)
        self.assertEqual(heartbeat["interval"], "0.3s")
        self.assertEqual(
            (heartbeat["server_ip"], heartbeat["server_port"], heartbeat["moox_server_url"]),
            ("127.0.0.1", self.server.port, ""),
        )


class ProbeTests(NodeTestCase):
    """What does not depend on the generation."""

    @asynchronous
    async def test_a_url_wins_and_storage_reaches_the_plugin(self) -> None:
        daemon = self.start(server="")
        await daemon.says("ready")
        await self.probe(
            {
                "server_ip": "192.0.2.1",
                "server_port": 1,
                "moox_server_url": f"http://127.0.0.1:{self.server.port}/",
                "storage_server_url": "http://10.0.0.2:19104",
            }
        )
        await self.heartbeats(1)
        self.assertEqual(self.server.heartbeats[0].path, self.prefix + HEARTBEAT)
        events = self.folder / "events.jsonl"

        async def told() -> bool:
            return "http://10.0.0.2:19104" in (events.read_text() if events.exists() else "")

        await until(told, "an event with the storage server")

    @asynchronous
    async def test_probes_that_change_nothing(self) -> None:
        daemon = self.start()
        await self.heartbeats(1)
        for probe in (
            {},
            {"server_ip": "10.0.0.1"},
            {"server_ip": "10.0.0.1", "server_port": 0},
            {"server_port": 9},
        ):
            code, response = await self.probe(probe)
            self.assertEqual((code, response["success"]), (200, True))
        await daemon.says("warn +probe +a probe named no control plane address")
        probes: list[Any] = [
            b"not JSON",
            b"",
            b"\xff",
            [1],
            "text",
            None,
            {"server_ip": 1, "server_port": 1},
            {"server_ip": "10.0.0.1", "server_port": "18202"},
            {"server_ip": "10.0.0.1", "server_port": 18202.5},
            {"server_ip": "10.0.0.1", "server_port": True},
            {"moox_server_url": 7},
            {"moox_server_url": "ftp://10.0.0.1/"},
            {"moox_server_url": "file:///etc/passwd"},
            {"moox_server_url": "http://"},
            {"moox_server_url": "http://10.0.0.1:99999"},
            {"moox_server_url": "http://10.0.0.1\r\nX: y"},
            {"server_ip": "10.0.0.1/evil?", "server_port": 1},
            {"server_ip": "user@10.0.0.1", "server_port": 1},
            {"server_ip": "10.0.0.1", "server_port": 70000},
            {"request_id": 1},
            {"action": []},
            {"data": "text"},
            {"storage_server_url": {}},
        ]
        for probe in probes:
            code, response = await self.probe(probe)
            self.assertEqual((code, response["success"]), (400, False), probe)
            self.assertEqual(sorted(response), ["message", "success", "timestamp"])
        await self.heartbeats(2)

    @asynchronous
    async def test_hardening(self) -> None:
        """Off by default; where it is on, strangers can't turn the node away from its control plane."""
        self.start(heartbeat={"allowed_servers": ["127.0.0.0/8", "moox.example.com"]})
        await self.heartbeats(1)
        for probe in (
            {"server_ip": "10.0.0.1", "server_port": 80},
            {"moox_server_url": "http://evil.example.com"},
            {"moox_server_url": "http://127.0.0.1.evil.example.com"},
        ):
            code, response = await self.probe(probe)
            self.assertEqual((code, response["success"]), (403, False), probe)
        code, response = await self.probe(self.address())
        self.assertEqual((code, response["success"]), (200, True))
        self.assertIn('scfd_probes_total{outcome="forbidden"} 3.0', await self.metrics())
        await self.heartbeats(2)


class TaskStatusTests(NodeTestCase):
    task_field = "id"
    #: Bodies of responses with status 200.
    delivered: ClassVar[Sequence[Any]] = (b"", b"not JSON", {"code": 200}, {}, [1], {"code": None})
    #: By the id of a task, which ends with what the node then shows as the reason.
    refused: ClassVar[Mapping[str, Say]] = {
        **{f"status-{status}": Say(b"x", status) for status in (400, 404, 409, 422)},
        **{f"code-{code}": Say({"code": code}) for code in (400, 404, 409, 422)},
        **{f"wrapped-{status}": wrapped(status) for status in (400, 404)},
    }
    again: ClassVar[Sequence[Say]] = (
        Say(b"", 500),
        Say(b"", 302),
        Say(b"", 429),
        Say(b"", 201),
        Say({"code": 500}),
    )
    #: Says that there is no such task, and may mean something else.
    unknown = Say(b"no such row", 500)

    def hand_out(self, *ids: str) -> None:
        self.server.on_heartbeat = lambda heard: tasks_response([task(task_id) for task_id in ids])

    async def respond_to_each(self, says: Mapping[str, list[Say]]) -> dict[str, list[str]]:
        """
        Hand out a task for each list of responses; past its end the last one is repeated.

        :returns: the moments that were told of each task, once there are three of each.
        """
        told: dict[str, list[str]] = {task_id: [] for task_id in says}

        def respond(heard: Heard) -> Say:
            task_id = heard.task_id
            told[task_id].append(heard.json["result"])
            return says[task_id][min(len(told[task_id]), len(says[task_id])) - 1]

        self.server.on_report = respond
        self.hand_out(*says)
        self.daemon = self.start()

        async def enough() -> bool:
            return min(map(len, told.values())) >= 3

        await until(enough, "three reports of each task")
        return told

    @asynchronous
    async def test_what_becomes_of_a_result(self) -> None:
        """
        Delivered: it comes once, in the order of its task's results. Refused: logged, counted, put aside,
        never sent again, and the task's later results go on. Anything else: tried again, before later ones.
        """
        delivered = {f"delivered-{index}": [Say(body)] for index, body in enumerate(self.delivered)}
        refused = {name: [say] for name, say in self.refused.items()}
        again = {f"again-{index}": [say, Say()] for index, say in enumerate(self.again)}
        told = await self.respond_to_each({**delivered, **refused, **again})
        for task_id in (*delivered, *refused):
            self.assertEqual(told[task_id], sorted(set(told[task_id])), task_id)
        for task_id in again:
            moments = told[task_id]
            self.assertEqual((moments[0], moments[1:]), (moments[1], sorted(set(moments))), task_id)
        for name in self.refused:
            reason = name.rpartition("-")[2]
            await self.daemon.says(f"error +reports +the result of task {name} is refused: .*{reason}")
        self.assertRegex(await self.metrics(), r'scfd_reports_total{outcome="refused"} [1-9]')
        for heard in self.server.reports:
            self.assertEqual((heard.method, heard.path), ("POST", self.prefix + REPORT))
            self.assertEqual(heard.headers["content-type"], "application/json")
            fields = {self.task_field: heard.task_id, "node_id": "node-abc", "status": 2}
            self.assertEqual(heard.json, {**fields, "result": heard.json["result"]})

    @asynchronous
    async def test_never_taken(self) -> None:
        """Put aside after the configured tries and time; the task's later results go on."""
        first: list[str] = []

        def respond(heard: Heard) -> Say:
            first.append(heard.json["result"])
            return self.unknown if heard.json["result"] == first[0] else Say()

        self.server.on_report = respond
        self.hand_out("task-001")
        daemon = self.start(system={"report_tries": 2, "report_patience": "500ms"})
        await daemon.says(
            "error +reports +the result of task task-001 is put aside: .* 2 tries .*no such row"
        )
        told = [report["result"] for report in await self.reported(lambda reports: len(reports) >= 4)]
        self.assertEqual((told.count(told[0]), told), (2, sorted(told)))
        self.assertIn('scfd_reports_total{outcome="put aside"} 1.0', await self.metrics())


class WaitingReportTests(NodeTestCase):
    """What does not depend on the generation."""

    @asynchronous
    async def test_results_before_the_address_is_known(self) -> None:
        """They wait for the probe that brings it."""
        daemon = self.start(server="", plugin={"results": {"early": 4}})
        await daemon.says("kept for later: no control plane address yet")
        await self.probe(self.address())
        body = (await self.reported(bool))[0]
        self.assertEqual(body, {"id": "early", "node_id": "node-abc", "status": 4, "result": "as told"})

    @asynchronous
    async def test_a_slow_report_delays_no_trigger(self) -> None:
        self.server.on_report = lambda heard: Say(delay=3)
        self.server.on_heartbeat = lambda heard: tasks_response([task("a")])
        self.start()
        await self.reported(bool)
        events = self.folder / "events.jsonl"
        before = len(events.read_text().splitlines())
        await deferLater(reactor, 2.5)
        self.assertGreaterEqual(len(events.read_text().splitlines()), before + 2)


class SignatureTests(NodeTestCase):
    generation = 2

    @asynchronous
    async def test_signed_requests_and_another_prefix(self) -> None:
        """Newer servers check a signature over the body."""
        self.server.on_heartbeat = lambda heard: tasks_response([task("a")])
        self.start(heartbeat={"api_prefix": "/api/service", "auth": KEYS, "protocol": "auto"})
        await self.reported(bool)
        self.assertEqual(self.server.heartbeats[0].path, "/api/service/cloudnode/ReportHeartbeatInner")
        self.assertEqual(self.server.reports[0].path, "/api/service/collectmgr/ReportTaskStatus")
        for heard in (self.server.heartbeats[0], self.server.reports[0]):
            check_signature(self, heard.headers["auth"], heard.body, heard.at)


def check_signature(test: TestCase, header: str, body: bytes, now: float) -> None:
    """Check a signature the way a server does, from the words of the protocol."""
    match = re.fullmatch(r"(moox-auth-v1/collector/(\d+)/1800)/([0-9a-f]{64})", header)
    test.assertIsNotNone(match, header)
    assert match is not None
    test.assertLess(abs(int(match[2]) - now), 5)
    key = hmac.new(b"s3cret", match[1].encode(), "sha256").hexdigest().encode()
    test.assertEqual(match[3], hmac.new(key, body, "sha256").hexdigest())
