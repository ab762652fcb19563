"""Tests for scfd.control_plane.probe."""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import strategies
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from scfd.control_plane.client import ServerResponse
from scfd.control_plane.heartbeat import Heartbeat, host_metadata
from scfd.control_plane.learning import LearningClient
from scfd.control_plane.probe import ProbeHandler, Usage
from scfd.control_plane.probe_message import is_allowed, is_usable, parse_probe, server_address, storage_url
from scfd.dispatch import Dispatcher
from scfd.errors import PluginError
from scfd.events.event import TriggerEvent, TriggerResponse
from scfd.events.tasks import TaskStore
from scfd.identity import Identity, ServerAddress
from scfd.status.context import Context
from scfd.status.readiness import Phase
from tests.fakes import FakeAdapter, MemoryReports
from tests.http_fakes import FakeControlPlaneClient
from tests.properties import given

#: 2027-01-15 08:00:00 UTC
NOW = 1_800_000_000.0
TIMESTAMP = "2027-01-15T08:00:00Z"

PROBE = {
    "action": "keepalive",
    "source": "keepalive_probe",
    "request_id": "keepalive_1",
    "timestamp": "2026-01-01T00:00:00Z",
    "server_ip": "10.0.0.1",
    "server_port": 18202,
    "moox_server_url": "http://10.0.0.1:18202",
    "storage_server_url": "http://10.0.0.2:19104",
    "data": {},
}


class ParseProbeTests(SynchronousTestCase):
    def test_the_documented_probe(self) -> None:
        self.assertEqual(parse_probe(json.dumps(PROBE).encode()), PROBE)

    def test_null_is_as_good_as_missing(self) -> None:
        self.assertEqual(parse_probe(json.dumps(dict.fromkeys(PROBE)).encode()), {})
        self.assertEqual(parse_probe(b"{}"), {})

    def test_unknown_fields_are_ignored(self) -> None:
        self.assertEqual(parse_probe(b'{"new": [1], "action": "x"}'), {"action": "x"})

    def test_a_port_may_be_a_float(self) -> None:
        (port,) = parse_probe(b'{"server_port": 18202.0}').values()
        self.assertIsInstance(port, int)

    def test_mistakes(self) -> None:
        for body, text in (
            (b"[]", "the body is not a JSON object"),
            (b"1", "the body is not a JSON object"),
            (b'{"server_port": "18202"}', "server_port is not an int"),
            (b'{"server_port": true}', "server_port is not an int"),
            (b'{"server_port": 1.5}', "server_port is not an int"),
            (b'{"server_ip": 10}', "server_ip is not a str"),
            (b'{"moox_server_url": []}', "moox_server_url is not a str"),
            (b'{"data": []}', "data is not a dict"),
            (b'{"request_id": 1}', "request_id is not a str"),
            (b'{"storage_server_url": false}', "storage_server_url is not a str"),
        ):
            with self.subTest(body=body):
                self.assertEqual(str(self.assertRaises(ValueError, parse_probe, body)), text)

    def test_what_is_no_json(self) -> None:
        for body in (b"", b"{", b"x", b"\xff", b'{"server_port": NaN}', b"[" * 100_000):
            with self.subTest(body=body[:20]):
                text = str(self.assertRaises(ValueError, parse_probe, body))
                self.assertTrue(text.startswith("the body is not JSON: "), text)

    @given(strategies.binary())
    def test_any_bytes(self, body: bytes) -> None:
        self.assert_only_value_error(body)

    @given(
        strategies.dictionaries(
            strategies.sampled_from(list(PROBE)),
            strategies.none()
            | strategies.booleans()
            | strategies.integers()
            | strategies.floats(allow_nan=False, allow_infinity=False)
            | strategies.text()
            | strategies.just({}),
        )
    )
    def test_any_json(self, value: Any) -> None:
        self.assert_only_value_error(json.dumps(value).encode())

    def assert_only_value_error(self, body: bytes) -> None:
        try:
            address = server_address(parse_probe(body))
        except ValueError as error:
            self.assertTrue(str(error))
        else:
            self.assertTrue(address is None or address.base_url.startswith(("http://", "https://")))


