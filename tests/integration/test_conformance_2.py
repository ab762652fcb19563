"""What depends on the generation of a control plane, against a server of generation 2."""

from __future__ import annotations

from typing import ClassVar

from tests.integration import test_conformance as conformance
from tests.integration.scripted import Say


class HeartbeatTests(conformance.HeartbeatTests):
    generation = 2
    refusal: ClassVar = (400, Say({"code": 400, "message": "no"}))


class FirstProbeTests(conformance.FirstProbeTests):
    generation = 2


class TaskStatusTests(conformance.TaskStatusTests):
    generation = 2
    refused: ClassVar = {
        name: say for name, say in conformance.TaskStatusTests.refused.items() if name != "status-404"
    }
    again: ClassVar = (*conformance.TaskStatusTests.again, Say(b"404 page not found", 404))
