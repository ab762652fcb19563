"""Reads YAML files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from scfd.config.tree import Broken, Entry, Listing, Node, Scalar, Table, is_null
from scfd.errors import ConfigError, Mistake

#: Larger files are no configs, and a MiB takes PyYAML about two seconds already.
MAX_BYTES = 1024 * 1024


def read(path: str, environ: Mapping[str, str]) -> Table:
    """
    Read a YAML file whose top level is a mapping.

    :param environ: what ``${NAME}`` and ``${NAME:-default}`` are taken from; ``$$`` is a plain ``$``.
    :raises ConfigError: when the file can't be read or is not that. Broken values are left in the
        tree, for `scfd.config.tree.flaws` to tell.
    """
    text = _read_text(path)
    try:
        root = _compose(path, text)
        node = None if root is None else Converter(environ).node(root)
    except (RecursionError, TooDeepError):
        text = f"nested too deeply; expected up to {MAX_DEPTH} levels"
        raise ConfigError([Mistake(path, 0, "", text)]) from None
    except TooLargeError:
        text = f"too many values, aliases counted each time; expected up to {MAX_VALUES}"
        raise ConfigError([Mistake(path, 0, "", text)]) from None
    if node is None or is_null(node):
        raise ConfigError([Mistake(path, 0, "", "the file is empty; expected a mapping of sections")])
    if isinstance(node, Broken):
        raise ConfigError([Mistake(path, node.line, "", node.reason)])
    if not isinstance(node, Table):
        found = "a list" if isinstance(node, Listing) else "a single value"
        text = f"found {found} at the top level; expected a mapping of sections, such as system: {{…}}"
        raise ConfigError([Mistake(path, node.line, "", text)])
    return node


def _read_text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or error
        text = f"can't be read: {reason}; expected a readable YAML file"
        raise ConfigError([Mistake(path, 0, "", text)]) from None
    if len(data) > MAX_BYTES:
        raise ConfigError([Mistake(path, 0, "", "the file is larger than 1 MiB; expected up to that size")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        text = f"byte 0x{data[error.start]:02x} is not UTF-8; expected a file in UTF-8"
        raise ConfigError([Mistake(path, line, "", text)]) from None


#: What YAML takes for a name may be a password: ``token: *hidden``.
_NAMED = re.compile("(alias|anchor|tag handle) '[^']*'")


class _Loader(yaml.SafeLoader):
    """Marks values that have a tag in the file, such as ``!!str``."""

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        tagged = self.peek_event().tag is not None
        node = super().compose_scalar_node(anchor)
        node.tagged = tagged  # type: ignore[attr-defined]
        return node


def _compose(path: str, text: str) -> yaml.Node | None:
    line, reason = 0, ""
    try:
        loader = _Loader(text)
        node: yaml.Node | None = loader.get_single_node()
        return node
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        reason = _NAMED.sub(r"\1", reason)
        reason += _advice(error, text.splitlines()[line - 1 : line])
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reason = f"the character #x{error.character:04x} is not allowed"
    except (ValueError, OverflowError):  # PyYAML lets them through for "\UFFFFFFFF" and for %YAML 1.999…
        line = loader.line + 1
        reason = "a number here is too large"
    raise ConfigError([Mistake(path, line, "", f"not valid YAML: {' '.join(reason.split())}")])


#: What YAML keeps for itself: @daily is a cron expression.
_NO_BEGINNING = re.compile("found character '([@`%])' that cannot start")


def _advice(error: yaml.MarkedYAMLError, lines: list[str]) -> str:
    """What to do about the slips that configs invite: cron expressions and ``${NAME}`` without quotes."""
    if error.context == "while scanning an alias":
        return "; a value that begins with * needs quotes"
    if (found := _NO_BEGINNING.search(error.problem or "")) is not None:
        return f"; a value that begins with {found[1]} needs quotes"
    if error.problem == "mapping values are not allowed here":
        return "; keys of one section need the same indentation, and a value with a colon needs quotes"
    if error.context == "while parsing a flow mapping" and any("${" in line for line in lines):
        return "; between braces a value with ${NAME} needs quotes"
    return ""


#: Aliases can make a few lines stand for billions of values.
MAX_VALUES = 100_000
#: Levels of lists and mappings inside each other; far from where Python itself gives up.
MAX_DEPTH = 100

_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = {_TAG + name for name in ("null", "bool", "int", "float", "str", "timestamp")}
#: What PyYAML lets through for a value that is not what its tag says: !!bool x, !!timestamp x, !!int "", or a
#: date 2026-02-30.
NOT_CONSTRUCTED = (ValueError, OverflowError, KeyError, IndexError, AttributeError)
#: A lone "=" or "<<" as a value: YAML 1.1 has a meaning for it that PyYAML does not construct.
_TEXT_TAGS = {_TAG + "value", _TAG + "merge"}
_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|"
    r"\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<form>:?[-?])(?P<word>(?:[^{}$]|\$\$)*))?\}|(?P<wrong>\{))"
)


#: A key whose value from the environment is this counts as missing.
_NULL = re.compile("(?:~|null)?", re.IGNORECASE)
#: Half of a character beyond U+FFFF: nothing that writes UTF-8 can write it.
_HALF = re.compile("[\ud800-\udfff]")
#: In a shell this is a variable.
_BARE = re.compile(r"\$[A-Z_][A-Z0-9_]*")


class _BrokenError(Exception):
    """The text is a reason for `Broken`."""


class TooLargeError(Exception):
    """There are more than `MAX_VALUES`."""


class TooDeepError(Exception):
    """There are more than `MAX_DEPTH` levels."""


class Converter:
    """
    Makes a tree of PyYAML's nodes, with ``${NAME}`` taken from the environment.

    :param environ: see `scfd.config.source.read`.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._constructor = yaml.constructor.SafeConstructor()
        self._open: set[int] = set()
        self._count = 0

    def node(self, node: yaml.Node) -> Node:
        """
        :raises TooLargeError, TooDeepError: for a file that is out of all proportion. What else is
            wrong becomes `Broken` in the tree.
        """
        line = node.start_mark.line + 1
        self._count += 1
        if self._count > MAX_VALUES:
            raise TooLargeError
        if len(self._open) >= MAX_DEPTH:
            raise TooDeepError
        if id(node) in self._open:
            return Broken(line, "an alias inside of what it stands for; expected an alias to another value")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.ScalarNode):
                return self._scalar(node, line)
            if isinstance(node, yaml.SequenceNode):
                self._check_tag(node, {_TAG + "seq"})
                return Listing(line, tuple(self.node(item) for item in node.value))
            self._check_tag(node, {_TAG + "map"})
            return self._table(node, line)
        except _BrokenError as refused:
            return Broken(line, str(refused))
        finally:
            self._open.discard(id(node))

    def _check_tag(self, node: yaml.Node, accepted: set[str]) -> None:
        if node.tag not in accepted:
            # One of another's may be a password: `token: !hidden`.
            shown = f"the tag {node.tag.replace(_TAG, '!!')!r}" if node.tag.startswith(_TAG) else "a tag"
            raise _BrokenError(f"found {shown}; expected plain values, lists and mappings without tags")

    def _scalar(self, node: yaml.ScalarNode, line: int) -> Scalar:
        text, variables = self._substitute(node.value)
        if variables and node.style is None and not getattr(node, "tagged", False) and _NULL.fullmatch(text):
            return Scalar(line, None, text, variables)
        return Scalar(line, self._value(node.tag, text, node), text, variables)

    def _value(self, tag: str, text: str, node: yaml.ScalarNode) -> Any:
        if _HALF.search(text):  # of "\ud800" in the file, or of bytes in the environment that are not UTF-8
            raise _BrokenError("found text that UTF-8 does not have; expected whole characters")
        if tag in _TEXT_TAGS:
            return text
        self._check_tag(node, _SCALAR_TAGS)
        try:
            return self._constructor.construct_object(yaml.ScalarNode(tag, text))
        except (*NOT_CONSTRUCTED, yaml.YAMLError):
            kind = tag.replace(_TAG, "")
            raise _BrokenError(
                f"looks like a YAML {kind} and is none; expected quotes around it, if it is text"
            ) from None

    def _substitute(self, text: str) -> tuple[str, tuple[str, ...]]:
        variables: list[str] = []

        def value(match: re.Match[str]) -> str:
            if match["dollar"]:
                return "$"
            if match["wrong"]:
                raise _BrokenError(
                    "a ${ without its end or a proper name; write ${NAME} or ${NAME:-default}, or $$ for a $"
                )
            variables.append(match["name"])
            return _variable(match, self._environ)

        if _BARE.fullmatch(text):
            raise _BrokenError(
                "a $ before a name; write ${NAME} for an environment variable, or $$NAME for text with a $"
            )
        return _VARIABLE.sub(value, text), tuple(dict.fromkeys(variables))

    def _table(self, node: yaml.Node, line: int) -> Table:
        entries: dict[Any, Entry] = {}
        duplicates: list[tuple[str, int]] = []
        merged: list[Entry] = []
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                merged.extend(self._merged(value_node))
                continue
            entry = self._entry(key_node, value_node)
            if entry.key in entries:
                duplicates.append((entry.name, entry.line))
            else:
                entries[entry.key] = entry
        for entry in merged:
            entries.setdefault(entry.key, entry)
        return Table(line, tuple(entries.values()), tuple(duplicates))

    def _entry(self, key_node: yaml.Node, value_node: yaml.Node) -> Entry:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise _BrokenError(f"a list or mapping as a key in line {line}; expected plain keys")
        value = self._value(key_node.tag, key_node.value, key_node)
        return Entry(key_node.value, value, line, self.node(value_node))

    def _merged(self, node: yaml.Node) -> list[Entry]:
        """The entries of what follows ``<<``; an earlier one wins."""
        tables = node.value if isinstance(node, yaml.SequenceNode) else [node]
        entries: list[Entry] = []
        for table in map(self.node, tables):
            if isinstance(table, Broken):
                raise _BrokenError(table.reason)
            if not isinstance(table, Table):
                raise _BrokenError(
                    "<< with something else than mappings; expected a mapping or a list of them"
                )
            entries.extend(table.entries)
        return entries


def _variable(match: re.Match[str], environ: Mapping[str, str]) -> str:
    """The value of one ``${…}``, as a shell has it: with the colon an empty variable counts as not set."""
    name, form, word = match["name"], match["form"] or "", (match["word"] or "").replace("$$", "$")
    found = environ.get(name)
    if found is not None and (found or not form.startswith(":")):
        return found
    if form.endswith("-"):
        return word
    if form and word:
        raise _BrokenError(f"the environment variable {name} is not set: {word}")
    raise _BrokenError(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
