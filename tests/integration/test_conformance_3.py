"""The conformance tests against a server of generation 3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from tests.integration import test_conformance as conformance
from tests.integration.scripted import Say, info


class IdentityTests(conformance.IdentityTests):
    generation = 3


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


class ProbeTests(conformance.ProbeTests):
    generation = 3


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
