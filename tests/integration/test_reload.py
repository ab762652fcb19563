"""``scfd run --reload``: a file is changed, and the plugin is another one."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.integration.daemon import Daemon, children, free_ports, get_json, is_alive, until

NATIVE = """
from zope.interface import implementer
from scfd.events import TaskResult, TaskStatus, TriggerResponse
from scfd.interfaces import IFunctionPlugin
import helper

@implementer(IFunctionPlugin)
class Plugin:
    name = "mine"

    def init(self, framework):
        pass

    def on_trigger(self, event):
        return TriggerResponse(
            [TaskResult(task["task_id"], TaskStatus.SUCCESS, helper.WORD) for task in event.tasks]
        )

plugin = Plugin()
"""

HTTP = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
import helper

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.respond({})

    def do_POST(self):
        tasks = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["payload"]["tasks"]
        results = [{"task_id": task["task_id"], "status": 2, "result": helper.WORD} for task in tasks]
        self.respond({"task_results": results})

    def respond(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class ReloadTests(TestCase):
    timeout = 90

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "twisted/plugins").mkdir(parents=True)
        (self.folder / "tasks.yaml").write_text("- task_id: a\n")
        self.helper = self.folder / "helper.py"
        self.helper.write_text('WORD = "one"\n')
        self.plugin, self.gateway, self.admin, self.control_plane = free_ports(4)

    def config(self, adapter: dict[str, Any], version: str = "v1") -> str:
        return json.dumps(
            {
                "system": {"name": "n", "version": version, "node_id": "x", "state_dir": "state"},
                "gateway": {"listen": f"127.0.0.1:{self.gateway}"},
                "admin": {"listen": f"127.0.0.1:{self.admin}", "token": "t0ken"},
                "adapter": adapter,
                "triggers": [{"name": "t", "type": "timer", "settings": {"cron": "* * * * * * *"}}],
                "dev": {
                    "control_plane": {"listen": f"127.0.0.1:{self.control_plane}", "tasks": "tasks.yaml"}
                },
            }
        )

    def start(self, adapter: dict[str, Any]) -> Daemon:
        daemon = Daemon(self.config(adapter), self.folder)
        self.addCleanup(daemon.clean_up)
        return daemon.start_python("-m", "scfd", "run", "--reload")

    async def state(self) -> Any:
        return await get_json(f"http://127.0.0.1:{self.control_plane}/state")

    async def reported(self, word: str) -> None:
        async def there() -> bool:
            return any(result["result"] == word for result in (await self.state())["results"])

        await until(there, f"a result {word!r}")

    async def check_edits(self, daemon: Daemon, told: str) -> None:
        await self.reported("one")
        self.helper.write_text('WORD = "two"\n')
        await self.reported("two")
        self.assertRegex(daemon.output, rf"helper.py: changed; {told}")
        self.helper.write_text('WORD = "three\n')
        await daemon.says(r"error reload +helper.py:1: SyntaxError: .*; waiting for it to be mended")
        self.helper.write_text('WORD = "four"\n')
        await self.reported("four")
        # The control plane is the same one: it has the results of all of them.
        await self.reported("one")

    async def test_native(self) -> None:
        plugin = self.folder / "twisted/plugins/mine.py"
        plugin.write_text(NATIVE)
        daemon = self.start({"native": "mine"})
        await self.check_edits(daemon, "the node is started again")

        plugin.write_text(NATIVE.replace("import helper", "import helper_that_is_missing as helper"))
        await daemon.says("ModuleNotFoundError: No module named 'helper_that_is_missing'")
        await daemon.says("the node has ended: exit status 1; it is started again when a file changes")
        plugin.write_text(NATIVE.replace("helper.WORD", "'five'"))
        await self.reported("five")

        (self.folder / "config.yaml").write_text(self.config({"nativ": "mine"}))
        await daemon.says("config.yaml:1: adapter.nativ: unknown key; did you mean native?")
        (self.folder / "config.yaml").write_text(self.config({"native": "mine"}, "v2"))

        async def is_v2() -> bool:
            return "v2" in json.dumps((await self.state())["nodes"])

        await until(is_v2, "the node of the new config")
        self.assertEqual(await daemon.stop(signal.SIGINT), 0)
        self.assertNotIn("Traceback", daemon.output)

    async def test_http(self) -> None:
        (self.folder / "plugin.py").write_text(HTTP)
        url = f"http://127.0.0.1:{self.plugin}"
        command = ["python3", "-u", "plugin.py", str(self.plugin)]
        daemon = self.start({"http": {"name": "mine", "url": url, "command": command}})
        await self.check_edits(daemon, "the plugin is started again")
        self.assertEqual(daemon.output.count("info  node         ready"), 1)
        below = children(daemon.pid)
        daemon.send(signal.SIGKILL)
        await daemon.end()

        async def gone() -> bool:
            return not any(map(is_alive, below))

        await until(gone, "the end of all processes")

    async def test_without_watchfiles(self) -> None:
        (self.folder / "twisted/plugins/mine.py").write_text(NATIVE)
        (self.folder / "watchfiles.py").write_text("raise ImportError\n")
        daemon = self.start({"native": "mine"})
        self.assertEqual(await daemon.end(), 1)
        self.assertEqual(
            daemon.errors, "scfd: --reload needs the package watchfiles: pip install watchfiles\n"
        )