class ServerAddressTests(SynchronousTestCase):
    def test_the_url_wins(self) -> None:
        address = server_address({**PROBE, "moox_server_url": "https://moox.example/base/"})
        assert address is not None
        self.assertEqual(address.base_url, "https://moox.example/base")

    def test_host_and_port(self) -> None:
        address = server_address({"server_ip": "10.0.0.1", "server_port": 18202, "moox_server_url": ""})
        self.assertEqual(address, ServerAddress("10.0.0.1", 18202))

    def test_none(self) -> None:
        for probe in (
            {},
            {"server_ip": "10.0.0.1"},
            {"server_port": 18202},
            {"server_ip": "10.0.0.1", "server_port": 0},
            {"server_ip": "10.0.0.1", "server_port": -1},
            {"server_ip": "", "server_port": 18202},
        ):
            with self.subTest(probe=probe):
                self.assertIsNone(server_address(probe))

    def test_what_is_no_address(self) -> None:
        probes: list[dict[str, Any]] = [
            {"moox_server_url": url}
            for url in (
                "moox:18202",
                "ftp://moox",
                "http://",
                "http://a b/",
                "http://a:0",
                "http://a:x",
                "http://[a",
            )
        ]
        probes += [
            {"server_ip": "10.0.0.1", "server_port": 65536},
            {"server_ip": "a/b", "server_port": 1},
            {"server_ip": "user@host", "server_port": 1},
            {"server_ip": "a b", "server_port": 1},
            {"server_ip": "a\r\nX: y", "server_port": 1},
        ]
        for probe in probes:
            with self.subTest(probe=probe):
                self.assertRaises(ValueError, server_address, probe)


class IsAllowedTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        for url, allowed, expected in (
            ("http://10.0.0.1:18202", (), True),
            ("http://10.0.0.1:18202", ("10.0.0.1",), True),
            ("http://10.0.0.2:18202", ("10.0.0.1",), False),
            ("http://10.0.0.2:18202", ("moox.example", "10.0.0.0/24"), True),
            ("http://10.0.1.2:18202", ("moox.example", "10.0.0.0/24"), False),
            ("https://moox.example/base", ("moox.example",), True),
            ("https://MOOX.example./base", ("moox.example",), True),
            ("https://moox.example.evil.org", ("moox.example",), False),
            ("https://moox.example@evil.org", ("moox.example",), False),
            ("http://[fd00::1]:1", ("fd00::/8",), True),
            ("http://[fe80::1]:1", ("fd00::/8", "10.0.0.0/8"), False),
        ):
            with self.subTest(url=url, allowed=allowed):
                self.assertEqual(is_allowed(ServerAddress(url=url), allowed), expected)


class UsageTests(SynchronousTestCase):
    def test_memory_is_that_of_a_python_process(self) -> None:
        self.assertGreater(Usage().memory_mib(), 10)
        self.assertLess(Usage().memory_mib(), 10_000)

    def test_cpu_is_counted_from_one_call_to_the_next(self) -> None:
        usage = Usage()
        sum(range(300_000))
        self.assertGreater(usage.cpu_percent(), 0)
        self.assertLess(usage.cpu_percent(), 200)


class ProbeHandlerTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.identity = Identity("node-abc", "v1.0.0")
        self.task_store = TaskStore()
        self.adapter = FakeAdapter()
        self.context = Context(self.clock, self.clock.seconds)
        self.context.readiness.enter(Phase.RUNNING)
        self.metrics = self.context.metrics
        self.client = FakeControlPlaneClient()
        self.environ: dict[str, str] = {}
        self.allowed: list[str] = []
        self.heartbeat = Heartbeat(
            LearningClient(self.client, self.clock, "1"),
            self.identity,
            self.task_store,
            self.adapter,
            9.0,
            self.context,
            lambda version: None,
        )
        self.dispatcher = Dispatcher(
            self.adapter, self.identity, self.task_store, MemoryReports(), self.context
        )
        self.handler = ProbeHandler(
            self.identity,
            self.task_store,
            self.adapter,
            self.heartbeat,
            self.dispatcher,
            self.context,
            self.environ,
            self.allowed,
        )

    def probe(self, *without: str, **fields: Any) -> Any:
        """The response to the documented probe, with some fields left out or other ones."""
        value = {name: value for name, value in {**PROBE, **fields}.items() if name not in without}
        response = self.handler.handle(json.dumps(value).encode())
        self.assertEqual(response.status, 200)
        self.assertEqual(response.headers, {"Content-Type": "application/json"})
        return json.loads(response.body)

    def details(self) -> Any:
        return self.probe()["data"]["details"]


