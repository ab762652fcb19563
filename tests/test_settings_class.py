"""Tests for `scfd.config.plugin`: the ``plugin`` section as an object of the plugin's own class."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen, validators
from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

from scfd.cli.schema import make_schema
from scfd.config import load
from scfd.config.checks import PORT
from scfd.config.schema import key
from scfd.errors import ConfigError, StartupError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@frozen
class Source:
    url: str
    retries: int = 3


@frozen
class Settings:
    greeting: str
    pause: float = 0.5
    count: int = field(default=1, validator=validators.ge(1))
    loud: bool = False
    mode: Literal["quick", "slow"] = "quick"
    colour: Colour = Colour.RED
    folder: Path | None = None
    hosts: list[str] = field(factory=list)
    limits: dict[str, int] = field(factory=dict)
    sources: tuple[Source, ...] = ()
    anything: Any = None
    number_or_text: int | str = 0
    port: int = key(PORT, 80)
    pin: str = field(default="1234", repr=False, validator=validators.matches_re("[0-9]{4}"))
    api_token: str = field(default="x", validator=validators.min_len(1))
    _private: str = ""
    made: int = field(default=7, init=False)


@frozen
class Tree:
    below: list[Tree] = field(factory=list)


class LoadTestCase(SynchronousTestCase):
    def load(self, text: str, cls: Any = Settings, environ: dict[str, str] | None = None) -> Any:
        path = self.mktemp()
        Path(path).write_text(text)
        self.path = path
        return load(path, environ or {}, settings_class=lambda adapter, system: cls).plugin

    def mistakes(self, text: str, cls: Any = Settings, environ: dict[str, str] | None = None) -> list[str]:
        error = self.assertRaises(ConfigError, self.load, text, cls, environ)
        return [str(mistake).removeprefix(self.path) for mistake in error.mistakes]


class ValuesTests(LoadTestCase):
    def test_defaults(self) -> None:
        self.assertEqual(self.load("plugin: {greeting: Hello}"), Settings("Hello"))

    def test_every_type(self) -> None:
        settings = self.load(
            """
plugin:
  greeting: 1.10
  pause: 2
  count: 3
  loud: true
  mode: slow
  colour: blue
  folder: /tmp/x
  hosts: [a, b]
  limits: {a: 1}
  sources: [{url: u}, {url: v, retries: 1}]
  anything: {x: [1, null]}
  number_or_text: word
  port: 8080
  private: p
"""
        )
        self.assertEqual(
            settings,
            Settings(
                "1.10",
                2.0,
                3,
                True,
                "slow",
                Colour.BLUE,
                Path("/tmp/x"),
                ["a", "b"],
                {"a": 1},
                (Source("u"), Source("v", 1)),
                {"x": [1, None]},
                "word",
                8080,
                private="p",
            ),
        )
        self.assertIsInstance(settings.pause, float)

    def test_without_a_class_it_is_a_mapping(self) -> None:
        self.assertEqual(self.load("plugin: {x: 1}", None), {"x": 1})
        self.assertEqual(self.load("system: {name: n}", None), {})

    def test_a_tag_says_what_the_environment_holds(self) -> None:
        text = "plugin: {i: !!int '${I}', f: !!float '${F}', b: !!bool '${B}', t: '${I}'}"
        settings = self.load(text, None, {"I": "12", "F": "-1.50", "B": "no"})
        self.assertEqual(settings, {"i": 12, "f": -1.5, "b": False, "t": "12"})


class SchemaTests(LoadTestCase):
    """For editors: what is right passes, and what is wrong is found as far as types say it."""

    def refused(self, plugin: Any) -> bool:
        return not Draft202012Validator(make_schema(Settings)).is_valid({"plugin": plugin})

    def test_values(self) -> None:
        good: list[dict[str, Any]] = [
            {"pause": -2, "count": 3.0, "loud": True, "mode": "slow", "colour": "blue", "folder": "/x"},
            {"hosts": ["a"], "limits": {"a": 1}, "sources": [{"url": "u"}], "anything": {"x": [1, None]}},
            {"number_or_text": "word", "port": "8080", "pin": "0000", "private": "p", "folder": None},
            {"count": "${COUNT}", "mode": "${MODE}", "loud": "yes", "pause": "1e3"},
        ]
        for values in good:
            self.assertFalse(self.refused({"greeting": "Hello", **values}), values)
        wrong: list[dict[str, Any]] = [
            *({"mode": "fast"}, {"count": 1.5}, {"count": "x"}, {"hosts": "a"}, {"limits": {"a": "x"}}),
            *({"sources": [{}]}, {"port": 70000}, {"made": 7}, {"greting": "x"}, {"loud": 3}),
        ]
        for values in wrong:
            self.assertTrue(self.refused({"greeting": "Hello", **values}), values)
        self.assertTrue(self.refused({}), "without greeting")
        self.assertFalse(Draft202012Validator(make_schema(Settings)).is_valid({}), "without the section")

    def test_defaults_and_secrets(self) -> None:
        keys = make_schema(Settings)["properties"]["plugin"]["properties"]
        self.assertEqual([keys[name].get("default") for name in ("count", "mode", "pin")], [1, "quick", None])

    def test_a_class_in_itself(self) -> None:
        with self.assertRaisesRegex(StartupError, "settings_class Tree contains itself; expected "):
            make_schema(Tree)


class MistakesTests(LoadTestCase):
    def test_together_with_those_of_the_node(self) -> None:
        text = """gateway: {listen: 70000}
