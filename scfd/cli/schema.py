"""
Makes a JSON Schema of the config classes, for editors.

It says no more than draft 2020-12 and draft 07 both understand, which is what yaml-language-server reads. It
is laxer than the checker, never stricter: a value with ``${NAME}`` may turn out to be anything.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from attrs import NOTHING, Attribute, Factory, has

from scfd.config import checks
from scfd.config.checks import Address, ScalarCheck
from scfd.config.cross import CONSUMER_KEYS, LOGINS
from scfd.config.nats import NatsSettings, NatsTlsSettings
from scfd.config.plugin import NUMBER, WHOLE, AnyOf, Anything, Hidden, SettingsOf
from scfd.config.schema import CHECK, FORMER_NAMES, FreeForm, ListOf, MapOf, OneOf, Section, keys_of
from scfd.config.values import AdapterSettings, Config, HeartbeatSettings, HttpAdapterSettings
from scfd.log_levels import LEVELS, NAMES

Schema = dict[str, Any]

#: As `scfd.config.source` reads it.
_VARIABLE = r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::?[-?](?:[^{}$]|\$\$)*)?\}"
#: ``$$`` is a plain ``$``; a ``${`` without a proper name and end is a mistake anywhere, and ``$NAME`` alone.
_TEXT = rf"^(?!\$[A-Z_][A-Z0-9_]*$)(?:[^$\u0000]|\$\$|\$(?![${{])|{_VARIABLE})*$"

_IPV4 = r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!$|:|/)|(?=$|:|/|,))){4}"
_IPV6 = r"[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*"
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_NAME = rf"(?![0-9.]+(?:$|:|/|,)){_LABEL}(?:\.{_LABEL})*\.?"
_HOST = rf"(?:{_IPV4}|{_NAME})"
_PORT = r"(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_ADDRESS = rf"(?:\[{_IPV6}\]|(?:{_HOST})?):0*{_PORT}"
_SERVER = rf"(?:{_HOST}|\[{_IPV6}\])(?::0*{_PORT})?"
_HTTP_URL = rf"[hH][tT][tT][pP][sS]?://{_SERVER}(?:/[^\s?#]*)?"
_NATS_URL = rf"(?:nats|tls|wss?)://(?:[^\s,]*@)?{_SERVER}(?:[/?][^\s,]*)?"
_TOKEN = r"[^\s.*>]+"
_DECIMAL = r"\s*\+?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\s*"
_DURATION = rf"(?:(?:[0-9]+(?:\.[0-9]+)?(?:h|ms|m|s))+|{_DECIMAL})"
_SIZE = r"[0-9]{1,18}\s*(?:KiB|MiB|GiB)?"


def _any_case(words: str) -> str:
    """One of some words."""
    return "|".join("".join(f"[{c}{c.upper()}]" for c in word) for word in words.split())


def _named(names: str) -> str:
    """A day or a month by its first three letters, perhaps written out."""
    return f"(?:{_any_case(names)})[A-Za-z]*"


def _cron_field(value: str, other: str = "") -> str:
    part = rf"(?:[*?]|(?:{value})(?:-(?:{value}))?)(?:/0*[1-9][0-9]{{0,3}})?{other}"
    return rf"(?:{part})(?:,(?:{part}))*"


_MINUTE = _cron_field("0*[1-5]?[0-9]")
_WEEKDAY = rf"0*[0-7]|{_named('sun mon tue wed thu fri sat')}"
_YEAR = "19[7-9][0-9]|20[0-9]{2}"
_CRON_FIELDS = (
    _MINUTE,
    _cron_field("0*(?:1?[0-9]|2[0-3])"),
    _cron_field("0*(?:[1-9]|[12][0-9]|3[01])", "|[lL]|(?:[lL]|[0-9]{1,2})[wW]"),
    _cron_field(f"0*(?:[1-9]|1[0-2])|{_named('jan feb mar apr may jun jul aug sep oct nov dec')}"),
    _cron_field(_WEEKDAY, rf"|(?:{_WEEKDAY})(?:#[1-5]|[lL])|[lL](?:{_WEEKDAY})?"),
)
_FIVE = r"\s+".join(_CRON_FIELDS)
_SHORTCUTS = _any_case("hourly daily midnight weekly monthly yearly annually")
_SHORTCUT = rf"@(?:{_SHORTCUTS}|every\s+(?:[0-9]{{1,9}}[hms])+)"
_CRON = rf"\s*(?:{_SHORTCUT}|{_FIVE}|{_MINUTE}\s+{_FIVE}(?:\s+{_cron_field(_YEAR)})?)\s*"
_MOMENT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}.*(?:[zZ]|[-+][0-9]{2}:[0-9]{2})"


def _matching(pattern: str, *kinds: str) -> Schema:
    """
    Text of a pattern, or with ``${NAME}`` in it.

    :param kinds: what YAML may take such text for.
    """
    return {"type": ["string", *kinds], "pattern": rf"^(?:{pattern})$|{_VARIABLE}"}


_SCALARS = ("number", "boolean")
#: The checks without parameters; one that is not here takes any text.
_CHECKS: Mapping[ScalarCheck, Schema] = {
    checks.TEXT: {"type": ["string", *_SCALARS], "pattern": _TEXT},
    checks.FILLED_TEXT: {"type": ["string", *_SCALARS], "pattern": rf"^(?=[\s\S]*\S){_TEXT[1:]}"},
    checks.DURATION: {**_matching(_DURATION, "number"), "minimum": 0, "maximum": checks.LONGEST},
    checks.POSITIVE_DURATION: {
        **_matching(rf"(?=.*[1-9]){_DURATION}", "number"),
        "exclusiveMinimum": 0,
        "maximum": checks.LONGEST,
    },
    checks.SIZE: {**_matching(rf"(?=.*[1-9]){_SIZE}", "integer"), "minimum": 1},
    checks.SIZE_OR_ZERO: {**_matching(_SIZE, "integer"), "minimum": 0},
    checks.ADDRESS: _matching(_ADDRESS),
    checks.ADDRESS_OR_OFF: _matching(f"(?:{_ADDRESS})?"),
    checks.HOST: _matching(f"{_HOST}|{_IPV6}", *_SCALARS),
    checks.HOST_OR_EMPTY: _matching(f"(?:{_HOST}|{_IPV6})?"),
    checks.SERVERS: _matching(rf"(?:{_HOST}|{_IPV6})|(?:{_IPV4}|{_IPV6})/[0-9a-f.:]+"),
    checks.HTTP_URL: _matching(_HTTP_URL),
    checks.HTTP_URL_OR_EMPTY: _matching(f"(?:{_HTTP_URL})?"),
    checks.CRON: _matching(_CRON),
    checks.TIMEZONE: _matching(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*"),
    checks.NATS_URL: _matching(rf"\s*{_NATS_URL}\s*(?:,\s*{_NATS_URL}\s*)*"),
    checks.NATS_NAME: _matching(r"[^\s.*>/\\]+", *_SCALARS),
    checks.SUBJECT: _matching(r"(?:[^\s.>]+\.)*(?:[^\s.>]+|>)", *_SCALARS),
    checks.SUBJECT_PREFIX: _matching(rf"(?:{_TOKEN}(?:\.{_TOKEN})*\.*)?", *_SCALARS),
    checks.PLAIN_SUBJECT_OR_EMPTY: _matching(rf"(?:{_TOKEN}(?:\.{_TOKEN})*)?", *_SCALARS),
    checks.DELIVER: {
        **_matching(rf"new|all|last|last_per_subject|[1-9][0-9]{{0,18}}|{_MOMENT}", "integer"),
        "minimum": 1,
    },
    checks.PATH_PREFIX: _matching(r"(?:/[\w.~%-]+)+/?"),
    checks.ACCESS_KEY: _matching(r"[\x21-\x2e\x30-\x7e]+", *_SCALARS),
    checks.VARIABLES: _matching(r"[^=\s]+", *_SCALARS),
    checks.LEVEL: {
        "anyOf": [{"enum": list(NAMES)}, _matching(rf"\s*(?:{_any_case(' '.join(LEVELS))})\s*")],
    },
    WHOLE: _matching(r"\s*[-+]?[0-9]+(?:\.0+)?\s*", "integer"),
    NUMBER: {"type": ["string", "number"]},
    checks.SWITCH: _matching(rf"\s*(?:{_any_case('true yes on false no off')})\s*", "boolean"),
}


_WITH_VARIABLE = {"type": "string", "pattern": _VARIABLE}


def _given(name: str) -> Schema:
    """A key that is there, with a value that certainly is not empty."""
    return {
        "required": [name],
        "properties": {name: {"not": {"anyOf": [{"enum": [None, "", 0, False]}, _WITH_VARIABLE]}}},
    }


def _maybe(name: str) -> Schema:
    """A key that is there, with a value that may turn out not to be empty."""
    return {"required": [name], "properties": {name: {"not": {"enum": [None, "", 0]}}}}


def _needs(name: str, *others: str) -> Schema:
    """One of the others is there where ``name`` is."""
    return {"if": _given(name), "then": {"anyOf": [_maybe(other) for other in others]}}


def _is(name: str, value: Schema) -> Schema:
    return {"required": [name], "properties": {name: value}}


def _never(*together: Schema) -> Schema:
    return {"not": {"allOf": list(together)}}


def _at_most(delays: int) -> Schema:
    return {"properties": {"backoff": {"maxItems": delays}}}


#: Of `scfd.config.cross`, what a schema can say.
_TOGETHER: Mapping[type, list[Schema]] = {
    HeartbeatSettings: [
        _needs("server_ip", "server_port", "server_url"),
        _needs("server_port", "server_ip", "server_url"),
    ],
    AdapterSettings: [_never(_given("native"), _maybe("http"))],
    HttpAdapterSettings: [_needs("cwd", "command"), _needs("env", "command")],
    NatsTlsSettings: [_needs("cert", "key"), _needs("key", "cert")],
    NatsSettings: [
        {"anyOf": [_maybe("subject"), _maybe("subjects"), _maybe("bind")]},
        _never(_given("subject"), _given("subjects")),
        _never(_given("domain"), _given("api_prefix")),
        _needs("user", "password"),
        _needs("password", "user"),
        *(_never(_given(one), _given(other)) for one, other in combinations(LOGINS, 2)),
        *(_never(_given(name), _is("url", {"pattern": "@"})) for name in LOGINS),
        *(_never(_given(name), _is("bind", {"const": True})) for name in CONSUMER_KEYS),
        _never(_given("dead_letter"), _is("max_deliver", {"const": -1})),
        # The last delivery has no delay after it; max_deliver is 3 by default.
        *({"if": _is("max_deliver", {"const": n}), "then": _at_most(max(n - 1, 1))} for n in range(1, 10)),
        {"anyOf": [_maybe("max_deliver"), _maybe("bind"), _at_most(2)]},
    ],
}


def make_schema(settings: type | None = None) -> Schema:
    """
    The schema of a whole config.

    :param settings: the class of a plugin's settings, for the section ``plugin``.
    :raises StartupError: see `scfd.config.plugin.SettingsOf`.
    """
    schema = _section(Config)
    if settings is not None:
        plugin = schema["properties"]["plugin"] = _value(SettingsOf(settings))
        if "required" in plugin:
            schema["required"] = [*schema.get("required", ()), "plugin"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "scfd config",
        **schema,
    }


def as_text(settings: type | None = None) -> str:
    """The schema as a file has it: see `make_schema`."""
    return json.dumps(make_schema(settings), indent=1) + "\n"


def _section(section: type) -> Schema:
    keys, texts = keys_of(section), _ivars(section)
    properties = {name: _key(attribute, texts.get(name, "")) for name, attribute in keys.items()}
    for unused in getattr(section, "unused_keys", ()):
        properties[unused] = {
            "description": "A key of the Go framework, not used by scfd.",
            "deprecated": True,
        }
    for former, new in FORMER_NAMES.items():
        if new in keys and former not in keys:
            text = f"The former name of {new}; write {new}."
            properties[former] = {
                "description": text,
                "deprecated": True,
                "deprecationMessage": text,
                "not": {},
            }
    schema: Schema = {
        "description": _plain(inspect.getdoc(section) or ""),
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    if required := [name for name, attribute in keys.items() if attribute.default is NOTHING]:
        schema["required"] = required
    if section in _TOGETHER:
        schema["allOf"] = _TOGETHER[section]
    return schema


def _ivars(section: type) -> dict[str, str]:
    """What a class's docstring says of its attributes."""
    found = re.findall(r"^:ivar (\w+): (.*(?:\n .*)*)", inspect.getdoc(section) or "", re.MULTILINE)
    return {name: _plain(text) for name, text in found}


