"""The config: what good files mean, and what is said about bad ones."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import fields
from twisted.trial.unittest import SynchronousTestCase

from scfd.config import (
    AdapterSettings,
    Address,
    AdminSettings,
    Config,
    DevControlPlaneSettings,
    DevNatsSettings,
    DevStreamSettings,
    GatewaySettings,
    HttpAdapterSettings,
    NatsSettings,
    SystemSettings,
    TimerSettings,
    load,
)
from scfd.config.cross import is_loopback
from scfd.config.findings import without_credentials
from scfd.config.load import default_state_dir
from scfd.config.schema import CHECK, keys_of
from scfd.config.values import DevSettings, HeartbeatSettings, ShutdownSettings
from scfd.errors import ConfigError, Mistake
from scfd.triggers.timer.cron import Cron

ROOT = Path(__file__).parent.parent
SECONDS = 'seconds, such as 9 or 0.5, or text such as "1m30s" or "500ms"'
ADDRESS = "an address HOST:PORT, such as 0.0.0.0:9000, [::1]:9000 or :9000, with a port from 1 to 65535"


class ConfigCase(SynchronousTestCase):
    """Loads files and tells their mistakes, with ``c.yaml`` for the path."""

    def load(self, text: str | bytes, environ: Mapping[str, str] | None = None) -> Config:
        path = Path(self.mktemp())
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.path = str(path)
        return load(self.path, environ or {})

    def mistakes(self, text: str | bytes, environ: Mapping[str, str] | None = None) -> list[str]:
        error = self.assertRaises(ConfigError, self.load, text, environ)
        return str(error).replace(self.path, "c.yaml").split("\n")


class GoodFiles(ConfigCase):
    def test_defaults(self) -> None:
        """A file without any section that matters: no gateway, but the endpoint for operators."""
        config = self.load("system: {name: f}")
        (warning,) = config.warnings
        self.assertIn("nothing ever calls the plugin", warning)
        self.assertEqual(config, Config(system=SystemSettings(name="f"), path=self.path, warnings=(warning,)))
        self.assertIsNone(config.gateway)
        self.assertEqual(config.admin, AdminSettings(Address("127.0.0.1", 9002), ""))

    def test_whole_file(self) -> None:
        config = self.load(
            """
            system: {name: f, version: v1, env: test, storage_url: "http://s", node_id: n, state_dir: /tmp/x}
            heartbeat: {server_ip: 10.0.0.1, server_port: 18202, interval: 1m30s}
            gateway: {listen: ":8000", max_body: 500KiB, forward_timeout: 500ms}
            adapter:
              http: {url: "https://plugin:1/base/", command: [run, it], heartbeat_extra: {a: [1, null]}}
            triggers:
              - {name: t, type: timer, settings: {cron: 0 * * * * * *}}
              - name: q
                type: nats
                settings: {url: "nats://h", stream: S, subject: s.>, consumer_name: c, max_deliver: -1}
            plugin: {x: {y: [1, 2.5, true, null, text]}}
            admin: {listen: "[::1]:9002", token: t}
            shutdown: {drain: 0}
            dev:
              control_plane: {}
              nats: {streams: [{name: S, subjects: [s.>]}]}
            """
        )
        self.assertEqual(config.system, SystemSettings("f", "v1", "test", "http://s", "n", "/tmp/x"))
        self.assertEqual(config.heartbeat, HeartbeatSettings("10.0.0.1", 18202, "", 90.0))
        self.assertEqual(config.gateway, GatewaySettings(Address("0.0.0.0", 8000), 500 * 1024, 0.5))
        http = HttpAdapterSettings(
            "f", "https://plugin:1/base", heartbeat_extra={"a": [1, None]}, command=("run", "it")
        )
        self.assertEqual(config.adapter, AdapterSettings(http=http))
        timer = TimerSettings("t", Cron.parse("0 * * * * * *"))
        queue = NatsSettings("q", "nats://h", "S", "c", "s.>", max_deliver=-1)
        self.assertEqual(config.triggers, (timer, queue))
        self.assertEqual(config.plugin, {"x": {"y": [1, 2.5, True, None, "text"]}})
        self.assertEqual(config.admin, AdminSettings(Address("::1", 9002), "t"))
        self.assertEqual(config.shutdown, ShutdownSettings(0.0))
        self.assertEqual(
            config.dev,
            DevSettings(
                DevControlPlaneSettings(), DevNatsSettings(14222, (DevStreamSettings("S", ("s.>",)),))
            ),
        )

    def test_empty_sections(self) -> None:
        """An empty section is a missing one, but an empty gateway is one with the defaults."""
        config = self.load("gateway:\nadmin:\nheartbeat:\ndev: {control_plane: }\nadapter: {http: }\n")
        self.assertEqual(config, Config(gateway=GatewaySettings(), path=self.path))

    def test_control_off(self) -> None:
        self.assertIsNone(self.load('admin: {listen: ""}').admin)

    def test_text_as_written(self) -> None:
        """What YAML takes for a number is text where text is asked for."""
        self.assertEqual(
            self.load("system: {version: 1.10, name: 007}").system, SystemSettings("007", "1.10")
        )

    def test_adapter_path(self) -> None:
        self.assertEqual(self.load("adapter: {path: one}").adapter.path, ("one",))
        self.assertEqual(self.load("adapter: {path: [one, two]}").adapter.path, ("one", "two"))

    def test_http_name(self) -> None:
        http = self.load("adapter: {http: {}}").adapter.http
        assert http is not None
        self.assertEqual(http.name, "http-plugin")

    def test_merge_keys(self) -> None:
        config = self.load("""
            plugin:
              base: &base {a: 1, b: 2}
              other: &other {b: 3, c: 4}
              both: {<<: [*base, *other], a: 0}
            """)
        self.assertEqual(config.plugin["both"], {"a": 0, "b": 2, "c": 4})

    def test_numbers(self) -> None:
        config = self.load("heartbeat: {server_ip: h, server_port: 18202.0, interval: '9'}")
        self.assertEqual((config.heartbeat.server_port, config.heartbeat.interval), (18202, 9.0))

    def test_byte_order_mark(self) -> None:
        self.assertEqual(self.load(b"\xef\xbb\xbfsystem: {name: f}").system.name, "f")

    def test_nothing_secret_in_repr(self) -> None:
        """Tokens, passwords, a plugin's own part and URLs' credentials stay out of tracebacks and logs."""
        config = self.load("""
            system: {storage_url: "http://me:hidden@s"}
            adapter: {http: {command: [run, --token, hidden]}}
            triggers:
              - name: q
                type: nats
                settings: {url: "nats://me:hidden@a,tls://hidden@b", stream: S, subject: s, consumer_name: c}
            plugin: {password: hidden}
            admin: {token: hidden}
            """)
        self.assertNotIn("hidden", repr(config))
        self.assertIn("url='nats://***@a,tls://***@b'", repr(config))

    def test_nothing_secret_in_mistakes(self) -> None:
        """Also where the value is in a section's place, or YAML takes it for the name of something."""
        for text in (
            "admin: {token: *hidden}",
            "admin: {token: !hidden x}",
            "admin: {token: !hidden!x y}",
            "admin: {token: &hidden x, listen: &hidden 1}",
            "admin: {token: [hidden]}",
            "admin: {token: hidden: more}",
            "admin: hidden",
            "admin: [hidden]",
            "heartbeat: {auth: hidden}",
            'heartbeat: {auth: {access_key: a, secret_key: "hidden\\0"}}',
            "log: {cls: hidden}",
            "gateway: {probe_token: {a: hidden}}",
            "gateway: hidden",
            "system: {storage_url: 'ftp://me:hidden@h'}",
            "heartbeat: {server_url: 'http://h?token=hidden x'}",
            "adapter: {http: {command: run --token hidden --api-key=hidden}}",
            "adapter: {http: {env: hidden}}",
            "adapter: {http: {env: {API: [hidden]}}}",
            "adapter: {http: {heartbeat_extra: hidden}}",
            "triggers: [{name: q, type: nats, settings: {url: 'http://me:hidden@h'}}]",
            "triggers: [{name: q, type: nats, settings: hidden}]",
            "triggers: [{name: q, type: nats, settings: {url: 'nats://h', user: [hidden]}}]",
        ):
            try:
                shown = repr(self.load(text))
            except ConfigError as error:
                shown = str(error)
            self.assertNotIn("hidden", shown, text)
        for url in ("http://h/?token=hidden", "http://h/?a=1&api_key=hidden&b=2", "ws://u:hidden@h"):
            self.assertNotIn("hidden", without_credentials(url))
        self.assertEqual(without_credentials("http://h/?a=1"), "http://h/?a=1")


