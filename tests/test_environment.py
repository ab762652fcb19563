"""Tests for scfd.adapter.environment, and of what a config says about the environment."""

from __future__ import annotations

from twisted.logger import capturedLogs, formatEvent

from scfd.adapter.environment import of_plugin, passed_on
from tests.test_config import ConfigCase

NODE = {"PATH": "/bin", "LC_ALL": "C", "AWS_KEY": "a", "AWS_REGION": "r", "ADMIN": "secret", "OTHER": "o"}


class PassedOn(ConfigCase):
    def test_all_but_secrets(self) -> None:
        passed = passed_on(NODE, None, {"ADMIN", "PATH"})
        self.assertEqual(passed, {name: value for name, value in NODE.items() if name != "ADMIN"})

    def test_what_is_named(self) -> None:
        always = {"PATH": "/bin", "LC_ALL": "C"}
        self.assertEqual(passed_on(NODE, ()), always)
        self.assertEqual(
            passed_on(NODE, ("AWS_*", "ADMIN"), {"ADMIN"}),
            {**always, "AWS_KEY": "a", "AWS_REGION": "r", "ADMIN": "secret"},
        )
        self.assertEqual(passed_on(NODE, ("aws_*", "OTHE")), always)
        self.assertEqual(passed_on(NODE, ("*",), {"ADMIN"}), NODE)

    def of_plugin(self, text: str) -> dict[str, str]:
        config = self.load(text, NODE)
        assert config.adapter.http is not None
        return of_plugin(config.adapter.http, config.origin.secret_variables, NODE)

    def test_what_env_sets_wins(self) -> None:
        text = "adapter: {http: {command: [x], env: {ADMIN: mine}}}\nadmin: {token: '${ADMIN}'}"
        with capturedLogs() as logs:
            self.assertEqual(self.of_plugin(text), {**NODE, "ADMIN": "mine"})
        self.assertEqual(logs, [])

    def test_what_is_kept_back_is_logged_once(self) -> None:
        with capturedLogs() as logs:
            passed = self.of_plugin("adapter: {http: {command: [x]}}\nadmin: {token: '${ADMIN}${AWS_KEY:-}'}")
        self.assertEqual(set(NODE) - set(passed), {"ADMIN", "AWS_KEY"})
        self.assertEqual(
            list(map(formatEvent, logs)),
            ["the plugin does not get ADMIN, AWS_KEY, from which the config takes secrets"],
        )

    def secrets(self, text: str) -> set[str]:
        return set(self.load(text, {"A": "x", "B": "y", "U": "nats://u:p@h"}).origin.secret_variables)

    def test_what_is_a_secret(self) -> None:
        nats = "stream: S, subject: s, consumer_name: c"
        for text, expected in (
            ("admin: {token: '${A}'}", {"A"}),
            ("admin: {token: '${C:-x}${A-y}${B:?no}'}", {"A", "B", "C"}),
            ("gateway: {probe_token: '${A?no}'}", {"A"}),
            ("heartbeat: {auth: {access_key: '${A}', secret_key: '${B}'}}", {"B"}),
            (f"triggers: [{{name: q, type: nats, settings: {{url: '${{U}}', {nats}}}}}]", {"U"}),
            (f"triggers: [{{name: q, type: nats, settings: {{url: 'nats://${{A}}@h', {nats}}}}}]", {"A"}),
            ("system: {name: '${A}'}\ngateway: {access_log: false}", set()),
            ("adapter: {http: {command: [x], env: {TOKEN: '${A}'}}}", set()),
            ("plugin: {password: '${A}'}", set()),
            ("adapter: {http: {heartbeat_extra: {tokens: ['${A}']}}}", {"A"}),
        ):
            with self.subTest(text=text):
                self.assertEqual(self.secrets(text), expected)

    def test_mistakes(self) -> None:
        accepted = "expected the name of an environment variable, or of several, such as AWS_*"
        self.assertEqual(
            self.mistakes("adapter: {http: {command: [x], env_pass: [A=1]}}"),
            [f"c.yaml:1: adapter.http.env_pass[0]: found 'A=1'; {accepted}"],
        )
        self.assertEqual(
            self.mistakes("adapter:\n  http:\n    env_pass: []"),
            [
                "c.yaml:3: adapter.http.env_pass: set without command; "
                "expected to set both, for a plugin that the node starts"
            ],
        )