class ResponseTests(ProbeHandlerTestCase):
    def test_the_whole_response(self) -> None:
        self.adapter.plugin_name = "my-plugin"
        value = self.probe()
        metrics = value["data"]["details"]["metrics"]
        for figure in ("cpu_usage", "memory_usage"):
            self.assertIsInstance(metrics[figure], float)
            metrics[figure] = 0.0
        host = host_metadata()
        self.assertEqual(
            value,
            {
                "success": True,
                "message": "probe handled successfully",
                "timestamp": TIMESTAMP,
                "request_id": "keepalive_1",
                "data": {
                    "node_id": "node-abc",
                    "state": "running",
                    "timestamp": TIMESTAMP,
                    "details": {
                        "node_info": {
                            "node_id": "node-abc",
                            "node_type": "scf",
                            "version": "v1.0.0",
                            "running_tasks": [],
                            "capabilities": ["my-plugin"],
                            "metadata": host,
                        },
                        "running_tasks": [],
                        "task_stats": {"total": 0, "running": 0, "pending": 0, "stopped": 0, "error": 0},
                        "metrics": {
                            "cpu_usage": 0.0,
                            "memory_usage": 0.0,
                            "task_count": 0,
                            "success_rate": 1.0,
                            "error_count": 0,
                            "timestamp": TIMESTAMP,
                        },
                        "system_info": {**host, "num_cpu": os.cpu_count()},
                        "heartbeat_info": {
                            "last_report": None,
                            "report_count": 0,
                            "error_count": 0,
                            "interval": "9s",
                            "server_ip": "10.0.0.1",
                            "server_port": 18202,
                            "moox_server_url": "http://10.0.0.1:18202",
                        },
                    },
                },
            },
        )

    def test_a_probe_without_a_request_id(self) -> None:
        self.assertEqual(self.probe("request_id")["request_id"], "")

    def test_tells_the_part_of_its_life(self) -> None:
        for phase in Phase:
            self.context.readiness.enter(phase)
            self.assertEqual(self.probe()["data"]["state"], phase.value)

    def test_tells_its_tasks(self) -> None:
        self.task_store.replace(
            [{"task_id": "a", "invalid": 0}, {"task_id": "b", "invalid": 1}, {"task_id": "c"}]
        )
        details = self.details()
        self.assertEqual(details["node_info"]["running_tasks"], ["a", "c"])
        self.assertEqual(
            details["running_tasks"],
            [{"task_id": "a", "status": "running"}, {"task_id": "c", "status": "running"}],
        )
        self.assertEqual(
            details["task_stats"], {"total": 3, "running": 2, "pending": 0, "stopped": 1, "error": 0}
        )
        self.assertEqual(details["metrics"]["task_count"], 3)

    def test_counts_what_it_did(self) -> None:
        def plugin(event: TriggerEvent) -> TriggerResponse:
            if event.name == "bad":
                raise PluginError("no")
            return TriggerResponse()

        self.adapter._plugin = plugin
        for name in ("good", "good", "good", "bad"):
            self.dispatcher.dispatch(TriggerEvent("timer", name)).addErrback(lambda failure: None)
        metrics = self.details()["metrics"]
        self.assertEqual((metrics["success_rate"], metrics["error_count"]), (0.75, 1))

    def test_tells_its_heartbeats(self) -> None:
        self.heartbeat.startService()
        self.probe()
        self.clock.advance(9.5)
        info = self.details()["heartbeat_info"]
        self.assertEqual(
            (info["last_report"], info["report_count"], info["error_count"]),
            ("2027-01-15T08:00:09.500Z", 2, 0),
        )

    def test_an_interval_may_have_a_fraction(self) -> None:
        self.heartbeat.interval = 2.5
        self.assertEqual(self.details()["heartbeat_info"]["interval"], "2.5s")


