"""A node whose control plane is the test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import treq
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from twisted.web.http_headers import Headers

from scfd.control_plane.signing import Signer
from tests.integration.daemon import ROOT, Daemon, free_ports, until
from tests.integration.scripted import PREFIXES, ScriptedServer

#: Those of the node at a control plane of generation 2 or 3.
KEYS = {"access_key": "collector", "secret_key": "s3cret"}


def asynchronous(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Deferred[None]]:
    """A test method that is a coroutine."""

    def run(self: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(test(self))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


class NodeTestCase(TestCase):
    """
    A node whose control plane is the test.

    :cvar generation: of the control plane. The node learns it, except for 2: it would ask in the form of 3
        first, and that server takes it.
    """

    timeout = 90
    generation = 1

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.server = ScriptedServer(self.generation, Signer(**KEYS, now=time.time))
        self.server.listen()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.server.close()))
        self.gateway, self.admin = free_ports(2)

    def start(
        self,
        *,
        server: str | None = None,
        interval: float = 0.3,
        node_id: str = "node-abc",
        cron: str = "* * * * * * *",
        plugin: Mapping[str, Any] | None = None,
        heartbeat: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        system: Mapping[str, Any] | None = None,
        native: str = "recorder",
    ) -> Daemon:
        where = server if server is not None else f"http://127.0.0.1:{self.server.port}"
        config = {
            "system": {
                "name": "n",
                "version": "v1.0.0",
                "node_id": node_id,
                "state_dir": str(self.folder / "state"),
                **(system or {}),
            },
            "heartbeat": {
                "interval": interval,
                "server_url": where,
                **self._generation(),
                **(heartbeat or {}),
            },
            "gateway": {"listen": f"127.0.0.1:{self.gateway}"},
            "admin": {"listen": f"127.0.0.1:{self.admin}"},
            "adapter": {"native": native, "path": str(ROOT / "tests/integration/plugins")},
            "triggers": [{"name": "t", "type": "timer", "settings": {"cron": cron}}],
            "plugin": {"events": str(self.folder / "events.jsonl"), **(plugin or {})},
        }
        daemon = Daemon(json.dumps(config), self.folder, environ)
        self.addCleanup(daemon.clean_up)
        return daemon.start()

    @property
    def prefix(self) -> str:
        """First part of the paths."""
        return PREFIXES[self.generation]

    def _generation(self) -> dict[str, Any]:
        """What the config says for this control plane."""
        fixed = {"protocol": 2} if self.generation == 2 else {}
        return fixed if self.generation == 1 else {"auth": KEYS, **fixed}

    async def heartbeats(self, count: int) -> list[Any]:
        """Wait for a number of heartbeats more; their bodies."""
        before = len(self.server.heartbeats)

        async def enough() -> bool:
            return len(self.server.heartbeats) >= before + count

        await until(enough, f"{count} heartbeats")
        return [heard.json for heard in self.server.heartbeats[before:]]

    async def digest_becomes(self, md5: str) -> None:
        async def there() -> bool:
            return bool(self.server.heartbeats) and self.server.heartbeats[-1].json["tasks_md5"] == md5

        await until(there, f"tasks_md5 {md5}")

    async def reported(self, condition: Callable[[list[Any]], bool]) -> list[Any]:
        async def there() -> bool:
            return condition([heard.json for heard in self.server.reports])

        await until(there, "task reports")
        return [heard.json for heard in self.server.reports]

    async def probe(self, value: Any) -> tuple[int, Any]:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        response = await treq.post(
            f"http://127.0.0.1:{self.gateway}/probe",
            data=body,
            headers=Headers({"Content-Type": ["application/json"]}),
            persistent=False,
            timeout=5,
        )
        return response.code, await response.json()

    async def metrics(self) -> str:
        response = await treq.get(f"http://127.0.0.1:{self.admin}/metrics", persistent=False, timeout=5)
        text: str = await response.text()
        return text

    def address(self) -> dict[str, Any]:
        return {"server_ip": "127.0.0.1", "server_port": self.server.port}
