"""The JSON Schema of the config: as the classes have it, and as strict as a schema can be."""

from __future__ import annotations

import random
import re
import unittest
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator, Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

from scfd.cli.main import main
from scfd.cli.schema import as_text, make_schema
from scfd.config import load
from scfd.errors import ConfigError, Mistake
from scfd.triggers.timer.cron import Cron
from tests import test_config, test_config_nats, test_config_trpc
from tests.cron_oracle import expression

ROOT = Path(__file__).parent.parent
SCHEMA = make_schema()

#: What only the checker finds, by its message, and why.
ONLY_CHECKED = {
    # The bytes of the file, before there are any values; an editor says most of it by itself.
    "not valid YAML|is not UTF-8|larger than 1 MiB|can't be read|too many values|nested too": "the file",
    "this key is there already|inside of what it stands for|the tag|as a key|<< with|looks like": "YAML",
    # The environment, and the second file.
    r"the value of \$\{|environment variable|its value is not accepted|\$PORT": "the environment",
    # One value against another.
    "is the trigger of line|is the consumer of trigger": "names that are there already",
    "the same port as": "ports that are taken",
    "without admin.token": "an address of other machines needs a token",
    "overlap; expected|is among the messages": "subjects that others match",
    # What text means.
    r"found '[0-9a-z]+'; expected seconds": "sums such as 99999h",
    r"found \.nan|a value that JSON does not have": "what JSON, and so a schema, does not have",
    "UTF-8 does not have": "halves of characters, which not every editor's patterns can name",
    "YAML reads as": "YAML 1.1, where 010 is 8; to editors it is 10",
}


class EditorLoader(yaml.SafeLoader):
    """Reads a file as editors do: YAML 1.2, in which yes and 12:30 are text."""

    yaml_implicit_resolvers: Any = {}  # noqa: RUF012 - PyYAML's own


for _tag, _pattern, _first in (
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", "true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", "[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", list("-+.0123456789")),
    ("merge", "<<", ["<"]),
):
    EditorLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})$"), _first)
EditorLoader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


class Case:
    """A file of another test, and what the checker said."""

    def __init__(self, text: str, mistakes: list[Mistake]) -> None:
        self.text = text
        self.mistakes = mistakes
        self.refused = refused(text)
        self.only_checked = all(
            any(re.search(pattern, mistake.text) for pattern in ONLY_CHECKED) for mistake in mistakes
        )