class LearningTests(ProbeHandlerTestCase):
    def test_learns_the_addresses(self) -> None:
        self.probe()
        self.assertEqual(self.identity.server.base_url, "http://10.0.0.1:18202")
        self.assertEqual(self.identity.storage_server_url, "http://10.0.0.2:19104")

    def test_a_probe_without_a_url(self) -> None:
        self.probe("moox_server_url", server_ip="10.0.0.7")
        self.assertEqual(self.identity.server.base_url, "http://10.0.0.7:18202")

    def test_a_probe_without_an_address_changes_none_and_is_warned_of(self) -> None:
        for fields in ({"server_ip": ""}, {"server_port": 0}, {"server_port": -5}):
            with self.subTest(fields=fields), capturedLogs() as events:
                self.identity.server = ServerAddress("10.0.0.9", 1)
                self.assertTrue(self.probe("moox_server_url", **fields)["success"])
                self.assertEqual(self.identity.server, ServerAddress("10.0.0.9", 1))
                self.assertEqual(
                    [(event["log_level"], formatEvent(event)) for event in events],
                    [(LogLevel.warn, "a probe named no control plane address; the old one stays")],
                )

    def test_a_probe_without_a_storage_server_changes_none(self) -> None:
        self.identity.storage_server_url = "http://known"
        self.probe("storage_server_url")
        self.probe(storage_server_url="")
        self.assertEqual(self.identity.storage_server_url, "http://known")

    def test_the_platform_may_name_the_function_late(self) -> None:
        self.environ["SCF_FUNCTIONNAME"] = "named"
        self.assertEqual(self.probe()["data"]["node_id"], "named")
        self.assertEqual(self.identity.node_id, "named")

    def test_reports_in_at_once_when_it_has_learned_where_to(self) -> None:
        self.heartbeat.startService()
        self.assertEqual(len(self.client.posts), 0)
        self.probe()
        self.assertEqual(len(self.client.posts), 1)
        self.probe()
        self.assertEqual(len(self.client.posts), 1)
        self.probe(moox_server_url="http://10.0.0.3:1")
        self.assertEqual(len(self.client.posts), 2)

    def test_what_it_learned_is_logged_once(self) -> None:
        with capturedLogs() as events:
            self.probe()
            self.probe()
        self.assertEqual(
            [formatEvent(event) for event in events],
            ["probed: this is node node-abc, its control plane is http://10.0.0.1:18202"],
        )


class AddressTests(SynchronousTestCase):
    def test_deployed_services_come_first(self) -> None:
        gateway = {"base_url": "http://10.1.0.1:1/"}
        admin = {"base_url": "http://10.1.0.2:2"}
        for deployments, expected in (
            ({"service_gateway": gateway, "admin_gateway": admin}, "http://10.1.0.1:1"),
            ({"admin_gateway": admin}, "http://10.1.0.2:2"),
            (
                {"service_gateway": {"base_url": "http://unknown:1"}, "admin_gateway": admin},
                "http://10.1.0.2:2",
            ),
            ({"service_gateway": {"base_url": ""}}, PROBE["moox_server_url"]),
            ({"service_gateway": {"base_url": "ftp://x"}}, PROBE["moox_server_url"]),
            ({"service_gateway": {"base_url": 1}}, PROBE["moox_server_url"]),
            ({"service_gateway": "x", "other": {}}, PROBE["moox_server_url"]),
            ({"service_gateway": None}, PROBE["moox_server_url"]),
            ({"service_gateway": {"host": "10.1.0.1", "port": "1"}}, PROBE["moox_server_url"]),
            ({"service_gateway": {"base_url": "http://0.0.0.0:1"}}, PROBE["moox_server_url"]),
            ({"service_gateway": {"base_url": "http://[::]:1"}}, PROBE["moox_server_url"]),
            ({"service_gateway": {"base_url": "http://10.1.0.1:0"}}, PROBE["moox_server_url"]),
            ({"service_gateway": {"base_url": "http://10.1.0.1:70000"}}, PROBE["moox_server_url"]),
            ({"service_gateway": {"base_url": "10.1.0.1:1"}}, PROBE["moox_server_url"]),
            ({"service_gateway": {"base_url": "http://a:b@10.1.0.1:1"}}, PROBE["moox_server_url"]),
            ({"service_gateway": {"base_url": "http://[fd00::1]:1/"}}, "http://[fd00::1]:1"),
            (
                {"service_gateway": {"base_url": "https://moox.example/base/", "port": "x"}},
                "https://moox.example/base",
            ),
            ({}, PROBE["moox_server_url"]),
        ):
            with self.subTest(deployments=deployments):
                address = server_address({**PROBE, "service_deployments": deployments})
                assert address is not None
                self.assertEqual(address.base_url, expected)

    def test_the_storage_server(self) -> None:
        deployed = {"storage_access": {"base_url": "http://10.1.0.3:3"}}
        self.assertEqual(storage_url({**PROBE, "service_deployments": deployed}), "http://10.1.0.3:3")
        self.assertEqual(storage_url(PROBE), PROBE["storage_server_url"])
        self.assertEqual(storage_url({"storage_server_url": "http://unknown:1"}), "")

    def test_hosts_that_can_not_be_a_server(self) -> None:
        for host in (
            "unknown",
            "UNKNOWN",
            "unknown.",
            "null",
            "0.0.0.0",
            "0.1.2.3",
            "[::]",
            "224.0.0.1",
            "255.255.255.255",
            "",
        ):
            with self.subTest(host=host):
                self.assertFalse(is_usable(f"http://{host}:18202"))
        for host in ("10.0.0.1", "localhost", "moox.example", "[fd00::1]", "127.0.0.1", "unknown.example"):
            with self.subTest(host=host):
                self.assertTrue(is_usable(f"http://{host}:18202"))


