"""What is said of settings that can never do anything, and of those that can never work."""

from __future__ import annotations

import importlib.util
from unittest import mock

from scfd.config import load
from tests.test_config import ROOT, ConfigCase

BASE = "adapter: {http: {}}\n"
NATS = "url: 'nats://127.0.0.1:14222', stream: S, subject: s.a, consumer_name: c"
TIMER = "cron: '0 * * * * * *'"


def trigger(type: str, settings: str) -> str:
    return f"triggers: [{{name: t, type: {type}, settings: {{{settings}}}}}]\n"


class DeadEnds(ConfigCase):
    def warnings(self, text: str, **environ: str) -> list[str]:
        return [warning.replace(self.path, "c.yaml") for warning in self.load(text, environ).warnings]

    def check(self, text: str, *expected: str, **environ: str) -> None:
        self.assertEqual(self.warnings(text, **environ), [f"c.yaml:{line}" for line in expected])

    def test_none(self) -> None:
        """What has an effect is no reason for a warning; neither are the configs that come with scfd."""
        for text in (
            "gateway: {probe_token: x}\nheartbeat: {allowed_servers: [h], interval: 3}\n"
            "dev: {control_plane: {}}",
            "heartbeat: {server_url: 'http://127.0.0.1:18202'}\ndev: {control_plane: {}}\n"
            + trigger("timer", f"{TIMER}, jobs_only: true"),
            "gateway:\ndev: {nats: {streams: [{name: S, subjects: [s.>]}]}}\n" + trigger("nats", NATS),
            "gateway: {forward_events: true, preserve_host: true, request_buffer: 0}",
        ):
            self.check(BASE + text)
        for name in ("config", "production"):
            config = load(str(ROOT / f"etc/{name}.yaml"), {"NATS_URL": "nats://h"})
            self.assertEqual(config.warnings, ())

    def test_tasks_of_a_plugin_that_gets_events(self) -> None:
        why = "has no effect beside adapter.http.mode event; expected mode: task"
        text = "adapter: {http: {}, task_retries: 1}\ngateway:\n" + trigger(
            "timer", f"{TIMER}, task_timeout: 3"
        )
        self.check(text, f"1: adapter.task_retries: {why}", f"3: triggers[0].settings.task_timeout: {why}")
        self.check(text.replace("{}", "{mode: task}"))
        self.check(
            "gateway:\nadapter: {http: {mode: task, event_form: payload}}",
            "2: adapter.http.event_form: has no effect beside mode: task, which sends none; "
            "expected one of the two",
        )

    def test_port_without_gateway(self) -> None:
        text = (
            "the environment variable PORT is set, and has no effect without this section; "
            "expected `gateway:`, or PORT not set"
        )
        path = "c.yaml: gateway: "
        self.assertEqual(self.warnings(BASE + trigger("timer", TIMER), PORT="80"), [path + text])
        self.check(BASE + "gateway:", PORT="80")

    def test_nothing_calls_the_plugin(self) -> None:
        self.assertEqual(
            self.warnings(BASE),
            [
                "c.yaml: triggers: none, and no gateway: nothing ever calls the plugin; "
                "expected at least one, or a section gateway"
            ],
        )

    def test_nobody_names_a_control_plane(self) -> None:
        text = BASE + trigger("timer", TIMER)
        self.check(
            text + "heartbeat: {interval: 3}",
            "3: heartbeat: no heartbeat is ever sent: nobody says where the control plane is; "
            "expected server_url, or a section gateway, where a probe may say it",
        )
        self.check(
            text + "heartbeat: {allowed_servers: h}",
            "3: heartbeat.allowed_servers: has no effect without gateway, where probes arrive",
        )
        self.check(
            BASE + trigger("timer", f"{TIMER}, jobs_only: true"),
            "2: triggers[0].settings.jobs_only: it never fires: no job is ever due, since nobody says where "
            "the control plane is; expected heartbeat.server_url, or a section gateway",
        )

    def test_development_control_plane(self) -> None:
        text = BASE + trigger("timer", TIMER)
        url = "heartbeat.server_url: http://127.0.0.1:18202"
        self.check(
            text + "dev:\n  control_plane: {}",
            "4: dev.control_plane: no node will report to it: without gateway it can't probe this one; "
            f"expected a section gateway, or {url}",
        )
        self.check(
            text + "gateway: {tls: {cert: c, key: k}}\ndev: {control_plane: {}}",
            "4: dev.control_plane: no node will report to it: it does not probe a gateway with tls; "
            f"expected {url}",
        )
        self.check(
            text + "gateway:\ndev: {control_plane: {protocol: 2}}\nheartbeat: {protocol: 3}",
            "5: heartbeat.protocol: generation 3 takes only signed requests; expected heartbeat.auth as well",
            "4: dev.control_plane.protocol: generation 2 takes only signed requests; "
            "expected heartbeat.auth as well",
            "4: dev.control_plane.protocol: the node speaks generation 3 (heartbeat.protocol), and it takes "
            "no other than 2; expected the same",
        )

    def test_settings_of_the_other_generations(self) -> None:
        self.check(
            "adapter: {native: x}\ngateway:\nheartbeat:\n  protocol: 1\n"
            "  auth: {access_key: k, secret_key: s}\n  api_prefix: /api/service\n",
            "5: heartbeat.auth: has no effect beside heartbeat.protocol 1, whose servers look at no "
            "signature; expected one of the two",
            "6: heartbeat.api_prefix: has no effect beside heartbeat.protocol 1, whose paths begin with "
            "/gateway; expected one of the two",
        )

    def test_settings_of_the_other_kind_of_plugin(self) -> None:
        self.check(
            "gateway:\n  forward_events: true\n  preserve_host: true\n  request_buffer: 0\n",
            "2: gateway.forward_events: has no effect beside a native plugin, which has no POST /on-trigger; "
            "expected one of the two",
            "3: gateway.preserve_host: has no effect beside a native plugin, which gets the caller's Host "
            "always; expected one of the two",
            "4: gateway.request_buffer: has no effect beside a native plugin, which gets requests as they "
            "come; expected one of the two",
        )
        self.check(
            "adapter: {http: {health_interval: 0, health_failures: 2}, path: x, threads: 3}\ngateway:",
            "1: adapter.path: has no effect beside adapter.http; it is where native plugins are looked for; "
            "expected one of the two",
            "1: adapter.threads: has no effect beside adapter.http; it is for native plugins; "
            "expected one of the two",
            "1: adapter.http.health_failures: has no effect beside health_interval 0; "
            "expected one of the two",
        )

    def test_tasks_beside_messages_of_a_native_plugin(self) -> None:
        self.check(
            "adapter: {native: x}\n" + trigger("nats", f"{NATS}, tasks: none"),
            "2: triggers[0].settings.tasks: has no effect beside a native plugin, which asks the node for "
            "its tasks",
        )

    def test_switched_off(self) -> None:
        why = 'has no effect beside listen "", by which the endpoint is turned off; expected one of the two'
        self.check(
            BASE + "gateway:\nadmin: {listen: '', token: x, hosts: h}",
            f"3: admin.token: {why}",
            f"3: admin.hosts: {why}",
        )
        self.check(
            BASE + trigger("timer", f"{TIMER}, misfire: skip, misfire_grace: 3"),
            "2: triggers[0].settings.misfire_grace: has no effect beside misfire: skip; "
            "expected one of the two",
        )
        self.check(
            BASE + "gateway:\nheartbeat: {server_url: 'http://h', server_ip: h, server_port: 1}",
            "3: heartbeat.server_ip: has no effect beside server_url, which wins; expected one of the two",
        )
        self.check(
            BASE + trigger("nats", f"{NATS}, max_deliver: 1, backoff: [1]"),
            "2: triggers[0].settings.backoff: has no effect beside max_deliver 1: "
            "no message is delivered again",
        )

    def test_stream_that_the_development_server_does_not_have(self) -> None:
        dev = "dev: {nats: {streams: [{name: S, subjects: [x.>, y]}]}}"
        self.check(
            BASE + trigger("nats", NATS.replace("stream: S", "stream: T")) + dev,
            "2: triggers[0].settings.stream: T is not among dev.nats.streams, which are all that this server "
            "has; expected it there, or create_stream: true",
        )
        self.check(
            BASE + trigger("nats", NATS) + dev,
            "2: triggers[0].settings.subject: no message of S in dev.nats.streams has a subject like s.a; "
            "expected x.>, y",
        )
        self.check(BASE + trigger("nats", NATS.replace("14222", "4222")) + dev)


