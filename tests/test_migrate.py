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
from scfd.cli.start_script import StartScript, start_script_of
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
        self.assertEqual((config["gateway"]["listen"], config["heartbeat"]["interval"]), ("0.0.0.0:9000", 9))
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

    def test_keys_that_nobody_knows(self) -> None:
        """The Go framework reads past them; anchors that they hold stay usable."""
        triggers = "triggers:\n  - {name: t, type: timer, settings: *every, owner: me}\n"
        self.write(config_dot_yaml=f"{CONFIG}x-base: &every {{cron: '0 * * * * * *'}}\n{triggers}")
        out, config = self.migrate()
        self.assertNotIn("x-base", config)
        [trigger] = config["triggers"]
        self.assertEqual(trigger, {"name": "t", "type": "timer", "settings": {"cron": "0 * * * * * *"}})
        for key in ("x-base", "triggers[0].owner"):
            self.assertIn(f"  {key}: left out; neither the Go framework nor scfd reads it\n", out)

    def test_timers_of_trpc(self) -> None:
        """The heartbeat's period, where the Go framework's examples have it; and whose the others are."""
        beat = "{name: trpc.heartbeat.timer, network: tcp, protocol: timer, timer: {cron: '*/30 * * * * *'}}"
        others = [
            f"{{name: trpc.{name}, protocol: timer}}" for name in ("timer.second", "dns.timer", "sync.timer")
        ]
        trpc = f"server: {{service: [{', '.join([beat, *others])}]}}"
        self.write(config_dot_yaml=CONFIG, trpc_go_dot_yaml=trpc)
        out, config = self.migrate()
        self.assertEqual(config["heartbeat"]["interval"], 30)
        _, _, left = out.partition("What is left to do:")
        self.assertIn(
            "trpc_go.yaml:1: trpc.sync.timer: calls the Go program itself; expected a trigger", left
        )
        self.assertEqual(out.count("calls the Go program itself"), 1)

    def test_two_periods(self) -> None:
        config = CONFIG.replace("{server_ip", "{interval: 9, server_ip")
        trpc = "server: {service: [{name: heartbeat, network: '*/30 * * * * *', protocol: timer}]}"
        self.write(config_dot_yaml=config, trpc_go_dot_yaml=trpc)
        out, migrated = self.migrate()
        self.assertEqual(migrated["heartbeat"]["interval"], 9)
        self.assertIn("heartbeat.interval: 9 s stays; trpc_go.yaml says 30 s", out)

    def test_what_is_wrong_with_the_result(self) -> None:
        self.write(config_dot_yaml=CONFIG, main_dot_go=GO.format('"n", "127.0.0.1:9001"'))
        out, config = self.migrate()
        self.assertEqual(config["adapter"]["http"]["url"], "127.0.0.1:9001")
        self.assertRegex(out, r"What is left to do:\n(.*\n)*  scfd\.yaml:\d+: adapter\.http\.url: found")


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

    def test_options_in_variables(self) -> None:
        """Each name that the program gives a value once, lists of options and added fields among them."""
        before = """
const port = 9003
var wait time.Duration = 45 * time.Second
var base = fmt.Sprintf("http://%s:%d", "127.0.0.1", port)
func more() {
\textra := map[string]interface{}{"a": []string{"x"}}
\textra["b"] = 2
\topts := []plugin.HTTPPluginOption{plugin.WithReadyTimeout(wait)}
\topts = append(opts, plugin.WithHeartbeatExtra(extra))
}
"""
        found = self.read('"n", base, opts...', before)
        expected = {"name": "n", "url": "http://127.0.0.1:9003", "ready_timeout": 45}
        self.assertEqual(found.settings, {**expected, "heartbeat_extra": {"a": ["x"], "b": 2}})
        self.assertEqual(found.unread, ())

    def test_a_name_with_two_values(self) -> None:
        found = self.read('"n", base', 'var base = "http://h:1"\nfunc f() { base = "http://h:2" }\n')
        self.assertEqual((found.settings, found.unread), ({"name": "n"}, (("url", "base"),)))

    def test_several_programs(self) -> None:
        self.write(cmd__a__main_dot_go=GO.format('"a", "http://h:1"'), config_dot_yaml=CONFIG)
        self.write(cmd__b__main_dot_go=GO.format('"b", "http://h:2"').replace("\n", "\r\n"))
        out, config = self.migrate()
        self.assertEqual(config["adapter"]["http"]["name"], "a")
        self.assertIn("cmd/b/main.go: calls NewHTTPPluginAdapter as well; what cmd/a/main.go says", out)

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


class ScriptTests(MigrateCase):
    """What is read of scf_bootstrap."""

    def read(self, *lines: str) -> StartScript:
        (self.folder / "scf_bootstrap").write_text("\r\n".join(["#!/bin/bash", *lines, ""]))
        script = start_script_of(self.folder)
        assert script is not None
        return script

    def test_exports_and_a_folder(self) -> None:
        script = self.read(
            "set -e",
            "export PORT=9100",
            "export LOG_LEVEL=debug 'NAME=a b' HOME",
            "export PYTHONPATH=./lib:$PYTHONPATH",
            'cd "$(dirname "$0")"',
            "MAIN=main.py",
            "cd plugin && MODE=x nohup python3 -u \\",
            "  $MAIN --port 9001 > /tmp/log 2>&1 &",
            "PID=$!",
            "sleep 2  # until it listens",
            "exec ./main --conf ./configs/trpc_go.yaml",
        )
        env = {"LOG_LEVEL": "debug", "NAME": "a b", "HOME": "${HOME:-}", "MODE": "x"}
        self.assertEqual(
            script.settings(),
            {
                "command": ["python3", "-u", "main.py", "--port", "9001"],
                "env": {**env, "PYTHONPATH": "./lib:${PYTHONPATH:-}"},
                "cwd": "plugin",
            },
        )
        self.assertEqual((script.port, script.unread), ("9100", []))

    def test_what_is_not_carried_over(self) -> None:
        self.write(config_dot_yaml=CONFIG)
        script = self.read(
            "mkdir -p /tmp/x",
            "(cd plugin && python3 main.py)&",
            "celery worker &",
            "broken 'quote &",
            "export WHEN=$(date)",
            "python3 $WHEN &",
            "./main",
        )
        self.assertEqual(script.settings(), {"command": ["python3", "main.py"], "cwd": "plugin"})
        self.assertEqual([number for number, _ in script.unread], [2, 4, 5, 6, 7])
        out, config = self.migrate()
        self.assertIn("scf_bootstrap:4: 'celery worker &' is not carried over; see whether it is needed", out)
        self.assertEqual(config["adapter"]["http"]["cwd"], "plugin")

    def test_comments_in_another_encoding(self) -> None:
        comment = "插件".encode("gbk")
        (self.folder / "scf_bootstrap").write_bytes(b"# " + comment + b"\npython3 main.py &\n")
        (self.folder / "main.go").write_bytes(b"// " + comment + b"\n" + GO.format('"n", "u"').encode())
        script, plugin = start_script_of(self.folder), plugin_of(self.folder)
        assert script is not None and plugin is not None
        self.assertEqual((script.command, plugin.settings["name"]), (["python3", "main.py"], "n"))

    def test_forms_of_one_command(self) -> None:
        for line in (
            "python3 main.py&",
            "nohup python3 main.py >/dev/null 2>&1 &",
            'exec python3 main.py "$@" &',
            "python3 main.py 2>&1 | tee /tmp/log &",
            "( python3 main.py ) &",
        ):
            self.assertEqual(self.read(line).command, ["python3", "main.py"], line)