def _plain(text: str) -> str:
    """The first paragraph, on one line, with a capital, and with the code in it as Markdown has it."""
    text = " ".join(text.partition("\n\n")[0].split()).replace("``", "`")
    return text[:1].upper() + text[1:]


def _key(attribute: Attribute[Any], text: str) -> Schema:
    schema = _value(attribute.metadata[CHECK])
    schema = {"description": text, **schema}
    if attribute.default is not NOTHING:
        schema = _or_null(schema)
        if (default := _default(attribute.default)) is not None:
            schema["default"] = default
    return schema


def _or_null(schema: Schema) -> Schema:
    """A key without a value counts as missing."""
    if not {"type", "anyOf"} & schema.keys():
        return schema
    if "type" not in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    kinds = schema["type"]
    return {**schema, "type": [*([kinds] if isinstance(kinds, str) else kinds), "null"]}


def _default(value: Any) -> Any:
    """A default as the file would have it; None for none, and for what a section's own keys say."""
    if isinstance(value, Factory):  # type: ignore[arg-type]
        value = value.factory()
    if has(type(value)) and not isinstance(value, Address):
        return None
    if isinstance(value, Address):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _value(check: Any) -> Schema:
    if isinstance(check, ScalarCheck):
        return _with_text(check.schema) if check.schema else _CHECKS.get(check, _CHECKS[checks.TEXT])
    if isinstance(check, (Section, SettingsOf)):
        return _section(check.cls if isinstance(check, Section) else check.keys)
    if isinstance(check, Hidden):
        return _value(check.check)
    if isinstance(check, AnyOf):
        return {"anyOf": [_value(each) for each in check.checks]}
    if isinstance(check, Anything):
        return {}
    if isinstance(check, ListOf):
        return _list(check)
    if isinstance(check, OneOf):
        return _one_of(check)
    if isinstance(check, MapOf):
        any_text = {"type": ["string", *_SCALARS, "null"], "pattern": _TEXT}
        values = any_text if check.each is checks.TEXT else _value(check.each)
        names = {"pattern": rf"^(?:{check.name})$".replace("\0", r"\u0000")}
        return {"type": "object", "propertyNames": names, "additionalProperties": values}
    assert isinstance(check, FreeForm)
    return {"type": "object"}