class GoFramework(ConfigCase):
    def test_loads_unchanged(self) -> None:
        """Sections and settings of functions that scfd does not have are told, and do no harm."""
        config = self.load("""system: {name: collector, version: v1.0.0, env: prod, storage_url: ""}
heartbeat: {server_ip: "", server_port: 0, interval: 9}
dns_proxy:
  enabled: true
storage:
triggers:
  - name: q
    type: nats
    settings:
      url: nats://127.0.0.1:4222
      stream: S
      subject: s.>
      consumer_name: c
      ack_wait: 30
      cache_enabled: true
      cache_ttl: ""
      backfill_field_keys: [a]
plugin: {market: spot}
""")
        self.assertEqual(config.plugin, {"market": "spot"})
        self.assertEqual(
            [warning.replace(self.path, "c.yaml") for warning in config.warnings],
            [
                "c.yaml:3: dns_proxy: not used by scfd",
                "c.yaml:5: storage: not used by scfd",
                "c.yaml:15: triggers[0].settings.cache_enabled: not used by scfd",
                "c.yaml:16: triggers[0].settings.cache_ttl: not used by scfd",
                "c.yaml:17: triggers[0].settings.backfill_field_keys: not used by scfd",
                "c.yaml:2: heartbeat: no heartbeat is ever sent: nobody says where the control plane is; "
                "expected server_url, or a section gateway, where a probe may say it",
            ],
        )


