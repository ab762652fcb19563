"""Every mistake that keeps a node from starting: one clear line on standard error, status 1, no traceback."""

from __future__ import annotations

import socket
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.integration.daemon import Daemon, free_ports

PLUGIN = """
from zope.interface import implementer
from scfd.interfaces import IFunctionPlugin

@implementer(IFunctionPlugin)
class Plugin:
    name = {name!r}

    def init(self, framework):
        pass

    def on_trigger(self, event):
        pass

plugin = Plugin()
"""

TIMER = 'triggers: [{name: t, type: timer, settings: {cron: "* * * * * * *"}}]'


class StartUpTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.admin = free_ports(1)[0]

    def config(self, *sections: str) -> str:
        return "\n".join(
            (
                f"system: {{name: s, version: v1, state_dir: {self.folder / 'state'}}}",
                f'admin: {{listen: "127.0.0.1:{self.admin}"}}',
                *sections,
            )
        )

    def add_plugin(self, name: str) -> None:
        folder = self.folder / "twisted" / "plugins"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name.replace('-', '_')}_dropin.py").write_text(PLUGIN.format(name=name))

    async def refused(self, config: str, *arguments: str) -> list[str]:
        """Start with a config that can't work; the lines on standard error."""
        daemon = Daemon(config, self.folder)
        self.addCleanup(daemon.clean_up)
        status = await daemon.start(*arguments).end()
        self.assertEqual(status, 1, daemon.output)
        self.assertNotIn("Traceback", daemon.output)
        return daemon.errors.splitlines()

    def check(self, config: str, expected: list[str], *arguments: str) -> Deferred[None]:
        async def refuse() -> None:
            self.assertEqual(await self.refused(config, *arguments), expected)

        return Deferred.fromCoroutine(refuse())

    def test_five_mistakes_at_once(self) -> Deferred[None]:
        config = self.config(
            "heartbeat: {intervall: 9}",
            "gateway: {listen: 70000}",
            "adapter: {native: [x]}",
            "triggers:",
            "  - {name: t, type: timer, settings: {cron: 61 * * * * * *}}",
            "  - {name: u, type: kafka}",
            "plugin: {key: '${UNSET_VARIABLE}'}",
        )

        async def check() -> None:
            lines = await self.refused(config)
            self.assertEqual(len(lines), 6, lines)
            for line, beginning in zip(
                lines,
                (
                    "scfd: config.yaml:3: heartbeat.intervall: ",
                    "scfd: config.yaml:4: gateway.listen: ",
                    "scfd: config.yaml:5: adapter.native: ",
                    "scfd: config.yaml:7: triggers[0].settings.cron: ",
                    "scfd: config.yaml:8: triggers[1].type: ",
                    "scfd: config.yaml:9: plugin.key: ",
                ),
                strict=True,
            ):
                self.assertTrue(line.startswith(beginning), line)

        return Deferred.fromCoroutine(check())

    def test_plugin_not_found(self) -> Deferred[None]:
        self.add_plugin("there")
        return self.check(
            self.config("adapter: {native: missing}", TIMER),
            ["scfd: adapter.native: there is no native plugin 'missing'; found: there"],
        )

    def test_two_plugins_and_none_chosen(self) -> Deferred[None]:
        self.add_plugin("one")
        self.add_plugin("two")
        return self.check(
            self.config(TIMER),
            [
                "scfd: adapter: the config names no plugin, and there are several; "
                "set adapter.native to one; found: one, two"
            ],
        )

    def test_plugin_that_can_not_be_imported(self) -> Deferred[None]:
        folder = self.folder / "twisted" / "plugins"
        folder.mkdir(parents=True)
        (folder / "broken.py").write_text("import nowhere_to_be_found\n")
        return self.check(
            self.config(TIMER),
            [
                "scfd: plugin module twisted/plugins/broken.py: "
                f"line 1 of {folder / 'broken.py'}: ModuleNotFoundError: "
                "No module named 'nowhere_to_be_found'"
            ],
        )

    def test_plugin_with_a_syntax_error(self) -> Deferred[None]:
        folder = self.folder / "scfd" / "plugins"
        folder.mkdir(parents=True)
        (folder / "broken.py").write_text("class\n")

        async def check() -> None:
            lines = await self.refused(self.config(TIMER))
            self.assertEqual(len(lines), 1, lines)
            self.assertRegex(
                lines[0], "plugin module scfd/plugins/broken.py: SyntaxError: .*broken.py, line 1"
            )

        return Deferred.fromCoroutine(check())

    def test_port_in_use(self) -> Deferred[None]:
        self.add_plugin("p")
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        return self.check(
            self.config(TIMER, f'gateway: {{listen: "127.0.0.1:{port}"}}'),
            [
                f"scfd: gateway.listen: can't listen on 127.0.0.1:{port}: Address already in use; "
                "choose another address"
            ],
        )

    def test_state_dir_in_use(self) -> Deferred[None]:
        """Two nodes would deliver each other's results: the second one does not start."""
        self.add_plugin("p")
        state_dir = self.folder / "state"

        async def check() -> None:
            first = Daemon(self.config(TIMER), self.folder)
            self.addCleanup(first.clean_up)
            first.start()
            await first.says("ready")
            self.admin = free_ports(1)[0]
            lines = await self.refused(self.config(TIMER))
            self.assertEqual(
                lines,
                [
                    f"scfd: system.state_dir: {state_dir} is in use by another node; "
                    "give each node a folder of its own"
                ],
            )
            self.assertEqual(await first.stop(), 0)

        return Deferred.fromCoroutine(check())

    def test_no_such_file(self) -> Deferred[None]:
        arguments = ("-n", "scfd", "--config", "nowhere.yaml")
        return self.check(
            "",
            ["scfd: nowhere.yaml: can't be read: No such file or directory; expected a readable YAML file"],
            *arguments,
        )

    def test_another_reactor(self) -> Deferred[None]:
        arguments = ("--reactor", "poll", "-n", "scfd", "--config", "config.yaml")

        async def check() -> None:
            lines = await self.refused(self.config(TIMER), *arguments)
            self.assertEqual(len(lines), 1, lines)
            self.assertTrue(lines[0].startswith("scfd: the reactor is PollReactor already"), lines)

        return Deferred.fromCoroutine(check())

    def test_plugin_that_never_gets_ready(self) -> Deferred[None]:
        url = f"http://127.0.0.1:{free_ports(1)[0]}"

        async def check() -> None:
            lines = await self.refused(
                self.config(TIMER, f"adapter: {{http: {{name: h, url: '{url}', ready_timeout: 0.5}}}}")
            )
            self.assertEqual(len(lines), 1, lines)
            self.assertIn(f"plugin 'h' at {url} is not ready after 0.5 s", lines[0])
            self.assertIn("Connection refused", lines[0])

        return Deferred.fromCoroutine(check())
