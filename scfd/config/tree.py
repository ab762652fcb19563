"""What a YAML file holds, as a tree whose values know their line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from attrs import field, frozen

from scfd.errors import Mistake

_ODD_NUMBER = re.compile(r"[-+]?(?:0[0-9_]+|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)")


@frozen
class Scalar:
    """
    :ivar line: 1 for the first.
    :ivar value: as YAML resolves it: None, bool, int, float, str, date or datetime. With ``${NAME}`` it is
        text, or None for nothing, unless a tag says otherwise.
    :ivar text: as it is written, after ``${NAME}``.
    :ivar variables: the environment variables it was made with.
    """

    line: int
    value: Any = field(repr=False)
    text: str = field(repr=False)
    variables: tuple[str, ...] = ()


@frozen
class Listing:
    """:ivar line: of its first item."""

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


def is_odd_number(text: str) -> bool:
    """Whether YAML 1.1 has a meaning for a number that nobody means: 010 is 8, and 12:30 is 750."""
    return _ODD_NUMBER.fullmatch(text) is not None


def walk(node: Node, key: str = "", line: int = 0) -> Iterator[tuple[str, int, Node]]:
    """Each value in a tree, itself included: its key, the key's line, and the value."""
    yield key, line or node.line, node
    if isinstance(node, Table):
        for entry in node.entries:
            yield from walk(entry.node, join(key, entry.name), entry.line)
    elif isinstance(node, Listing):
        for index, item in enumerate(node.items):
            yield from walk(item, f"{key}[{index}]")


def odd_numbers(node: Node, key: str) -> Iterator[tuple[Scalar, str]]:
    """Such numbers in a tree, with their keys."""
    for where, _, value in walk(node, key):
        if isinstance(value, Scalar) and isinstance(value.value, (int, float)) and is_odd_number(value.text):
            yield value, where


def join(key: str, name: str) -> str:
    """The path of a key inside another, on one line whatever the name holds."""
    shown = name if name and name.isprintable() else repr(name)
    return f"{key}.{shown}" if key else shown


def plain(node: Node) -> Any:
    """
    The tree as dicts, lists and values; what is broken as None.

    What the environment gave is text, even an empty one: an account 123 is no number.
    """
    if isinstance(node, Table):
        return {entry.key: plain(entry.node) for entry in node.entries}
    if isinstance(node, Listing):
        return [plain(item) for item in node.items]
    if not isinstance(node, Scalar):
        return None
    return node.text if node.variables and node.value is None else node.value


def flaws(path: str, node: Node, key: str = "") -> Iterator[Mistake]:
    """What is wrong with a tree whatever it is meant to be: broken values and duplicate keys."""
    for where, _, value in walk(node, key):
        if isinstance(value, Broken):
            yield Mistake(path, value.line, where, value.reason)
        elif isinstance(value, Table):
            for name, line in value.duplicates:
                text = "this key is there already; expected each key once"
                yield Mistake(path, line, join(where, name), text)
