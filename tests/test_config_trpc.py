"""What is taken from a Go deployment's trpc_go.yaml."""

from __future__ import annotations

from pathlib import Path

from scfd.config import Address, Config, GatewaySettings, load
from scfd.errors import ConfigError
from tests.test_config import ConfigCase

GO = """
global: {namespace: Production, unset: "${nowhere}"}
server:
  app: collector
  service:
    - {name: trpc.collector.grpc, ip: 127.0.0.1, port: 8000, protocol: trpc}
    - {name: trpc.collector.http, ip: 127.0.0.1, port: 9100, protocol: http_no_protocol, timeout: 1000}
    - {name: trpc.collector.other, ip: 127.0.0.1, port: 9200, protocol: http}
    - {name: trpc.collector.tick, network: "* * * * * *", protocol: timer}
    - {name: trpc.collector.Heartbeat, network: "*/9 * * * * *?scheduler=local&x=1", protocol: timer}
plugins: {log: {default: [{writer: console}]}}
"""


class Trpc(ConfigCase):
    def both(self, main: str, trpc: str) -> Config:
        path = Path(self.mktemp())
        path.write_text(trpc)
        self.trpc_path = str(path)
        self.path = self.mktemp()
        Path(self.path).write_text(main)
        return load(self.path, {}, self.trpc_path)

    def check(self, main: str, trpc: str, *expected: str) -> None:
        error = self.assertRaises(ConfigError, self.both, main, trpc)
        text = str(error).replace(self.path, "c.yaml").replace(self.trpc_path, "trpc.yaml")
        self.assertEqual(sorted(text.split("\n")), sorted(expected))

    def test_taken(self) -> None:
        """Gateway and heartbeat come from the first services of their kind."""
        config = self.both("system: {name: f}", GO)
        self.assertEqual(config.gateway, GatewaySettings(Address("127.0.0.1", 9100)))
        self.assertEqual(config.heartbeat.interval, 9.0)

    def test_main_file_wins(self) -> None:
        config = self.both("gateway: {listen: ':9300'}\nheartbeat: {interval: 5}", GO)
        self.assertEqual(config.gateway, GatewaySettings(Address("0.0.0.0", 9300)))
        self.assertEqual(config.heartbeat.interval, 5.0)

    def test_beside_main_file(self) -> None:
        """Only the address is taken; what else the section says stays."""
        config = self.both("gateway: {max_body: 10}", GO)
        self.assertEqual(config.gateway, GatewaySettings(Address("127.0.0.1", 9100), 10))

    def test_nothing_there(self) -> None:
        for trpc in ("a: 1", "server: []", "server: {service: 1}", "server: {service: [1, {}]}"):
            config = self.both("system: {name: f}", trpc)
            self.assertEqual((config.gateway, config.heartbeat.interval), (None, 9.0))

    def test_day_of_month_question_mark(self) -> None:
        """A question mark that is a field of the expression is left there."""
        trpc = "server: {service: [{name: heartbeat, network: '0 */2 * ? * *', protocol: timer}]}"
        self.assertEqual(self.both("system: {}", trpc).heartbeat.interval, 120.0)

    def test_timer_without_period(self) -> None:
        """As in the Go framework's own example: the default counts, with a warning."""
        for network in ("", ", network: tcp"):
            trpc = f"server: {{service: [{{name: heartbeat, protocol: timer{network}}}]}}"
            config = self.both("gateway:", trpc)
            self.assertEqual(config.heartbeat.interval, 9.0)
            self.assertEqual(len(config.warnings), 1)
            self.assertIn("server.service[0].network: has no period", config.warnings[0])

    def test_period_in_the_section_timer(self) -> None:
        """As in the Go framework's examples."""
        timer = "timer: {cron: '*/30 * * * * *'}"
        trpc = f"server: {{service: [{{name: heartbeat, protocol: timer, network: tcp, {timer}}}]}}"
        config = self.both("gateway:", trpc)
        self.assertEqual((config.heartbeat.interval, config.warnings), (30.0, ()))
        self.check(
            "gateway:",
            trpc.replace("*/30", "x"),
            "trpc.yaml:1: server.service[0].timer.cron: cron field second: 'x' is not accepted; "
            "expected 0-59, with * , - /",
        )

    def test_files_in_each_other_s_place(self) -> None:
        self.check(
            GO,
            "server: {}",
            "c.yaml: this is a trpc_go.yaml; "
            "expected it in --trpc-config, and here the config.yaml beside it",
        )
        unknown = "server: {service: [{}]}\ngateway:"
        self.assertRaisesRegex(ConfigError, "server: unknown key", self.both, unknown, "server: {}")
        config = self.both("gateway:", "gateway:")
        self.assertEqual(len(config.warnings), 1)
        self.assertIn("server.service: is not there or empty, so nothing is taken", config.warnings[0])

    def test_mistakes(self) -> None:
        self.check(
            "gateway: {max_body: 0}",
            """server:
  service:
    - {ip: not/a/host, protocol: http}
    - {name: heartbeat, protocol: timer, network: "x * * * * *?a=b"}
""",
            "c.yaml:1: gateway.max_body: found 0; "
            "expected a size, such as 6MiB, 500KiB, 1GiB or a number of bytes; at least 1",
            "trpc.yaml:3: server.service[0].ip: found 'not/a/host'; "
            "expected a host name or an IP address, without scheme and port",
            "trpc.yaml:3: server.service[0].port: is missing; expected a whole number, 1 to 65535",
            "trpc.yaml:4: server.service[1].network: cron field second: 'x' is not accepted; "
            "expected 0-59, with * , - /",
        )

    def test_unset_variable(self) -> None:
        self.check(
            "system: {name: f}",
            "server: {service: [{port: '${NO_SUCH}', protocol: http}]}",
            "trpc.yaml:1: server.service[0].port: the environment variable NO_SUCH is not set; "
            "set it, or write ${NO_SUCH:-default}",
        )

    def test_unreadable(self) -> None:
        """Both files are read, whatever is wrong with one."""
        error = self.assertRaises(ConfigError, load, "no/c.yaml", {}, "no/trpc.yaml")
        reason = "can't be read: No such file or directory; expected a readable YAML file"
        self.assertEqual(str(error), f"no/c.yaml: {reason}\nno/trpc.yaml: {reason}")
