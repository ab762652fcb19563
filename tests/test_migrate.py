"""Tests for scfd migrate."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from scfd.cli.go_deployment import plugin_of
from scfd.config import NatsSettings
from tests.test_cli import run

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "system: {name: f, version: 1.10}\nheartbeat: {server_ip: 10.0.0.1, server_port: 18202}\n"
GO = "package main\nfunc main() {{ p := plugin.NewHTTPPluginAdapter({}) }}\n"


def files_in_docs() -> dict[str, str]:
    """Name and text of each file that docs/migrating.rst shows."""
    text = (ROOT / "docs/migrating.rst").read_text()
    blocks = re.findall(r"(?m)^``([\w./]+)``::\n\n((?:    .*\n|\n)+)", text)
    return {name: textwrap.dedent(block).strip() + "\n" for name, block in blocks}


class MigrateCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)

    def write(self, **files: str) -> None:
        for name, text in files.items():
            path = self.folder / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def migrate(self, *arguments: str) -> tuple[str, Any]:
        """:returns: what was printed, and the config."""
        status, out, err = run("migrate", ".", *arguments)
        self.assertEqual((status, err), (0, ""))
        return out, yaml.safe_load(Path("scfd.yaml").read_text())


class ExampleTests(MigrateCase):
    def test_the_one_of_the_docs(self) -> None:
        for name, text in files_in_docs().items():
            self.write(**{name.replace("/", "__"): text})
        out, config = self.migrate()
        self.assertEqual(
            config["adapter"]["http"],
            {
                "name": "data-collector",
                "url": "http://127.0.0.1:9001",
                "ready_timeout": 60,
                "heartbeat_extra": {"supported_collectors": ["kline", "symbol"]},
                "command": ["python3", "-u", "./plugin/main.py"],
            },
        )
        self.assertEqual(
            (config["gateway"]["listen"], config["heartbeat"]["interval"]), ("127.0.0.1:9000", 9)
        )
        crons = [trigger["settings"]["cron"] for trigger in config["triggers"]]
        self.assertEqual(crons, ["* * * * * * *", "0 30 2 * * * *"])
        self.assertNotIn("dns_proxy", config)
        docs = (ROOT / "docs/migrating.rst").read_text()
        shown = re.search(r"among others::\n\n(.*?)\n\n(.*?)", docs, re.DOTALL)
        assert shown is not None
        for line in [
            *shown[1].splitlines(),
            "adapter.http.heartbeat_extra.supported_collectors: collectors in Go",
        ]:
            self.assertIn(line.strip(), out)
        for word in ("overlap", "exit status", "limits", "Host", "signature"):
            self.assertRegex(out, rf"(?m)^  {word}: ")


class ConfigTests(MigrateCase):
    def test_values_keep_their_form(self) -> None:
        self.write(config_dot_yaml=CONFIG + "plugin: {level: '07', port: 7, when: 1.10}\n")
        self.migrate()
        text = Path("scfd.yaml").read_text()
        for value in ("version: 1.10", "level: '07'", "port: 7", "when: 1.10"):
            self.assertIn(value, text)

    def test_variables_stay(self) -> None:
        self.patch(os, "environ", {**os.environ, "SECRET": "not-in-the-file"})
        self.write(config_dot_yaml=CONFIG + "plugin: {key: '${SECRET}'}\n")
        self.migrate()
        self.assertIn("${SECRET}", Path("scfd.yaml").read_text())
        self.assertNotIn("not-in-the-file", Path("scfd.yaml").read_text())

    def test_keys_that_scfd_has_not(self) -> None:
        settings = "{url: 'nats://n:4222', stream: S, subject: s, consumer_name: c, KEY: 3}"
        key = NatsSettings.unused_keys[0]
        trigger = f"{{name: q, type: nats, settings: {settings.replace('KEY', key)}}}"
        self.write(config_dot_yaml=f"{CONFIG}storage: {{}}\ntriggers: [{trigger}]\n")
        out, config = self.migrate()
        self.assertNotIn("storage", config)
        self.assertNotIn(key, config["triggers"][0]["settings"])
        self.assertIn(f"triggers.q.settings.{key}: left out", out)

    def test_a_cron_that_go_can_not_read(self) -> None:
        trigger = "{name: t, type: timer, settings: {cron: '0 0 * * 1 MON'}}"
        self.write(config_dot_yaml=f"{CONFIG}triggers: [{trigger}]\n")
        out, config = self.migrate()
        self.assertEqual(config["triggers"][0]["settings"]["cron"], "0 0 * * 1 MON *")
        self.assertIn("the Go framework can't read it", out)

    def test_nothing_but_a_config(self) -> None:
        self.write(config_dot_yaml=CONFIG)
        out, config = self.migrate()
        self.assertEqual(config["adapter"], {"http": {"name": "f", "url": "http://127.0.0.1:9001"}})
        self.assertEqual(config["gateway"], {"listen": "0.0.0.0:9000"})
        self.assertIn("no Go program in . calls NewHTTPPluginAdapter", out)
        self.assertIn("adapter.http.command: no scf_bootstrap", out)

    def test_what_has_been_there_stays(self) -> None:
        own = "gateway: {listen: '127.0.0.1:9100'}\nadapter: {http: {url: 'http://127.0.0.1:9003'}}\n"
        services = "{name: g, port: 9000, protocol: http}, {name: heartbeat, network: tcp, protocol: timer}"
        trpc = f"server: {{service: [{services}]}}"
        self.write(config_dot_yaml=CONFIG + own, trpc_go_dot_yaml=trpc)
        out, config = self.migrate()
        self.assertEqual(config["gateway"], {"listen": "127.0.0.1:9100"})
        self.assertEqual(config["adapter"], {"http": {"url": "http://127.0.0.1:9003"}})
        self.assertIn("has no period", out)


class MistakeTests(MigrateCase):
    def refused(self, expected: str, *arguments: str) -> None:
        status, out, err = run("migrate", *arguments)
        self.assertEqual((status, out), (1, ""))
        self.assertIn(expected, err)
        self.assertNotIn("Traceback", err)

    def test_no_folder(self) -> None:
        self.refused("scfd migrate: nowhere is no folder", "nowhere")

    def test_no_config(self) -> None:
        self.refused("scfd migrate: . has no config.yaml; expected one there or in configs", ".")

    def test_output_exists(self) -> None:
        self.write(config_dot_yaml=CONFIG, scfd_dot_yaml="mine\n")
        self.refused("scfd.yaml exists already", ".")
        self.assertEqual(Path("scfd.yaml").read_text(), "mine\n")

    def test_output_that_can_not_be_written(self) -> None:
        self.write(config_dot_yaml=CONFIG)
        self.refused("can't be written: No such file or directory", ".", "--output", "no/such.yaml")

    def test_mistakes_in_the_files(self) -> None:
        self.write(config_dot_yaml=CONFIG + "shutdown: {drain: x}\n")
        self.refused("config.yaml:3: shutdown.drain: found 'x'", ".")
        self.write(config_dot_yaml=CONFIG, trpc_go_dot_yaml="server: {service: [{protocol: http, port: x}]}")
        self.refused("trpc_go.yaml:1: server.service[0].port: found 'x'", ".")
        self.assertFalse(Path("scfd.yaml").exists())


class GoTests(MigrateCase):
    """What is read of a Go program."""

    def read(self, arguments: str, before: str = "") -> Any:
        self.write(cmd__main_dot_go=before + GO.format(arguments))
        return plugin_of(self.folder)

    def test_texts_and_names(self) -> None:
        found = self.read("name, `http://h:1`", '// NewHTTPPluginAdapter("no", "no")\nconst name = "n\\"1"\n')
        self.assertEqual((found.settings, found.unread), ({"name": 'n"1', "url": "http://h:1"}, ()))

    def test_durations(self) -> None:
        for text, seconds in (
            ("60*time.Second", 60),
            ("time.Minute", 60),
            ("time.Millisecond * 1500", 1.5),
            ("1.5 * time.Hour", 5400),
        ):
            found = self.read(f'"n", "u", plugin.WithReadyTimeout({text})')
            self.assertEqual(found.settings["ready_timeout"], seconds, text)

    def test_heartbeat_extra(self) -> None:
        fields = '"a": []string{"x, y", "z"}, "b": true, "c": 1.5, "d": compute(1, 2), "e": map[string]int{}'
        found = self.read(f'"n", "u", plugin.WithHeartbeatExtra(map[string]any{{{fields}}})')
        self.assertEqual(found.settings["heartbeat_extra"], {"a": ["x, y", "z"], "b": True, "c": 1.5})
        self.assertEqual([key for key, _ in found.unread], ["heartbeat_extra.d", "heartbeat_extra.e"])

    def test_what_only_the_program_knows(self) -> None:
        found = self.read(
            "os.Args[1], cfg.URL, plugin.WithReadyTimeout(limit), plugin.WithNew(3), options..."
        )
        keys = [key for key, _ in found.unread]
        self.assertEqual(keys, ["name", "url", "ready_timeout", "WithNew", "options..."])

    def test_programs_that_are_none(self) -> None:
        self.write(main_test_dot_go=GO.format('"n", "u"'), vendor__x_dot_go=GO.format('"n", "u"'))
        (self.folder / "binary.go").write_bytes(b"\xff\x00")
        (self.folder / "cut.go").write_text('p := NewHTTPPluginAdapter("n", "u')
        found = plugin_of(self.folder)
        self.assertTrue(found is None or found.settings.get("url") != "u")