class NewerProbesTests(ProbeHandlerTestCase):
    def test_a_host_that_can_not_be_a_server_changes_nothing(self) -> None:
        self.probe()
        for fields in (
            {"moox_server_url": "http://unknown:18202"},
            {"moox_server_url": "", "server_ip": "unknown"},
            {"moox_server_url": "", "server_ip": "0.0.0.0"},
        ):
            with self.subTest(fields=fields):
                self.assertTrue(self.probe(**fields)["success"])
                self.assertEqual(self.identity.server.base_url, "http://10.0.0.1:18202")
        moves = self.metrics.registry.get_sample_value(
            "scfd_control_plane_moves_total", {"outcome": "unusable"}
        )
        self.assertEqual(moves, 3)

    def test_the_servers_id_of_the_node(self) -> None:
        self.probe(data={"node_id": "by-server"})
        self.assertEqual(self.identity.node_id, "by-server")
        others: list[Any] = ["", " ", None, 7, [], {"id": 1}]
        for other in others:
            self.probe(data={"node_id": other})
            self.assertEqual(self.identity.node_id, "by-server")
        self.environ["SCF_FUNCTIONNAME"] = "by-platform"
        self.probe(data={"node_id": "by-server"})
        self.assertEqual(self.identity.node_id, "by-platform")

    def test_the_storage_servers_rpc_address(self) -> None:
        self.probe(storage_server_rpc="ip://10.0.0.2:1")
        self.probe(storage_server_rpc="")
        self.assertEqual(self.identity.storage_server_rpc, "ip://10.0.0.2:1")


class MovingTests(ProbeHandlerTestCase):
    """A working address and one that a probe names in its place."""

    NEW = "http://10.0.0.3:1"

    def setUp(self) -> None:
        super().setUp()
        self.identity.server = ServerAddress("10.0.0.1", 18202)
        self.heartbeat.startService()
        self.addCleanup(self.heartbeat.stopService)

    def react_by_address(self, **by_host: Any) -> None:
        def react(beat: Any) -> Any:
            url = self.client.posts[-1][0]
            return by_host["new"] if url.startswith(self.NEW) else by_host["old"]

        self.client.react = react

    def test_stays_while_the_new_one_does_not_respond(self) -> None:
        accepted = ServerResponse(200, b'{"code": 200}')
        for failure in (
            ConnectionRefusedError(),
            DNSLookupError(),
            ServerResponse(500, b""),
            ServerResponse(200, b"x"),
        ):
            with self.subTest(failure=failure):
                self.react_by_address(old=accepted, new=failure)
                self.assertTrue(self.probe(moox_server_url=self.NEW)["success"])
                self.assertEqual(self.identity.server.base_url, "http://10.0.0.1:18202")

    def test_a_response_of_the_old_one_that_comes_after_the_move_counts_no_more(self) -> None:
        """Neither its tasks nor its version are those of the new one."""
        late: Deferred[ServerResponse] = Deferred()
        new = b'{"code": 200, "data": [{"task_instances": [{"task_id": "new"}]}]}'
        self.react_by_address(old=late, new=ServerResponse(200, new))
        self.heartbeat.report_now()
        self.probe(moox_server_url=self.NEW)
        self.assertEqual(self.identity.server.base_url, self.NEW)
        late.callback(ServerResponse(200, new.replace(b"new", b"old")))
        self.assertEqual([task["task_id"] for task in self.task_store.get_all()], ["new"])

    def test_one_that_is_named_while_another_is_tried(self) -> None:
        tried: Deferred[ServerResponse] = Deferred()
        accepted = ServerResponse(200, b'{"code": 200}')
        self.react_by_address(old=accepted, new=tried)
        self.probe(moox_server_url=self.NEW)
        self.probe(moox_server_url="http://10.0.0.4:1")
        tried.callback(accepted)
        self.assertEqual(self.identity.server.base_url, "http://10.0.0.4:1")

    def test_moves_once_the_new_one_has_accepted(self) -> None:
        accepted = ServerResponse(200, b'{"code": 200}')
        late: Deferred[ServerResponse] = Deferred()
        self.react_by_address(old=accepted, new=late)
        self.probe(moox_server_url=self.NEW)
        self.assertEqual(self.identity.server.base_url, "http://10.0.0.1:18202")
        late.callback(accepted)
        self.assertEqual(self.identity.server.base_url, self.NEW)

    def test_moves_when_the_old_one_fails(self) -> None:
        self.react_by_address(old=ConnectionRefusedError(), new=ServerResponse(500, b""))
        self.probe(moox_server_url=self.NEW)
        self.clock.pump([1.0] * 20)
        self.assertEqual(self.identity.server.base_url, self.NEW)


