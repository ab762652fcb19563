"""
Whatever goes wrong, no secret that a config can hold is shown: not by the log of a node at level debug, in
any format, nor by its pages and operators' commands, nor by what is said about mistakes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import treq
import yaml
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.cls_endpoint import Endpoint, respond
from tests.integration.daemon import Daemon, free_ports, until
from tests.integration.nats_servers import Server
from tests.integration.node import asynchronous
from tests.integration.test_nats_login import make_seed

#: Fails at each event, and then ends.
PLUGIN = """
import os, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def do_POST(self):
        self.send_error(500)
    def log_message(self, *args):
        pass
threading.Timer(3, os._exit, [3]).start()
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
#: A seed and a JWT, as a file of credentials has them.
CREDENTIALS = """-----BEGIN NATS USER JWT-----
{jwt}
------END NATS USER JWT------
-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""


class Secrets:
    """Makes secrets, and finds them in texts. :ivar made: by what they are for."""

    def __init__(self) -> None:
        self.made: dict[str, str] = {}

    def new(self, what: str) -> str:
        """One that URLs and JSON write in other ways."""
        return self.add(what, f's3c/{len(self.made):02}+"{what[::-1]}')

    def add(self, what: str, secret: str) -> str:
        self.made[what] = secret
        return secret

    def shown_in(self, text: str) -> list[str]:
        return [
            what
            for what, secret in self.made.items()
            if any(form in text for form in (secret, quote(secret, ""), json.dumps(secret)[1:-1]))
        ]


class SecretsTests(TestCase):
    timeout = 110

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.secrets = Secrets()

    def triggers(self, url: str) -> list[dict[str, Any]]:
        """One for each way to log in, each of them refused."""
        new = self.secrets.new
        seed = self.secrets.add("seed", make_seed()[0])
        (self.folder / "user.creds").write_text(
            CREDENTIALS.format(
                jwt=self.secrets.add("jwt", "eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiJVIn0.c2ln"),
                seed=self.secrets.add("seed of credentials", make_seed()[0]),
            )
        )
        (self.folder / "broken.creds").write_text(new("broken credentials"))
        (self.folder / "key.pem").write_text(new("key of TLS"))
        host = url.partition("://")[2]
        logins: list[dict[str, Any]] = [
            {"url": f"nats://me:{quote(new('password in URL'), '')}@{host}"},
            {"url": f"nats://{quote(new('token in URL'), '')}@{host}"},
            {"url": f"tls://me:{quote(new('password to nobody'), '')}@127.0.0.1:1"},
            {"user": new("user"), "password": new("password")},
            {"token": new("token")},
            {"nkey": seed},
            {"credentials": str(self.folder / "user.creds")},
        ]
        return [
            {
                "name": f"q{number}",
                "type": "nats",
                "settings": {
                    "url": url,
                    "stream": "S",
                    "subject": "s",
                    "consumer_name": f"c{number}",
                    **login,
                },
            }
            for number, login in enumerate(logins)
        ]

    def config(self, ports: list[int], format: str, nats: str, cls: str) -> dict[str, Any]:
        new = self.secrets.new
        timer = {"name": "tick", "type": "timer", "settings": {"cron": "* * * * * * *"}}
        return {
            "system": {
                "name": "f",
                "state_dir": "state",
                "storage_url": f"http://me:{new('storage')}@127.0.0.1:1/?token={new('query')}",
            },
            "admin": {"listen": f"127.0.0.1:{ports[0]}", "token": new("admin.token")},
            "gateway": {"listen": f"127.0.0.1:{ports[1]}", "probe_token": new("probe_token")},
            "heartbeat": {
                "server_url": "http://127.0.0.1:1",
                "protocol": 3,
                "auth": {"access_key": "me", "secret_key": new("secret_key")},
            },
            "adapter": {
                "http": {
                    "url": f"http://127.0.0.1:{ports[2]}",
                    "command": ["python3", "plugin.py", str(ports[2]), "--token", new("argument")],
                    "env": {
                        "API_KEY": new("environment"),
                        "HTTPS_PROXY": f"http://me:{quote(new('proxy'), '')}@127.0.0.1:1",
                    },
                    "env_pass": ["PASSED"],
                    "heartbeat_extra": {"token": new("heartbeat_extra")},
                }
            },
            "triggers": [timer, *self.triggers(nats)],
            "plugin": {
                "password": new("plugin"),
                "exchange": {"api_key": "${API_KEY}", "Authorization": f"Bearer {new('authorization')}"},
                "dsn": f"postgres://me:{new('dsn')}@127.0.0.1/db",
                "keys": [{"pwd": new("pwd")}],
            },
            "log": {
                "level": "debug",
                "format": format,
                "file": "node.log",
                "cls": {
                    "topic_id": "topic",
                    "host": cls,
                    "secret_id": new("secret_id"),
                    "secret_key": new("CLS secret_key"),
                    "secret_token": new("CLS secret_token"),
                },
            },
        }

    def run_scfd(self, folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> Daemon:
        daemon = Daemon((folder / "config.yaml").read_text(), folder, environ)
        daemon.start_python("-m", "scfd", *arguments)
        self.addCleanup(daemon.clean_up)
        return daemon

    async def run_node(self, format: str, nats: str, cls: str) -> str:
        """:returns: all that a node has shown."""
        folder = self.folder / format
        folder.mkdir()
        (folder / "plugin.py").write_text(PLUGIN)
        ports = free_ports(3)
        config = self.config(ports, format, nats, cls)
        environ = {"API_KEY": self.secrets.new("variable"), "PASSED": self.secrets.new("passed on")}
        daemon = Daemon(yaml.safe_dump(config), folder, environ).start()
        self.addCleanup(daemon.clean_up)
        await daemon.says("Authorization Violation")
        await daemon.says("exit status 3|status 3")
        admin, token = f"http://127.0.0.1:{ports[0]}", config["admin"]["token"]
        shown = [
            await self.ask(admin, token, path) for path in ("/", "/ready", "/metrics", "/status", "/nowhere")
        ]
        for method in ("config.show", "node.status", "trigger.list", "event.list", "rpc.discover", "nothing"):
            body = {"jsonrpc": "2.0", "id": 1, "method": method}
            shown.append(await self.ask(admin, token, "/rpc", json.dumps(body).encode()))
        self.assertIn("***", "".join(shown))
        gateway = f"http://127.0.0.1:{ports[1]}"
        shown += [await self.ask(gateway, config["gateway"]["probe_token"], "/gateway/probe", b"{")]
        commands = [
            self.run_scfd(folder, "status", environ=environ),
            self.run_scfd(folder, "status", "--url", admin, "--token", token),
            self.run_scfd(folder, "status", "--url", "http://127.0.0.1:1", "--token", token),
            self.run_scfd(folder, "check", "config.yaml", environ=environ),
        ]
        for command in commands:
            await command.end()
        await daemon.stop()
        self.assertIn("log.cls: ", daemon.output)
        return "".join(
            [daemon.output, (folder / "node.log").read_text(), *shown, *(one.output for one in commands)]
        )

    async def ask(self, url: str, token: str, path: str, body: bytes | None = None) -> str:
        headers: Any = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

        async def response() -> str:
            found = await treq.request(
                "GET" if body is None else "POST",
                url + path,
                data=body,
                headers=headers,
                timeout=5,
                persistent=False,
            )
            return f"{found.code} {await found.text()} "

        return str(await until(response, path))

    @asynchronous
    async def test_a_node_for_which_everything_fails(self) -> None:
        server = Server(self.folder / "store", "--user", "somebody", "--pass", "else")
        self.addCleanup(server.clean_up)
        await server.start()
        endpoint = Endpoint()
        self.addCleanup(deferToThread, endpoint.close)
        endpoint.faults = [partial(respond, status=403, body=b'{"errorcode": "AuthFailure"}')] * 1000
        runs = [self.run_node(format, server.url, endpoint.url) for format in ("text", "json", "logfmt")]
        for shown in await gatherResults([Deferred.fromCoroutine(run) for run in runs]):
            self.assertEqual(self.secrets.shown_in(shown), [], shown)

    @asynchronous
    async def test_files_and_seeds_that_are_none(self) -> None:
        """A node does not start, and ``scfd check`` says why."""
        file = self.folder / "file"
        file.write_text(self.secrets.new("file"))
        seed = "SU" + self.secrets.add("seed", make_seed()[0])[2:-1] + "_"
        self.secrets.add("broken seed", seed)
        logins: list[dict[str, Any]] = [
            {"nkey": seed},
            {"nkey": str(file)},
            {"credentials": str(file)},
            {"tls": {"ca": str(file)}},
            {"tls": {"cert": str(file), "key": str(file)}},
        ]
        settings = {"url": "nats://127.0.0.1:1", "stream": "S", "subject": "s", "consumer_name": "c"}
        triggers = [
            {"name": f"q{number}", "type": "nats", "settings": {**settings, **login}}
            for number, login in enumerate(logins)
        ]
        gateway = {"listen": "127.0.0.1:0", "tls": {"cert": str(file), "key": str(file)}}
        parts: list[dict[str, Any]] = [*({"triggers": [one]} for one in triggers), {"gateway": gateway}]
        daemons = []
        for number, part in enumerate([*parts, {"triggers": triggers, "gateway": gateway}]):
            config = {
                "adapter": {"http": {"ready_timeout": 1}},
                "admin": {"listen": ""},
                "log": {"level": "debug"},
                "system": {"state_dir": "state"},
                **part,
            }
            daemon = Daemon(yaml.safe_dump(config), self.folder / str(number))
            self.addCleanup(daemon.clean_up)
            if part in parts:
                daemon.start()
            else:
                daemon.start_python("-m", "scfd", "check", "config.yaml")
            daemons.append(daemon)
        for daemon in daemons:
            self.assertNotEqual(await daemon.end(), 0, daemon.output)
            self.assertEqual(self.secrets.shown_in(daemon.output), [], daemon.output)
