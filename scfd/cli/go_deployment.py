"""
What the Go program of a deployment says of its plugin.

It is read as text. What it computes is not known, and said to be so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

_TEXT = r'"(?:[^"\\\n]|\\.)*"|`[^`]*`'
_COMMENT = re.compile(rf"({_TEXT})|//[^\n]*|/\*.*?\*/", re.DOTALL)
_UNITS = {"Millisecond": 0.001, "Second": 1.0, "Minute": 60.0, "Hour": 3600.0}
_UNIT = rf"time\.({'|'.join(_UNITS)})"
_DURATION = re.compile(rf"(?:([\d.]+)\s*\*\s*)?{_UNIT}(?:\s*\*\s*([\d.]+))?")
#: Bytes of a Go file that are looked at; none is as long.
_MOST = 1_000_000


@frozen
class GoPlugin:
    """
    What ``NewHTTPPluginAdapter`` is given.

    :ivar settings: of ``adapter.http``, as far as they can be read.
    :ivar unread: what can't be read: a key of ``adapter.http``, and the Go text.
    :ivar config: what ``WithConfigPath`` names, or empty.
    :ivar service: what ``WithGatewayService`` names, or empty.
    :ivar others: further programs that call it, which were not looked at.
    """

    path: Path
    settings: Mapping[str, Any]
    unread: tuple[tuple[str, str], ...] = ()
    config: str = ""
    service: str = ""
    others: tuple[Path, ...] = ()


def plugin_of(folder: Path) -> GoPlugin | None:
    """The plugin that a Go program in or below a folder calls over HTTP; of several programs the first."""
    found = None
    for path in sorted(folder.rglob("*.go"), key=lambda path: (len(path.parts), path)):
        if path.name.endswith("_test.go") or "vendor" in path.parts:
            continue
        try:
            text = _COMMENT.sub(lambda kept: kept[1] or " ", path.read_text(errors="replace")[:_MOST])
        except OSError:
            continue
        if called := _arguments(text, "NewHTTPPluginAdapter"):
            if found is None:
                found = _read(path, text, called)
            else:
                found = evolve(found, others=(*found.others, path))
    return found


def _read(path: Path, text: str, called: list[str]) -> GoPlugin:
    settings: dict[str, Any] = {}
    unread: list[tuple[str, str]] = []
    for key, argument in zip(("name", "url"), called, strict=False):
        value = _value(argument, text)
        if isinstance(value, str):
            settings[key] = value
        else:
            unread.append((key, argument))
    for option in _options(called[2:], text):
        name = option.partition("(")[0].rpartition(".")[2] if "(" in option else option
        inside = option.partition("(")[2].rpartition(")")[0].strip()
        if name == "WithReadyTimeout" and (seconds := _seconds(_given(inside, text))) is not None:
            settings["ready_timeout"] = seconds
        elif name == "WithHeartbeatExtra" and (fields := _map(inside, text)) is not None:
            known = {key: value for key, value in fields.items() if not isinstance(value, GoText)}
            settings["heartbeat_extra"] = known
            unread += [
                (f"heartbeat_extra.{key}", value.text) for key, value in fields.items() if key not in known
            ]
        else:
            keys = {"WithReadyTimeout": "ready_timeout", "WithHeartbeatExtra": "heartbeat_extra"}
            unread.append((keys.get(name, name), inside or option))
    config, service = (_first_text(text, name) for name in ("WithConfigPath", "WithGatewayService"))
    return GoPlugin(path, settings, tuple(unread), config, service)


def _options(called: list[str], program: str) -> Iterator[str]:
    """The options, also those of a list that is given as ``options...``."""
    for option in called:
        name = option.removesuffix("...")
        listed = re.match(r"\[\][\w.]+\s*\{", _given(name, program)) if name != option else None
        if listed is None:
            yield option
            continue
        yield from _parts(_given(name, program), listed.end())
        for appended in re.finditer(rf"\b{name}\s*=\s*append\(\s*{name}\s*,", program):
            yield from _parts(program, appended.end())


def _given(name: str, program: str) -> str:
    """What a program gives a name, if it does so once; else the name itself, or whatever the text is."""
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        return name
    given = list(
        re.finditer(rf"(?<![.\w]){name}\b[ \t]*[\w.*\[\]{{}}]*[ \t]*:?=(?!=|\s*append\()\s*", program)
    )
    return next(_parts(program, given[0].end(), ends=";\n"), name) if len(given) == 1 else name


def _arguments(text: str, function: str) -> list[str]:
    """The arguments of the first call of a function, as text; none where it is not called."""
    call = re.search(rf"\b{function}\(", text)
    return list(_parts(text, call.end())) if call else []


def _parts(text: str, begin: int, ends: str = "") -> Iterator[str]:
    """What commas separate, up to the bracket that closes, or one of ``ends``."""
    depth, part = 0, ""
    for token in re.findall(rf"{_TEXT}|.", text[begin:], re.DOTALL):
        if depth == 0 and (token in tuple(",)}") or token in tuple(ends)):
            if part.strip():
                yield part.strip()
            part = ""
            if token != ",":
                return
            continue
        depth += (token in tuple("([{")) - (token in tuple(")]}"))
        part += token


def _seconds(text: str) -> float | None:
    found = _DURATION.fullmatch(text)
    seconds = float(found[1] or found[3] or 1) * _UNITS[found[2]] if found is not None else None
    return int(seconds) if seconds is not None and seconds.is_integer() else seconds


@frozen
class GoText:
    """Go text whose value only the running program knows."""

    text: str


def _value(text: str, program: str) -> Any:
    """A literal's value, or that of a name which the program gives one once."""
    text = text.strip()
    given = _given(text, program)
    if re.fullmatch(_TEXT, given):
        return given[1:-1] if given.startswith("`") else json.loads(given)
    if re.fullmatch(r"-?\d+(\.\d+)?|true|false", given):
        return json.loads(given)
    if found := re.match(r"(fmt\.Sprintf\(|\[\][\w{}]+?\s*\{)", given):
        items = [_value(item, program) for item in _parts(given, found.end())]
        if any(isinstance(item, GoText) for item in items):
            return GoText(text)
        return items if given.startswith("[") else _formatted(*items)
    return GoText(text)


def _formatted(form: str, *values: Any) -> str:
    """What ``fmt.Sprintf`` makes of it, with the verbs that addresses have."""
    rest = iter(values)
    return re.sub("%[sdv]", lambda _: str(next(rest, "")), form)


def _map(text: str, program: str) -> dict[str, Any] | None:
    """A map's literal, or that of a name, whose values may be unread; None when it is no literal."""
    literal = _given(text, program)
    found = re.match(r"map\[string\](?:interface\{\}|any|string)\s*\{", literal)
    if found is None:
        return None
    fields = {}
    for part in _parts(literal, found.end()):
        name = re.match(rf"({_TEXT})\s*:", part)
        if name is None:
            return None
        fields[str(_value(name[1], program))] = _value(part[name.end() :], program)
    for added in re.finditer(rf"\b{re.escape(text)}\[({_TEXT})\]\s*=(?!=)", program):
        fields[str(_value(added[1], program))] = _value(
            next(_parts(program, added.end(), ";\n"), ""), program
        )
    return fields


def _first_text(text: str, function: str) -> str:
    called = _arguments(text, function)
    value = _value(called[0], text) if called else ""
    return value if isinstance(value, str) else ""