plugin:
  greting: Hello
  pause: soon
  mode: fast
  sources:
    - {retries: many}
  port: 0
"""
        known = (
            "greeting, pause, count, loud, mode, colour, folder, hosts, limits, sources, anything, "
            "number_or_text, port, pin, api_token, private"
        )
        self.assertEqual(
            [mistake for mistake in self.mistakes(text) if "gateway" not in mistake],
            [
                ":3: plugin.greeting: is missing; expected text",
                f":3: plugin.greting: unknown key; did you mean greeting? expected {known}",
                ":4: plugin.pause: found 'soon'; expected a number",
                ":5: plugin.mode: found 'fast'; expected quick or slow",
                ":7: plugin.sources[0].retries: found 'many'; expected a whole number",
                ":7: plugin.sources[0].url: is missing; expected text",
                ":8: plugin.port: found 0; expected a whole number, 1 to 65535",
            ],
        )
        self.assertEqual(len(self.mistakes(text)), 8)

    def test_no_section(self) -> None:
        self.assertEqual(
            self.mistakes("system: {name: n}"), [":1: plugin.greeting: is missing; expected text"]
        )
        self.assertRegex(
            self.mistakes("plugin: [1]")[0], "^:1: plugin: found a list; expected a mapping with"
        )

    def test_a_path_with_a_nul_character(self) -> None:
        (mistake,) = self.mistakes('plugin: {greeting: x, folder: "a\\0"}')
        self.assertEqual(mistake, ":1: plugin.folder: found a NUL character; expected text without one")

    def test_validators(self) -> None:
        hidden = "found a value that is kept secret; expected what its validator accepts"
        text = "plugin: {greeting: x, count: 0, pin: secret-pin, api_token: ''}"
        self.assertEqual(
            self.mistakes(text),
            [
                f":1: plugin.api_token: {hidden}",
                ":1: plugin.count: found 0; expected what passes its validator: 'count' must be >= 1: 0",
                f":1: plugin.pin: {hidden}",
            ],
        )

    def test_what_a_variable_holds_is_not_shown(self) -> None:
        text = "plugin: {greeting: x, count: '${COUNT}', mode: '${MODE}'}"
        mistakes = self.mistakes(text.replace(", mode: '${MODE}'", ""), environ={"COUNT": "-5"})
        self.assertEqual(
            mistakes, [":1: plugin.count: found the value of ${COUNT}; expected what its validator accepts"]
        )
        mistakes = self.mistakes(text, environ={"COUNT": "1", "MODE": "hush"})
        self.assertEqual(mistakes, [":1: plugin.mode: found the value of ${MODE}; expected quick or slow"])

    def test_duplicate_keys_and_numbers_that_nobody_means(self) -> None:
        self.assertEqual(
            self.mistakes("plugin: {greeting: x, count: 010, greeting: y}"),
            [
                ":1: plugin.count: found 010, which YAML reads as 8; expected a whole number",
                ":1: plugin.greeting: this key is there already; expected each key once",
            ],
        )

    def test_a_refusal_by_the_class_itself(self) -> None:
        @frozen
        class Picky:
            least: int = 0
            most: int = 0

            def __attrs_post_init__(self) -> None:
                if self.least > self.most:
                    raise ValueError("least is larger than most")

        self.assertEqual(
            self.mistakes("plugin: {least: 2}", Picky),
            [":1: plugin: Picky refuses it: least is larger than most"],
        )

    def test_classes_that_can_not_be_used(self) -> None:
        @frozen
        class Odd:
            thing: complex = 0

        for cls, text in (
            (
                Odd,
                "settings_class: Odd.thing has the type <class 'complex'>, which a config can't have",
            ),
            (int, "settings_class: found <class 'int'>; expected a class of attrs, such as @frozen"),
        ):
            error = self.assertRaises(StartupError, self.load, "plugin: {}", cls)
            self.assertIn(text, str(error))

    def test_it_is_not_asked_while_it_is_not_known_which_plugin(self) -> None:
        def never(adapter: object, system: object) -> type:
            raise AssertionError

        path = self.mktemp()
        Path(path).write_text("adapter: {nativ: x}")
        self.assertRaises(ConfigError, load, path, {}, settings_class=never)