class Variables(ConfigCase):
    def test_plugin(self) -> None:
        text = 'plugin: {a: "${A}-${B:-b}", n: 5, d: "$$${A}$", l: ["${C:-}"]}'
        self.assertEqual(self.load(text, {"A": "x"}).plugin, {"a": "x-b", "n": 5, "d": "$x$", "l": [""]})

    def test_numbers_and_null(self) -> None:
        """A key of ours knows what it wants, quotes or not; one without a value counts as missing."""
        text = "heartbeat:\n  server_ip: h\n  server_port: ${N}\n  interval: ${E}\n"
        for number in ("12", "12.0", "+12"):
            heartbeat = self.load(text, {"N": number, "E": "null"}).heartbeat
            self.assertEqual((heartbeat.server_port, heartbeat.interval), (12, 9))

    def test_empty_is_unset(self) -> None:
        """As in a shell, a default stands in for a variable that is empty, too."""
        self.assertEqual(self.load("system: {name: '${N:-d}'}", {"N": ""}).system.name, "d")

    def test_content_is_no_yaml(self) -> None:
        """A value from the environment can't add keys, nor refer to other variables."""
        value = "a: 1\n${B} {x: y}"
        self.assertEqual(self.load("plugin:\n  v: ${V}", {"V": value}).plugin, {"v": value})

    def test_unset(self) -> None:
        self.assertEqual(
            self.mistakes("plugin:\n  a: [x, '${NO_SUCH}']\nadmin: {token: '${TOKEN}'}"),
            [
                "c.yaml:2: plugin.a[1]: the environment variable NO_SUCH is not set; "
                "set it, or write ${NO_SUCH:-default}",
                "c.yaml:3: admin.token: the environment variable TOKEN is not set; "
                "set it, or write ${TOKEN:-default}",
            ],
        )

    def test_value_never_shown(self) -> None:
        environ = {"A": "hidden", "B": "hidden"}
        text = """gateway: {listen: "${A}"}
heartbeat: {interval: "${A}${B}"}
triggers: [{name: t, type: timer, settings: {cron: "${A}"}}]
admin: {lisen: "${A}"}
"""
        self.assertEqual(
            self.mistakes(text, environ),
            [
                f"c.yaml:1: gateway.listen: found the value of ${{A}}; expected {ADDRESS}",
                "c.yaml:2: heartbeat.interval: found the value of ${A} and ${B}; "
                f"expected {SECONDS}; at least 0.1, up to 365 days",
                "c.yaml:3: triggers[0].settings.cron: found the value of ${A}; "
                "expected a cron expression of 7, 6 or 5 fields",
                "c.yaml:4: admin.lisen: unknown key; did you mean listen? expected listen, token, hosts, "
                "history, failing_after",
            ],
        )

    def test_shell_forms(self) -> None:
        """With a colon an empty variable counts as not set, without one it is set."""
        text = "system: {name: '${A-x}', version: '${B-x}', env: '${A:-x}', node_id: '${B:-x}'}"
        system = self.load(text, {"A": ""}).system
        self.assertEqual((system.name, system.version, system.env, system.node_id), ("", "x", "x", "x"))
        self.assertEqual(self.load("system: {name: '${A?no}${A:?no}'}", {"A": "f"}).system.name, "ff")
        self.assertEqual(self.load("system: {name: '${A?no}'}", {"A": ""}).system.name, "")
        self.assertEqual(
            self.mistakes("system: {name: '${A:?say which}', env: '${B?}'}", {"A": ""}),
            [
                "c.yaml:1: system.env: the environment variable B is not set; set it, or write ${B:-default}",
                "c.yaml:1: system.name: the environment variable A is not set: say which",
            ],
        )

    def test_quoted_switch(self) -> None:
        words = {"true": True, "False": False, "yes": True, "OFF": False, " true\n": True}
        for text, value in words.items():
            for written in ('"${J}"', f'"{text.strip()}"', text.strip()):
                config = self.load(f"gateway: {{access_log: {written}}}", {"J": text})
                self.assertIs(config.gateway and config.gateway.access_log, value)
        for text in ("1", "y", "", "enabled"):
            (line,) = self.mistakes('gateway: {access_log: "${J}"}', {"J": text})
            self.assertIn("found the value of ${J}; expected true or false", line)

    def test_spellings_of_levels(self) -> None:
        for text, level in (("WARN", "warn"), ("warning", "warn"), ("Err", "error"), ("FATAL", "critical")):
            log = self.load(f"log: {{level: {text}, levels: {{nats: {text}}}}}").log
            self.assertEqual((log.level, log.levels), (level, {"nats": level}))
        (line,) = self.mistakes("log: {levels: {nats: loud}}")
        self.assertIn("log.levels.nats: found 'loud'; expected debug, info, warn, error or critical", line)

    def test_quoted_numbers(self) -> None:
        text = "shutdown: {drain: '${D}'}\ngateway: {max_body: '${S}', max_connections: '${N}'}"
        for n in ("5", " 5\n", "+5"):
            config = self.load(text, {"D": n, "S": n.strip("+"), "N": n})
            assert config.gateway is not None
            self.assertEqual((config.shutdown.drain, config.gateway.max_body), (5.0, 5))
            self.assertEqual(config.gateway.max_connections, 5)
        for n in ("٣", "1_0", "0x5", "5 5", "nan", "infinity", "5,0"):
            self.assertEqual(len(self.mistakes(text, {"D": n, "S": n, "N": n})), 3, n)

    def test_stays_text(self) -> None:
        """In free form, with quotes and without, alone and inside of text."""
        for value in (
            *("NO", "yes", "on", "0x1F", "1_000", "2026-01-01", ".5", "1:30", "010", "0123", ".inf", "0b1"),
            *("12", "-1.50", "1e3", "true", "False", "null", "~", "", " ", "=", "<<", "[a]", "{a: 1}", "# x"),
        ):
            for written in ("${V}", "'${V}'", "!!str ${V}", "${V:-5}" if value else "${V}", "${V}${E}"):
                text = f"plugin:\n  v: {written}\n  l: [x, '${{V}}']\n"
                text += f"adapter:\n  http:\n    heartbeat_extra:\n      v: {written}\n"
                config = self.load(text, {"V": value, "E": ""})
                assert config.adapter.http is not None
                self.assertEqual(config.plugin, {"v": value, "l": ["x", value]}, written)
                self.assertEqual(config.adapter.http.heartbeat_extra, {"v": value}, written)

    def test_default_of_a_variable_is_text(self) -> None:
        """Else setting the variable would change the type."""
        self.assertEqual(self.load("plugin:\n  v: ${V:-5}\n  e: ${V-}").plugin, {"v": "5", "e": ""})

    def test_name_without_braces(self) -> None:
        """In a shell it is a variable, here it would be text."""
        self.assertEqual(
            self.mistakes("admin: {token: $TOKEN}", {"TOKEN": "x"}),
            [
                "c.yaml:1: admin.token: a $ before a name; write ${NAME} for an environment variable, "
                "or $$NAME for text with a $"
            ],
        )
        for value, meant in (("$$TOKEN", "$TOKEN"), ("pa$WORD", "pa$WORD"), ("$5", "$5"), ("$", "$")):
            config = self.load(f"admin: {{token: '{value}'}}")
            self.assertEqual(config.admin and config.admin.token, meant)

    def test_dollar_in_a_default(self) -> None:
        self.assertEqual(self.load("system: {name: '${A:-a$$b}'}").system.name, "a$b")

    def test_free_form_text(self) -> None:
        """What YAML 1.1 would read as octal or base 60 stays text when it comes from the environment."""
        config = self.load("plugin:\n  a: ${A}\n  b: ${B}", {"A": "0123", "B": "12:30"})
        self.assertEqual(config.plugin, {"a": "0123", "b": "12:30"})

    def test_odd_numbers(self) -> None:
        self.assertEqual(
            self.mistakes("gateway: {max_connections: 010}\nshutdown: {drain: 1:30}\nplugin: {a: [12:30]}"),
            [
                "c.yaml:1: gateway.max_connections: found 010, which YAML reads as 8; "
                "expected a whole number, at least 1",
                f"c.yaml:2: shutdown.drain: found 1:30, which YAML reads as 90; "
                f"expected {SECONDS}; 0 or more, up to 365 days",
                "c.yaml:3: plugin.a[0]: found 12:30, which YAML reads as 750; "
                "expected 750, or quotes for text",
            ],
        )
        self.assertEqual(self.load("system: {version: 010}").system.version, "010")

    def test_control_characters(self) -> None:
        """A NUL ends paths and variables for the system; a line end must not make two lines of one."""
        text = 'adapter: {http: {command: ["a\\0"], env: {A: "\\0"}}}\nsystem: {state_dir: "\\0"}'
        self.assertEqual(
            [line.partition(": ")[2] for line in self.mistakes(text)],
            [
                f"{key}: found a NUL character; expected text without one"
                for key in ("adapter.http.command[0]", "adapter.http.env.A", "system.state_dir")
            ],
        )
        self.assertEqual(str(Mistake("a\nb", 1, "", "\x1b[2J")), "a\\nb:1: \\x1b[2J")

    def test_numbers_that_are_too_large(self) -> None:
        self.check_large("99999999999999999999")
        self.check_large("2147483648")

    def check_large(self, number: str) -> None:
        self.assertEqual(
            self.mistakes(f"gateway: {{max_connections: {number}}}"),
            [f"c.yaml:1: gateway.max_connections: found {number}; expected a whole number up to 2147483647"],
        )

    def test_former_names(self) -> None:
        text = "control: {}\ndev: {moox: {}}\nadapter: {http: {max_answer: 1}}"
        for line, name in zip(self.mistakes(text), ("admin", "control_plane", "max_response"), strict=True):
            self.assertIn(f"unknown key; did you mean {name}?", line)

    def test_malformed(self) -> None:
        bad = ("${", "${A", "${1}", "${A:b}", "${A:-${B}}", "${A:-{}}", "${A-${B}}", "${}")
        for text in (*bad, "${A:-$B}", "${A:+x}", "${A:=x}", "${#A}", "${A%x}", "${ A}", "${A[0]}"):
            self.assertEqual(
                self.mistakes(f"system: {{name: 'x{text}'}}", {"A": "a"}),
                [
                    "c.yaml:1: system.name: a ${ without its end or a proper name; "
                    "write ${NAME} or ${NAME:-default}, or $$ for a $"
                ],
            )


