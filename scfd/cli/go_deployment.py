"""
What the files of a Go framework's deployment say of its plugin: the start script, and the Go program.

The program is read as text. What it computes is not known, and said to be so.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

#: The script that starts a function on SCF. With the Go framework it starts the plugin in the background,
#: then its own program.
_BOOTSTRAP = "scf_bootstrap"
_IN_BACKGROUND = re.compile(r"(?m)^[ \t]*(?:nohup )?([^#&|;<>\n]+?)[ \t]*(?:[0-9]?>.*)?(?<!&)&[ \t]*$")
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
    """

    path: Path
    settings: Mapping[str, Any]
    unread: tuple[tuple[str, str], ...] = ()
    config: str = ""
    service: str = ""


def command_of(folder: Path) -> list[str]:
    """The command that the start script of a folder, or of the one above, runs in the background, if any."""
    for script in (folder / _BOOTSTRAP, folder.parent / _BOOTSTRAP):
        try:
            found = _IN_BACKGROUND.search(script.read_text())
            if found is not None:
                return shlex.split(found[1])
        except (OSError, ValueError):
            continue
    return []


def plugin_of(folder: Path) -> GoPlugin | None:
    """The plugin that a Go program in or below a folder calls over HTTP; of several programs the first."""
    for path in sorted(folder.rglob("*.go"), key=lambda path: (len(path.parts), path)):
        if path.name.endswith("_test.go") or "vendor" in path.parts:
            continue
        try:
            text = _COMMENT.sub(lambda found: found[1] or " ", path.read_text()[:_MOST])
        except (OSError, ValueError):
            continue
        if called := _arguments(text, "NewHTTPPluginAdapter"):
            return _read(path, text, called)
    return None


def _read(path: Path, text: str, called: list[str]) -> GoPlugin:
    settings: dict[str, Any] = {}
    unread: list[tuple[str, str]] = []
    for key, argument in zip(("name", "url"), called, strict=False):
        value = _value(argument, text)
        if isinstance(value, str):
            settings[key] = value
        else:
            unread.append((key, argument))
    for option in called[2:]:
        name = option.partition("(")[0].rpartition(".")[2] if "(" in option else option
        inside = option.partition("(")[2].rpartition(")")[0].strip()
        if name == "WithReadyTimeout" and (seconds := _seconds(inside)) is not None:
            settings["ready_timeout"] = seconds
        elif name == "WithHeartbeatExtra" and (fields := _map(inside, text)) is not None:
            known = {key: value for key, value in fields.items() if not isinstance(value, Unread)}
            settings["heartbeat_extra"] = known
            unread += [
                (f"heartbeat_extra.{key}", value.text) for key, value in fields.items() if key not in known
            ]
        else:
            keys = {"WithReadyTimeout": "ready_timeout", "WithHeartbeatExtra": "heartbeat_extra"}
            unread.append((keys.get(name, name), inside or option))
    config, service = (_first_text(text, name) for name in ("WithConfigPath", "WithGatewayService"))
    return GoPlugin(path, settings, tuple(unread), config, service)


def _arguments(text: str, function: str) -> list[str]:
    """The arguments of the first call of a function, as text; none where it is not called."""
    call = re.search(rf"\b{function}\(", text)
    return list(_parts(text, call.end())) if call else []


def _parts(text: str, begin: int) -> Iterator[str]:
    """What commas separate, up to the bracket that closes."""
    depth, part = 0, ""
    for token in re.findall(rf"{_TEXT}|.", text[begin:], re.DOTALL):
        if depth == 0 and token in ",)}":
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
    return None if found is None else float(found[1] or found[3] or 1) * _UNITS[found[2]]


@frozen
class Unread:
    """Go text whose value only the running program knows."""

    text: str


def _value(text: str, program: str) -> Any:
    """A literal's value, or that of a name which the program gives one once."""
    text = text.strip()
    if re.fullmatch(_TEXT, text):
        return text[1:-1] if text.startswith("`") else json.loads(text)
    if re.fullmatch(r"-?\d+(\.\d+)?|true|false", text):
        return json.loads(text)
    if found := re.match(r"\[\][\w{}]+?\s*\{", text):
        items = [_value(item, program) for item in _parts(text, found.end())]
        return Unread(text) if any(isinstance(item, Unread) for item in items) else items
    if re.fullmatch(r"\w+", text):
        values = re.findall(rf"\b{text}\b[ \t]*(?:string[ \t]*)?:?=[ \t]*({_TEXT})", program)
        if len(values) == 1:
            return _value(values[0], program)
    return Unread(text)


def _map(text: str, program: str) -> dict[str, Any] | None:
    """A map's literal, whose values may be unread; None when it is no literal."""
    found = re.match(r"map\[string\](?:interface\{\}|any|string)\s*\{", text)
    if found is None:
        return None
    fields = {}
    for part in _parts(text, found.end()):
        name = re.match(rf"({_TEXT})\s*:", part)
        if name is None:
            return None
        fields[str(_value(name[1], program))] = _value(part[name.end() :], program)
    return fields


def _first_text(text: str, function: str) -> str:
    called = _arguments(text, function)
    value = _value(called[0], text) if called else ""
    return value if isinstance(value, str) else ""