class WithoutNodeIdTests(ProbeHandlerTestCase):
    def test_says_so_and_learns_all_the_same(self) -> None:
        self.identity.node_id = ""
        self.assertEqual(
            self.probe(),
            {
                "success": False,
                "message": "failed to build response: node ID is empty",
                "timestamp": TIMESTAMP,
            },
        )
        self.assertEqual(self.identity.server.base_url, "http://10.0.0.1:18202")


class RefusedTests(ProbeHandlerTestCase):
    def test_a_bad_probe_changes_nothing(self) -> None:
        self.environ["SCF_FUNCTIONNAME"] = "named"
        for body in (
            b"",
            b"not json",
            b"[]",
            json.dumps({**PROBE, "server_port": "18202"}).encode(),
            json.dumps({**PROBE, "moox_server_url": "ftp://x"}).encode(),
            json.dumps({**PROBE, "data": 1}).encode(),
        ):
            with self.subTest(body=body):
                response = self.handler.handle(body)
                value = json.loads(response.body)
                self.assertEqual((response.status, set(value)), (400, {"success", "message", "timestamp"}))
                self.assertEqual((value["success"], value["timestamp"]), (False, TIMESTAMP))
                self.assertTrue(value["message"])
                self.assertEqual(
                    (self.identity.node_id, self.identity.server, self.identity.storage_server_url),
                    ("node-abc", ServerAddress(), ""),
                )

    def test_another_control_plane_than_the_allowed_ones_changes_nothing(self) -> None:
        self.allowed.append("10.9.9.9")
        response = self.handler.handle(json.dumps(PROBE).encode())
        self.assertEqual(
            (response.status, json.loads(response.body)),
            (
                403,
                {
                    "success": False,
                    "message": "http://10.0.0.1:18202 is not among the allowed servers",
                    "timestamp": TIMESTAMP,
                },
            ),
        )
        self.assertEqual((self.identity.server, self.identity.storage_server_url), (ServerAddress(), ""))
        self.assertTrue(self.probe(moox_server_url="http://10.9.9.9:1")["success"])

    def test_the_first_that_accepts_a_heartbeat_may_be_pinned(self) -> None:
        self.allowed.append("first")
        for url in ("http://10.9.9.9:1", "http://10.0.0.1:18202"):
            self.assertTrue(self.probe(moox_server_url=url)["success"])
        self.heartbeat.record.first_server = "http://10.0.0.1:18202"
        for url, status in (
            ("http://10.9.9.9:1", 403),
            ("http://10.0.0.1:9", 200),
            ("https://10.0.0.1", 200),
        ):
            response = self.handler.handle(json.dumps({**PROBE, "moox_server_url": url}).encode())
            self.assertEqual(response.status, status, url)
        self.allowed.append("10.9.9.9")
        self.assertTrue(self.probe(moox_server_url="http://10.9.9.9:1")["success"])

    def test_is_counted_and_logged(self) -> None:
        with capturedLogs() as events:
            self.handler.handle(b"[]")
        self.probe()
        self.assertEqual(
            [(event["log_level"], formatEvent(event)) for event in events],
            [(LogLevel.warn, "a probe was refused: the body is not a JSON object")],
        )
        for outcome in ("refused", "accepted"):
            self.assertEqual(
                self.metrics.registry.get_sample_value("scfd_probes_total", {"outcome": outcome}), 1
            )
