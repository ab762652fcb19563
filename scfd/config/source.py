"""YAML files as trees whose values know their line, with ``${NAME}`` taken from the environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from attrs import field, frozen

from scfd.errors import ConfigError, Mistake

#: Larger files are no configs; PyYAML reads about 100 KB a second.
MAX_BYTES = 1024 * 1024
#: Aliases can make a few lines stand for billions of values.
MAX_VALUES = 100_000

_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = {_TAG + name for name in ("null", "bool", "int", "float", "str", "timestamp")}
#: A lone "=" or "<<" as a value: YAML 1.1 has a meaning for it that PyYAML does not construct.
_TEXT_TAGS = {_TAG + "value", _TAG + "merge"}
_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<wrong>\{))"
)


@frozen
class Scalar:
    """
    :ivar line: 1 for the first.
    :ivar value: as YAML resolves it: None, bool, int, float, str, date or datetime.
    :ivar text: as it is written, after ``${NAME}``.
    :ivar variables: the environment variables it was made with.
    """

    line: int
    value: Any = field(repr=False)
    text: str = field(repr=False)
    variables: tuple[str, ...] = ()


@frozen
class Listing:
    """
    :ivar line: of its first item.
    """

    line: int
    items: tuple[Node, ...]


@frozen
class Entry:
    """
    One key of a table.

    :ivar name: the key as it is written.
    :ivar key: the key as YAML resolves it.
    :ivar line: of the key.
    """

    name: str
    key: Any
    line: int
    node: Node


@frozen
class Table:
    """
    A YAML mapping.

    :ivar duplicates: keys that it has already, with their lines; the first one stands.
    """

    line: int
    entries: tuple[Entry, ...] = ()
    duplicates: tuple[tuple[str, int], ...] = ()

    def get(self, name: str) -> Entry | None:
        """The entry of that name; None when there is none, and when it is null."""
        for entry in self.entries:
            if entry.name == name:
                return None if is_null(entry.node) else entry
        return None


@frozen
class Broken:
    """
    A value that can't be had.

    :ivar reason: why, and what would be right, for the user.
    """

    line: int
    reason: str


Node = Scalar | Listing | Table | Broken


def is_null(node: Node) -> bool:
    """Whether a value is written as null, or not at all."""
    return isinstance(node, Scalar) and node.value is None


def join(key: str, name: str) -> str:
    """The path of a key inside another, on one line whatever the name holds."""
    shown = name if name.isprintable() else repr(name)
    return f"{key}.{shown}" if key else shown


def plain(node: Node) -> Any:
    """The tree as dicts, lists and values; what is broken as None."""
    if isinstance(node, Table):
        return {entry.key: plain(entry.node) for entry in node.entries}
    if isinstance(node, Listing):
        return [plain(item) for item in node.items]
    return node.value if isinstance(node, Scalar) else None


def flaws(path: str, node: Node, key: str = "") -> Iterator[Mistake]:
    """What is wrong with a tree whatever it is meant to be: broken values and duplicate keys."""
    if isinstance(node, Broken):
        yield Mistake(path, node.line, key, node.reason)
    elif isinstance(node, Listing):
        for index, item in enumerate(node.items):
            yield from flaws(path, item, f"{key}[{index}]")
    elif isinstance(node, Table):
        for name, line in node.duplicates:
            yield Mistake(path, line, join(key, name), "this key is there already; accepted is each key once")
        for entry in node.entries:
            yield from flaws(path, entry.node, join(key, entry.name))


def read(path: str, environ: Mapping[str, str]) -> Table:
    """
    Read a YAML file whose top level is a mapping.

    :param environ: what ``${NAME}`` and ``${NAME:-default}`` are taken from; ``$$`` is a plain ``$``.
    :raises ConfigError: when the file can't be read or is not that. Broken values are left in the
        tree, for `flaws` to tell.
    """
    text = _read_text(path)
    try:
        root = _compose(path, text)
        node = None if root is None else _Converter(environ).node(root)
    except RecursionError:
        raise ConfigError(
            [Mistake(path, 0, "", "nested too deeply; accepted are a hundred levels")]
        ) from None
    except _TooLargeError:
        text = f"more than {MAX_VALUES} values, aliases counted each time; accepted are fewer"
        raise ConfigError([Mistake(path, 0, "", text)]) from None
    if node is None or is_null(node):
        raise ConfigError([Mistake(path, 0, "", "the file is empty; accepted is a mapping of sections")])
    if isinstance(node, Broken):
        raise ConfigError([Mistake(path, node.line, "", node.reason)])
    if not isinstance(node, Table):
        found = "a list" if isinstance(node, Listing) else "a single value"
        text = f"found {found} at the top level; accepted is a mapping of sections, such as system: {{…}}"
        raise ConfigError([Mistake(path, node.line, "", text)])
    return node


def _read_text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or error
        text = f"can't be read: {reason}; accepted is a readable YAML file"
        raise ConfigError([Mistake(path, 0, "", text)]) from None
    if len(data) > MAX_BYTES:
        raise ConfigError(
            [Mistake(path, 0, "", "the file is larger than 1 MiB; accepted is up to that size")]
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        text = f"byte 0x{data[error.start]:02x} is not UTF-8; accepted is a file in UTF-8"
        raise ConfigError([Mistake(path, line, "", text)]) from None


def _compose(path: str, text: str) -> yaml.Node | None:
    line, reason = 0, ""
    try:
        loader = yaml.SafeLoader(text)
        node: yaml.Node | None = loader.get_single_node()
        return node
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        if error.context == "while scanning an alias":
            reason += "; a value that begins with * needs quotes"
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reason = f"the character #x{ord(error.character):04x} is not allowed"
    except (ValueError, OverflowError):  # PyYAML lets them through for "\UFFFFFFFF" and for %YAML 1.999…
        line = loader.line + 1
        reason = "a number here is too large"
    raise ConfigError([Mistake(path, line, "", f"not valid YAML: {' '.join(reason.split())}")])


class _BrokenError(Exception):
    """The text is a reason for `Broken`."""


class _TooLargeError(Exception):
    """There are more than `MAX_VALUES`."""


class _Converter:
    """Makes our tree of PyYAML's nodes."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._resolver = yaml.resolver.Resolver()
        self._constructor = yaml.constructor.SafeConstructor()
        self._open: set[int] = set()
        self._count = 0

    def node(self, node: yaml.Node) -> Node:
        line = node.start_mark.line + 1
        self._count += 1
        if self._count > MAX_VALUES:
            raise _TooLargeError
        if id(node) in self._open:
            return Broken(
                line, "an alias inside of what it stands for; accepted is an alias to another value"
            )
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
            shown = node.tag.replace(_TAG, "!!")
            raise _BrokenError(
                f"found the tag {shown!r}; accepted are plain values, lists and mappings without tags"
            )

    def _scalar(self, node: yaml.ScalarNode, line: int) -> Scalar:
        text, variables = self._substitute(node.value)
        tag = node.tag
        if variables and node.style is None and tag == _TAG + "str":
            tag = self._resolver.resolve(yaml.ScalarNode, text, (True, False))
        return Scalar(line, self._value(tag, text, node), text, variables)

    def _value(self, tag: str, text: str, node: yaml.ScalarNode) -> Any:
        if tag in _TEXT_TAGS:
            return text
        self._check_tag(node, _SCALAR_TAGS)
        try:
            return self._constructor.construct_object(yaml.ScalarNode(tag, text))
        except (ValueError, OverflowError, KeyError, IndexError, yaml.YAMLError):
            kind = tag.replace(_TAG, "")
            raise _BrokenError(
                f"a value that looks like a YAML {kind} and is none; if it is text, quote it"
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
            name, default = match["name"], match["default"]
            variables.append(name)
            found = self._environ.get(name)
            if default is not None and not found:
                return default
            if found is None:
                raise _BrokenError(
                    f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
                )
            return found

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
            raise _BrokenError(f"a list or mapping as a key in line {line}; accepted are plain keys")
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
                    "<< with something else than mappings; accepted are a mapping or a list of them"
                )
            entries.extend(table.entries)
        return entries
