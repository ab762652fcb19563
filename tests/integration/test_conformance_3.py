"""What depends on the generation of a control plane, against a server of generation 3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from tests.integration import test_conformance as conformance
from tests.integration.daemon import until
from tests.integration.node import asynchronous
from tests.integration.scripted import Say, info


class HeartbeatTests(conformance.HeartbeatTests):
    generation = 3
    refusal: ClassVar = (5, Say(info(5, "no")))

    def extra(self, body: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
        return metadata

    def no_orders(self, one: list[Any]) -> Iterable[Say]:
        yield Say(info(0))
        yield Say(info(4, "node unknown", tasks_md5="", package_version=""))
        for code in (1, 2, 3, 4, 5, 12, 141, 999):
            yield Say(info(code, "no", task_instances=one, package_version="v9"))
        for ret_info in ({"code": "0"}, {"code": None}, {"code": False}, {"code": 0.5}, {}, 0, None):
            yield Say({"ret_info": ret_info, "task_instances": one})
        yield Say({"task_instances": one})


class FirstProbeTests(conformance.FirstProbeTests):
    generation = 3

    @asynchronous
    async def test_deployed_services(self) -> None:
        """They win over the older fields, and each that can't be a server's is passed over."""
        daemon = self.start(server="", node_id="")
        await daemon.says("ready")
        here = f"http://127.0.0.1:{self.server.port}"
        older = {"server_ip": "unknown", "server_port": 1, "moox_server_url": "http://unknown:1"}
        status, response = await self.probe({**older, "data": {"node_id": "by-server"}})
        self.assertEqual((status, response["success"]), (200, True))
        await daemon.says("warn +probe +a probe named http://unknown:1, which is no server's address")
        services = {
            "service_gateway": {"service_name": "service_gateway", "base_url": "http://unknown:1"},
            "admin_gateway": {"service_name": "admin_gateway", "base_url": here},
            "storage_access": {"base_url": "http://10.0.0.2:19104/", "port": "19104"},
        }
        data = {"prober_type": "keepalive", "probe_time": "2026-07-01T00:00:00Z", "node_id": "by-server"}
        await self.probe({**older, "service_deployments": services, "data": data})
        self.assertEqual((await self.heartbeats(1))[0]["node_id"], "by-server")
        events = self.folder / "events.jsonl"

        async def told() -> bool:
            return '"http://10.0.0.2:19104"' in (events.read_text() if events.exists() else "")

        await until(told, "an event with the storage server")


class TaskStatusTests(conformance.TaskStatusTests):
    generation = 3
    task_field = "instance_id"
    delivered: ClassVar = (info(0), info(0, "success", more=1), {"ret_info": {"code": 0.0}})
    refused: ClassVar = {f"code-{code}": Say(info(code, "no")) for code in (1, 5, 12)}
    again: ClassVar = (
        Say(info(4, "no")),
        Say(info(141, "no")),
        Say(info(1, 'unknown field "x"')),
        Say(b""),
        Say(b"", 500),
    )
    unknown = Say(info(4, "no such row"))


class SignatureTests(conformance.SignatureTests):
    generation = 3