class NeverWorks(ConfigCase):
    def check(self, text: str, *expected: str) -> None:
        self.assertEqual(self.mistakes(text), [f"c.yaml:{line}" for line in expected])

    def test_a_package_that_is_not_installed(self) -> None:
        def missing(name: str, package: str | None = None) -> None:
            return None

        text = "needs the package {0}, which is not installed; expected it: pip install 'scfd[{1}]'"
        with (
            mock.patch.object(importlib.util, "find_spec", missing),
            mock.patch("scfd.config.cross.find_spec", missing),
        ):
            for url in ("ws://h", "wss://h:443", "nats://a,wss://b"):
                self.check(
                    trigger("nats", NATS.replace("nats://127.0.0.1:14222", url)),
                    f"1: triggers[0].settings.url: {text.format('aiohttp', 'ws')}",
                )
            for setting in ("nkey", "credentials"):
                self.check(
                    trigger("nats", f"{NATS}, {setting}: x"),
                    f"1: triggers[0].settings.{setting}: {text.format('nkeys', 'nkeys')}",
                )
            self.load(trigger("nats", NATS))

    def test_addresses_of_the_node_itself(self) -> None:
        text = "leads to the node's own {}; expected the address of another program"
        self.check(
            "gateway: {listen: ':9001'}\nadapter: {http: {}}",
            f"2: adapter.http.url: {text.format('gateway.listen')}",
        )
        self.check(
            "adapter: {http: {url: 'http://localhost:9002/x'}}",
            f"1: adapter.http.url: {text.format('admin.listen')}",
        )
        self.check(
            "gateway:\nheartbeat: {server_ip: 127.0.0.1, server_port: 9000}",
            f"2: heartbeat.server_ip: {text.format('gateway.listen')}",
        )
        self.check(
            "gateway: {listen: '10.0.0.1:80'}\nheartbeat: {server_url: 'http://10.0.0.1'}",
            f"2: heartbeat.server_url: {text.format('gateway.listen')}",
        )
        self.load("gateway: {listen: ':9001'}\nadapter: {http: {url: 'http://10.0.0.1:9001'}}")
        self.load("gateway:\nheartbeat: {server_url: 'https://moox.example.com:9000'}")