class Port(ConfigCase):
    def test_overrides(self) -> None:
        gateway = self.load("gateway: {listen: '127.0.0.1:9000'}", {"PORT": "8080"}).gateway
        assert gateway is not None
        self.assertEqual(gateway.listen, Address("127.0.0.1", 8080))

    def test_no_gateway(self) -> None:
        """Without a gateway the variable is somebody else's."""
        self.assertIsNone(self.load("system: {name: f}", {"PORT": "tcp://x"}).gateway)

    def test_bad(self) -> None:
        for bad in ("0", "65536", "tcp://10.0.0.1:80", "-1", "1.5"):
            self.assertEqual(
                self.mistakes("gateway:", {"PORT": bad}),
                ["environment variable PORT: its value is not accepted; expected a whole number, 1 to 65535"],
            )

    def test_clash(self) -> None:
        self.assertEqual(
            self.mistakes("gateway:\n\nadmin: {token: x}", {"PORT": "9002"}),
            [
                "c.yaml:3: admin.listen: the same port as gateway.listen; "
                "expected a port that no other endpoint uses"
            ],
        )


class UnusableFiles(ConfigCase):
    def check(self, text: str | bytes, *expected: str) -> None:
        self.assertEqual(self.mistakes(text), list(expected))

    def test_missing(self) -> None:
        error = self.assertRaises(ConfigError, load, "no/such.yaml", {})
        self.assertEqual(
            str(error),
            "no/such.yaml: can't be read: No such file or directory; expected a readable YAML file",
        )

    def test_directory(self) -> None:
        error = self.assertRaises(ConfigError, load, "/tmp", {})
        self.assertEqual(str(error), "/tmp: can't be read: Is a directory; expected a readable YAML file")

    def test_not_utf8(self) -> None:
        self.check(b"a: 1\nb: \xff", "c.yaml:2: byte 0xff is not UTF-8; expected a file in UTF-8")

    def test_empty(self) -> None:
        for text in ("", "\n\n", "# comment\n", "---\n", "null"):
            self.check(text, "c.yaml: the file is empty; expected a mapping of sections")

    def test_no_mapping(self) -> None:
        accepted = "at the top level; expected a mapping of sections, such as system: {…}"
        self.check("\n- a\n", f"c.yaml:2: found a list {accepted}")
        self.check("text", f"c.yaml:1: found a single value {accepted}")

    def test_syntax(self) -> None:
        self.check(
            "system:\n  name: [a\nother: b\n",
            "c.yaml:3: not valid YAML: while parsing a flow sequence, expected ',' or ']', but got ':'",
        )
        self.check(
            "a: 1\n\tb: 2\n",
            "c.yaml:2: not valid YAML: while scanning for the next token, "
            "found character '\\t' that cannot start any token",
        )
        self.check(
            "system:\n name: a\n  version: b\n",
            "c.yaml:3: not valid YAML: mapping values are not allowed here; keys of one section need the "
            "same indentation, and a value with a colon needs quotes",
        )
        self.check("a: 1\nb: \x07\n", "c.yaml:2: not valid YAML: the character #x0007 is not allowed")
        self.check('a: 1\nb: "\\UFFFFFFFF"', "c.yaml:2: not valid YAML: a number here is too large")

    def test_cron_without_quotes(self) -> None:
        self.check(
            "triggers:\n  - {name: t, type: timer, settings: {cron: */5 * * * *}}",
            "c.yaml:2: not valid YAML: while scanning an alias, expected alphabetic or numeric character, "
            "but found '/'; a value that begins with * needs quotes",
        )
        for cron in ("@daily", "@every 5s"):
            self.check(
                f"triggers:\n  - {{name: t, type: timer, settings: {{cron: {cron}}}}}",
                "c.yaml:2: not valid YAML: while scanning for the next token, found character '@' that "
                "cannot start any token; a value that begins with @ needs quotes",
            )

    def test_variable_without_quotes(self) -> None:
        self.check(
            "system:\n  {name: ${A}}",
            "c.yaml:2: not valid YAML: while parsing a flow mapping, expected ',' or '}', but got '{'; "
            "between braces a value with ${NAME} needs quotes",
        )

    def test_two_documents(self) -> None:
        self.check(
            "a: 1\n---\nb: 2\n",
            "c.yaml:2: not valid YAML: expected a single document in the stream, but found another document",
        )

    def test_recursive_alias(self) -> None:
        self.check(
            "plugin: &p\n  inside: [*p]\n",
            "c.yaml:1: plugin.inside[0]: an alias inside of what it stands for; "
            "expected an alias to another value",
        )

    def test_exploding_aliases(self) -> None:
        lines = ["plugin:", "  a0: &a0 [x]"]
        lines += [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
        self.check(
            "\n".join(lines),
            "c.yaml: too many values, aliases counted each time; expected up to 100000",
        )

    def test_too_deep(self) -> None:
        for depth in (101, 100_000):
            self.check(
                f"plugin: {'[' * depth}{']' * depth}",
                "c.yaml: nested too deeply; expected up to 100 levels",
            )

    def test_too_large(self) -> None:
        self.check(
            b"#" * (1024 * 1024 + 1), "c.yaml: the file is larger than 1 MiB; expected up to that size"
        )

    def test_tags(self) -> None:
        self.check(
            "plugin: {a: !!python/object:os.system x}\n",
            "c.yaml:1: plugin.a: found the tag '!!python/object:os.system'; "
            "expected plain values, lists and mappings without tags",
        )
        self.check(
            "plugin: {a: 2026-99-99}\n",
            "c.yaml:1: plugin.a: looks like a YAML timestamp and is none; "
            "expected quotes around it, if it is text",
        )
        for written in ("!!timestamp x", "!!bool x", "!!int ''", "!!float x", "!!int 0b2"):
            self.assertIn("; expected quotes around it, if", self.mistakes(f"plugin: {{a: {written}}}")[0])

    def test_half_characters(self) -> None:
        text = 'system: {name: "\\ud800"}\nplugin: {"\\udfff": 1}\nadmin: {token: "${T}"}'
        said = "found text that UTF-8 does not have; expected whole characters"
        self.assertEqual(
            self.mistakes(text, {"T": os.fsdecode(b"\xff")}),
            [f"c.yaml:1: system.name: {said}", f"c.yaml:2: plugin: {said}", f"c.yaml:3: admin.token: {said}"],
        )

    def test_an_empty_key(self) -> None:
        self.assertIn("c.yaml:1: admin.'': unknown key; ", self.mistakes("admin: {'': 1}")[0])

    def test_what_an_at_sign_begins_hides_nothing(self) -> None:
        self.assertIn("found '@daily'; ", self.mistakes("shutdown: {drain: '@daily'}")[0])


class Mistakes(ConfigCase):
    def check(self, text: str, *expected: str) -> None:
        self.assertEqual(self.mistakes(text), [f"c.yaml:{line}" for line in expected])

    def test_many_at_once(self) -> None:
        self.check(
            """system: {nam: f}
heartbeat: {server_ip: 10.0.0.1, interval: -1}
gateway:
  listen: 9000
  max_body: 6MB
adapter: {native: a, http: {url: "ftp://me:hidden@h"}}
triggers:
  - {name: t, type: timer, settings: {cron: "61 * * * * *"}}
  - {name: t, type: tmer}
  - {type: nats, settings: {url: "me:hidden@h", stream: a.b, subject: "", batch_size: 0}}
admin: {listen: "127.0.0.1:0", token: [a]}
shutdown: 20
""",
            "1: system.nam: unknown key; did you mean name? "
            "expected name, version, env, storage_url, node_id, state_dir, outbox_limit, "
            "report_tries, report_patience",
            f"2: heartbeat.interval: found -1; expected {SECONDS}; at least 0.1, up to 365 days",
            f"4: gateway.listen: found 9000; expected {ADDRESS}",
            "5: gateway.max_body: found '6MB'; "
            "expected a size, such as 6MiB, 500KiB, 1GiB or a number of bytes; at least 1",
            "6: adapter.http.url: found 'ftp://***@h'; expected a URL http://HOST:PORT or "
            "https://HOST:PORT, perhaps with a path, without user name and query",
            "8: triggers[0].settings.cron: cron field second: '61' is not accepted; "
            "expected 0-59, with * , - /",
            "9: triggers[1].name: 't' is the trigger of line 8 already; expected unique names",
            "9: triggers[1].type: found 'tmer'; expected a trigger type: timer or nats",
            "10: triggers[2].name: is missing; expected text that is not empty",
            "10: triggers[2].settings.batch_size: found 0; expected a whole number, at least 1",
            "10: triggers[2].settings.consumer_name: is missing; "
            "expected a name without white space and . * > / \\",
            "10: triggers[2].settings.stream: found 'a.b'; "
            "expected a name without white space and . * > / \\",
            "10: triggers[2].settings.subject: found ''; "
            "expected a subject, such as orders.new, orders.* or orders.>",
            "10: triggers[2].settings.url: found '***@h'; "
            "expected a URL nats://HOST:PORT (or tls, ws, wss), or several joined by commas",
            f"11: admin.listen: found '127.0.0.1:0'; expected {ADDRESS}, or \"\" to turn it off",
            "11: admin.token: found a list; expected text",
            "12: shutdown: found 20; expected a mapping with drain",
        )

    def test_secret_keys(self) -> None:
        """The value of a key that is called a secret is not shown, whatever is wrong with it."""
        self.assertNotIn("hidden", self.mistakes("admin: {token: &t hidden, token: hidden, listen: *t}")[1])

    def test_duplicate_key(self) -> None:
        self.check(
            "system:\n  name: a\n  env: x\n  name: b\nplugin: {1: a, 0x1: b}\n",
            "4: system.name: this key is there already; expected each key once",
            "5: plugin.0x1: this key is there already; expected each key once",
        )

    def test_unknown_key_far_from_all(self) -> None:
        self.check("shutdown: {zzz: 1}", "1: shutdown.zzz: unknown key; expected drain")

    def test_unknown_key_in_capitals(self) -> None:
        self.assertIn("unknown key; did you mean gateway?", self.mistakes("GATEWAY: {}")[0])

    def test_key_on_one_line(self) -> None:
        """A key can't forge a line of its own."""
        self.check('shutdown: {"a\\nb": 1}', "1: shutdown.'a\\nb': unknown key; expected drain")

    def test_durations(self) -> None:
        for bad in ("-1", ".nan", ".inf", "1e400", "true", "9 minutes", "1d", "''", "99999h", "[9]"):
            with self.subTest(bad=bad):
                [line] = self.mistakes(f"shutdown: {{drain: {bad}}}")
                self.assertTrue(line.startswith("c.yaml:1: shutdown.drain: found "), line)
                self.assertTrue(line.endswith(f"expected {SECONDS}; 0 or more, up to 365 days"), line)

    def test_whole_numbers(self) -> None:
        for bad, found in {"true": "true", "1.5": "1.5", "-1": "-1", "65536": "65536", "x": "'x'"}.items():
            self.check(
                f"heartbeat: {{server_port: {bad}}}",
                f"1: heartbeat.server_port: found {found}; expected a whole number, 0 to 65535",
            )

    def test_addresses(self) -> None:
        for bad in ("localhost", "a b:1", "::1:9000", "[x]:1", "1.2.3:80", "h:65536", "http://h:1", "h:"):
            self.check(
                f"gateway: {{listen: '{bad}'}}", f"1: gateway.listen: found '{bad}'; expected {ADDRESS}"
            )

    def test_server_halves(self) -> None:
        accepted = "expected server_ip and server_port together, or server_url"
        self.check(
            "heartbeat:\n  server_ip: h", f"2: heartbeat.server_ip: set without server_port; {accepted}"
        )
        self.check(
            "heartbeat:\n  server_port: 1", f"2: heartbeat.server_port: set without server_ip; {accepted}"
        )
        self.load("heartbeat: {server_ip: h, server_url: 'https://h'}")

    def test_server_url(self) -> None:
        for bad in ("h:1", "ftp://h", "http://", "http://h:99999", "http://h h", "http://h?x=1"):
            shown = bad.replace("x=1", "***")
            self.check(
                f"heartbeat: {{server_url: '{bad}'}}",
                f"1: heartbeat.server_url: found '{shown}'; expected a URL http://HOST:PORT or "
                "https://HOST:PORT, perhaps with a path, without user name and query",
            )

    def test_two_adapters(self) -> None:
        self.check(
            "adapter:\n  native: a\n  http: {}\n",
            "3: adapter: found both native and http; expected one of the two",
        )

    def test_listeners(self) -> None:
        text = "the same port as gateway.listen; expected a port that no other endpoint uses"
        self.check(
            """gateway: {listen: "0.0.0.0:9000"}
admin:
  listen: "127.0.0.1:9000"
dev:
  control_plane:
    listen: "localhost:9000"
  nats:
    port: 9000
""",
            f"3: admin.listen: {text}",
            f"6: dev.control_plane.listen: {text}",
            f"8: dev.nats.port: {text}",
        )

    def test_same_port_of_two_addresses(self) -> None:
        self.load("gateway: {listen: '10.0.0.1:9002'}\nadmin: {listen: '127.0.0.1:9002'}")

    def test_lists(self) -> None:
        self.check(
            "triggers: {name: t}\nadapter: {http: {command: run it}}\n",
            "1: triggers: found a mapping; "
            "expected a list, each item a mapping with name, type (timer or nats) and settings",
            "2: adapter.http.command: found 'run it'; expected a list, each item text that is not empty",
        )
        self.check(
            "dev: {nats: {streams: [{name: S, subjects: []}]}}",
            "1: dev.nats.streams[0].subjects: found a list; expected a list that is not empty, "
            "each item a subject, such as orders.new, orders.* or orders.>",
        )

    def test_environment_of_a_plugin(self) -> None:
        text = 'adapter: {http: {command: [x], cwd: plugin, env: {PORT: 9009, A: "${HOME}", EMPTY: }}}'
        http = self.load(text, {"HOME": "/root"}).adapter.http
        assert http is not None
        self.assertEqual(http.env, {"PORT": "9009", "A": "/root", "EMPTY": ""})
        self.assertEqual(http.cwd, "plugin")
        self.assertNotIn("9009", repr(http))

    def test_bad_environment_of_a_plugin(self) -> None:
        accepted = "a mapping of environment variables to text, such as {LANG: C.UTF-8}"
        for env, text in (
            ("[A]", f"adapter.http.env: found a list; expected {accepted}"),
            ("{A: [1]}", "adapter.http.env.A: found a list; expected text"),
            ('{"A=B": 1}', f"adapter.http.env: found the name 'A=B'; expected {accepted}"),
        ):
            with self.subTest(env=env):
                self.assertEqual(
                    self.mistakes(f"adapter: {{http: {{command: [x], env: {env}}}}}"), [f"c.yaml:1: {text}"]
                )

    def test_environment_without_a_command(self) -> None:
        self.assertEqual(
            self.mistakes("adapter:\n  http:\n    env: {A: b}\n    cwd: x"),
            [
                f"c.yaml:{line}: adapter.http.{name}: set without command; "
                "expected to set both, for a plugin that the node starts"
                for line, name in ((3, "env"), (4, "cwd"))
            ],
        )

    def test_heartbeat_extra(self) -> None:
        for bad in ("{a: 2026-01-01}", "{a: [.nan]}", "{1: a}"):
            self.check(
                f"adapter: {{http: {{heartbeat_extra: {bad}}}}}",
                "1: adapter.http.heartbeat_extra: found a value that JSON does not have; expected "
                "a mapping of JSON values (no dates, no .nan or .inf, keys that are text)",
            )

    def test_max_deliver(self) -> None:
        settings = "url: 'nats://h', stream: S, subject: s, consumer_name: c"
        self.check(
            f"triggers: [{{name: q, type: nats, settings: {{{settings}, max_deliver: 0}}}}]",
            "1: triggers[0].settings.max_deliver: found 0; expected a whole number, at least 1, or -1",
        )

    def test_settings_missing(self) -> None:
        self.check(
            "triggers:\n  - {name: t, type: timer}",
            "2: triggers[0].settings.cron: is missing; expected a cron expression of 7, 6 or 5 fields",
        )


class OpenAdminTests(ConfigCase):
    def test_only_this_machine_goes_without_a_token(self) -> None:
        for listen in ("127.0.0.1:9002", "127.8.8.8:9002", "localhost:9002", "[::1]:9002"):
            self.load(f"admin: {{listen: '{listen}'}}")
            self.load("admin: {listen: '0.0.0.0:9002', token: x}")
        (mistake,) = self.mistakes("admin: {listen: ':9002'}")
        self.assertIn("1: admin.listen: found 0.0.0.0:9002 without admin.token; expected a token", mistake)
        for host in ("0.0.0.0", "::", "10.1.2.3", "ops.example.com", "127.evil.example", "localhost.example"):
            self.assertFalse(is_loopback(host), host)


class ReferenceConfig(SynchronousTestCase):
    """etc/production.yaml"""

    text = (ROOT / "etc/production.yaml").read_text()

    def test_loads(self) -> None:
        config = load(str(ROOT / "etc/production.yaml"), {"NATS_URL": "nats://h"})
        self.assertEqual(config.warnings, ())
        self.assertEqual([trigger.type for trigger in config.triggers], ["timer", "nats"])
        self.assertEqual(config.dev, DevSettings())

    def test_has_every_key(self) -> None:
        shown = set(re.findall(r"^[ #-]*([a-z_]+):", self.text, re.MULTILINE))
        self.assertEqual(_all_keys(Config) - shown, set())

    def test_shows_the_defaults(self) -> None:
        """What the comments call a default is one: with all of it left out, the values are the same."""
        config = load(str(ROOT / "etc/production.yaml"), {"NATS_URL": "nats://h"})
        self.assertEqual(config.gateway, GatewaySettings())
        self.assertEqual(config.heartbeat, HeartbeatSettings())
        self.assertEqual(config.admin, AdminSettings())
        self.assertEqual(config.shutdown, ShutdownSettings())
        self.assertEqual(config.system.state_dir, SystemSettings().state_dir)
        self.assertEqual(
            config.triggers[1], NatsSettings("orders", "nats://h", "ORDERS", "my-function", "orders.>")
        )


def _all_keys(section: Any) -> set[str]:
    """The names of a section's keys, those of the sections inside it included."""
    names = set(keys_of(section))
    for attribute in fields(section):
        names |= _inside(attribute.metadata.get(CHECK))
    return names


def _inside(check: Any) -> set[str]:
    if hasattr(check, "cls"):
        return _all_keys(check.cls)
    if hasattr(check, "kinds"):
        return set().union(*map(_all_keys, check.kinds.values()))
    return _inside(check.item) if hasattr(check, "item") else set()


class StateDirTests(SynchronousTestCase):
    def test_by_the_platform(self) -> None:
        home = str(Path(self.mktemp()).absolute())
        Path(home).mkdir()
        of_user = f"{home}/.local/state/scfd"
        own = f"/tmp/scfd-{os.geteuid()}"
        cases: list[tuple[dict[str, str], str]] = [
            ({"STATE_DIRECTORY": f"{home}/s:{home}/t", "HOME": home}, f"{home}/s"),
            ({"XDG_STATE_HOME": f"{home}/x", "HOME": home}, f"{home}/x/scfd"),
            ({"XDG_STATE_HOME": "relative", "HOME": home}, of_user),
            ({"HOME": home}, of_user),
            ({"HOME": home, "TENCENTCLOUD_RUNENV": "SCF"}, own),
            ({}, own),
        ]
        for environ, expected in cases:
            self.assertEqual(default_state_dir(environ), expected, environ)