def refused(text: str) -> list[str]:
    """What the schema has against a file."""
    try:
        value = yaml.load(text, EditorLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return [str(error)]
    return [
        f"{error.json_path}: {error.message[:200]}"
        for error in Draft202012Validator(SCHEMA).iter_errors(value)
    ]


def cases() -> list[Case]:
    """Every file that the tests of the config load, in which only the file itself decides."""
    found: dict[str, Case] = {}

    def recording(path: str, environ: Mapping[str, str], trpc_path: str | None = None) -> Any:
        mistakes: list[Mistake] = []
        try:
            return load(path, environ, trpc_path)
        except ConfigError as error:
            mistakes = [mistake for mistake in error.mistakes if mistake.path == path]
            raise
        finally:
            data = Path(path).read_bytes() if Path(path).is_file() else b"\xff"
            if len(data) < 100_000:
                text = data.decode("utf-8-sig", "surrogateescape")
                found.setdefault(text, Case(text, mistakes))

    for module in (test_config, test_config_nats, test_config_trpc):
        suite = unittest.TestLoader().loadTestsFromModule(module)
        original = module.load
        module.load = recording  # type: ignore[attr-defined]
        try:
            suite.run(unittest.TestResult())
        finally:
            module.load = original  # type: ignore[attr-defined]
    return list(found.values())


def timer(cron: str) -> str:
    return f"triggers: [{{name: t, type: timer, settings: {{cron: '{cron}'}}}}]"


class SchemaTests(SynchronousTestCase):
    maxDiff = None

    def test_shipped(self) -> None:
        shipped = (ROOT / "scfd/config/scfd.schema.json").read_text()
        self.assertTrue(shipped == as_text(), "the classes have changed; run `make schema`")
        with redirect_stdout(StringIO()) as out:
            self.assertEqual(main(["schema"]), 0)
        self.assertEqual(out.getvalue(), as_text())

    def test_is_a_schema(self) -> None:
        for draft in (Draft202012Validator, Draft7Validator):
            draft.check_schema(SCHEMA)

    def test_configs_of_the_project(self) -> None:
        paths = [*ROOT.glob("etc/*.yaml"), *ROOT.glob("examples/*/config.yaml")]
        for path in paths:
            if path.name != "tasks.yaml":
                with self.subTest(path):
                    self.assertEqual(refused(path.read_text()), [])
                    if path.parent.name == "hello":  # the README shows it, for a folder anywhere
                        continue
                    line = path.read_text().partition("\n")[0]
                    named = line.removeprefix("# yaml-language-server: $schema=")
                    self.assertTrue(
                        (path.parent / named).samefile(ROOT / "scfd/config/scfd.schema.json"), line
                    )

    def test_configs_of_the_tests(self) -> None:
        """Good ones pass; of wrong ones the schema finds all but those of `ONLY_CHECKED`."""
        found = cases()
        good = [case for case in found if not case.mistakes]
        wrong = [case for case in found if case.mistakes]
        self.assertGreater(len(good), 40)
        self.assertEqual([(case.text, case.refused) for case in good if case.refused], [])
        missed = [case for case in wrong if not case.refused and not case.only_checked]
        self.assertEqual([(case.text, [str(mistake) for mistake in case.mistakes]) for case in missed], [])
        refused_ones = sum(bool(case.refused) for case in wrong)
        self.assertGreater(refused_ones / len(wrong), 0.85, f"{refused_ones} of {len(wrong)}")

    def test_cron_expressions(self) -> None:
        """What the parser takes, the schema takes; of what is wrong it finds the field that is."""
        chance = random.Random(1)
        pattern: str = _property("triggers", "cron")["pattern"]
        for _ in range(2000):
            text = expression(chance)
            try:
                Cron.parse(text)
            except ValueError:
                continue
            self.assertRegex(text, pattern)
        for good in (
            "@daily",
            "@Hourly",
            "@every 1h30m",
            "0 0 ? * MON#1,3",
            "0 0 LW * *",
            "0 0 * january sunday",
        ):
            Cron.parse(good)
            self.assertEqual(refused(timer(good)), [])
        for wrong in (
            "61 * * * * * *",
            "* * * *",
            "@never",
            "* 24 * * *",
            "0 0 0 32 * * *",
            "0 0 0 * 13 * *",
        ):
            self.assertRaises(ValueError, Cron.parse, wrong)
            self.assertNotEqual(refused(timer(wrong)), [], wrong)

    def test_variables(self) -> None:
        """Wherever a value is, it may be text with a variable in it."""
        for text in (
            "heartbeat: {server_ip: '${IP:-}', server_port: '${PORT:-0}', interval: '${I}s'}",
            "gateway: {listen: ':${PORT}', max_body: '${SIZE}', access_log: '${LOG:-false}'}",
            "adapter: {native: '${N:-}', http: {url: 'http://${HOST}:1', command: ['${RUN}']}}",
            "triggers: [{name: t, type: '${T}', settings: {cron: '${C}'}}]",
            timer("${A} * * * *"),
            "system: {name: 'a$$b$c'}",
        ):
            self.assertEqual(refused(text), [], text)
        for text in ("system: {name: '${'}", "system: {name: '${1}'}", "plugin: 1"):
            self.assertNotEqual(refused(text), [], text)

    def test_units_and_defaults(self) -> None:
        for text in ("max_body: 6MiB", "max_body: 500 KiB", "max_body: 1", "forward_timeout: 1m30s"):
            self.assertEqual(refused(f"gateway: {{{text}}}"), [], text)
        for text in ("max_body: 6MB", "max_body: 0", "forward_timeout: 0s", "forward_timeout: 5 minutes"):
            self.assertNotEqual(refused(f"gateway: {{{text}}}"), [], text)
        gateway = SCHEMA["properties"]["gateway"]["properties"]
        self.assertEqual(gateway["listen"]["default"], "0.0.0.0:9000")
        self.assertEqual(gateway["max_body"]["default"], 6 * 1024 * 1024)
        self.assertIn("as on SCF", gateway["max_body"]["description"])

    def test_every_key_is_described(self) -> None:
        def bare(schema: Any, path: str) -> list[str]:
            if isinstance(schema, list):
                return [name for item in schema for name in bare(item, path)]
            if not isinstance(schema, dict):
                return []
            found = []
            if schema.get("additionalProperties") is False:
                for name, inside in schema["properties"].items():
                    if not inside.get("description") and inside != {}:
                        found.append(f"{path}.{name}")
            return found + [x for name, inside in schema.items() for x in bare(inside, f"{path}.{name}")]

        self.assertEqual(bare(SCHEMA, ""), [])

    def test_former_names(self) -> None:
        self.assertTrue(SCHEMA["properties"]["control"]["deprecated"])
        self.assertEqual(
            SCHEMA["properties"]["control"]["deprecationMessage"], "The former name of admin; write admin."
        )
        self.assertNotEqual(refused("control: {}"), [])
        self.assertEqual(refused("storage: {}"), [])


def _property(*names: str) -> Any:
    """The first key of a name anywhere below another."""
    found: list[Any] = []

    def walk(schema: Any) -> None:
        for name, inside in schema.items() if isinstance(schema, dict) else enumerate(schema):
            if name == names[1] and isinstance(inside, dict):
                found.append(inside)
            if isinstance(inside, (dict, list)):
                walk(inside)

    walk(SCHEMA["properties"][names[0]])
    return found[0]
