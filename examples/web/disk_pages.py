"""Measures disks, and shows them on pages of its own, which callers reach through the node's gateway."""

# Klein's decorators have no types.
# pyright: reportUntypedFunctionDecorator=false

from __future__ import annotations

import asyncio
import json
import shutil
from html import escape

from klein import Klein
from klein.resource import KleinResource
from twisted.web.server import Request

from scfd.events import Task, TriggerEvent
from scfd.function import TaskPlugin


class Web(TaskPlugin):
    name = "web"
    app = Klein()

    def __init__(self) -> None:
        self.used: dict[str, float] = {}  # by task

    async def on_task(self, task: Task, event: TriggerEvent) -> str:
        disk = await asyncio.to_thread(shutil.disk_usage, task.params["path"])
        self.used[task.task_id] = disk.used / disk.total
        return f"{self.used[task.task_id]:.0%} used"

    def resource(self) -> KleinResource:
        """What the gateway does not serve itself comes here."""
        return self.app.resource()

    @app.route("/")
    def page(self, request: Request) -> str:
        rows = [f"<tr><td>{escape(name)}</td><td>{used:.0%}</td></tr>" for name, used in self.used.items()]
        return f"<!DOCTYPE html><title>Disks</title><h1>Disks</h1><table>{''.join(sorted(rows))}</table>"

    @app.route("/disks/<name>")
    def disk(self, request: Request, name: str) -> str:
        request.setHeader("Content-Type", "application/json")
        if name in self.used:
            return json.dumps({"used": round(self.used[name], 2)})
        request.setResponseCode(404)
        return json.dumps({"message": f"expected one of {', '.join(sorted(self.used))}"})


plugin = Web()