def _with_text(schema: Mapping[str, Any]) -> Schema:
    """A number may be written as text too, and text that is a number as a number."""
    if "enum" in schema:
        words = schema["enum"]
        others = [value for value in map(_plain_value, words) if value is not None]
        return {"anyOf": [{"enum": [*words, *others]}, _WITH_VARIABLE]}
    text = _DURATION if schema["type"] == "number" else "-?[0-9][0-9_]*"
    return {**schema, **_matching(text, schema["type"])}


def _plain_value(word: str) -> Any:
    """What an editor takes a word for, where that is no text: a number, true or false."""
    try:
        return json.loads(word.lower())
    except ValueError:
        return None


def _list(check: ListOf) -> Schema:
    item = _value(check.item)
    items: Schema = {"type": "array", "items": item}
    if check.least:
        items["minItems"] = check.least
    if not check.or_one:
        return items
    return {"anyOf": [item, items]}


def _one_of(check: OneOf) -> Schema:
    """A trigger: its type says what its settings are."""
    cases = []
    for kind, section in check.kinds.items():
        settings = _section(section)
        then: Schema = {"properties": {"settings": settings}}
        if "required" in settings:
            then["required"] = ["settings"]
        cases.append({"if": {"required": ["type"], "properties": {"type": {"const": kind}}}, "then": then})
    return {
        "description": f"A {check.what}.",
        "type": "object",
        "properties": {
            "name": {"description": "Unique among the triggers.", **_CHECKS[checks.FILLED_TEXT]},
            "type": {"description": "What it is.", **_with_text({"enum": list(check.kinds)})},
            "settings": {},
        },
        "required": ["name", "type"],
        "additionalProperties": False,
        "allOf": cases,
    }
