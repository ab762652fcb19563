"""
Checks a tree against classes that are their own schema.

A section of a config is an attrs class; each attribute made by `key` is a key of that section, and
carries the check of its value. What is wrong is collected, so that all of it is reported at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from attrs import NOTHING, Attribute, Factory, field, fields, fields_dict, frozen, make_class

from scfd.config.checks import FILLED_TEXT, TEXT, ScalarCheck, json_fault, meaning
from scfd.config.findings import WRONG, Findings
from scfd.config.tree import Broken, Entry, Listing, Node, Scalar, Table, is_null, join, odd_numbers, plain

CHECK = "check"
#: What keys were called once, where the new name is nothing like the old one.
FORMER_NAMES = {"control": "admin", "moox": "control_plane", "max_answer": "max_response"}
#: A class with an attribute of this name is told which of its keys the file has.
EXPLICIT = "explicit"


class Check(Protocol):
    """Reads a value of a tree."""

    @property
    def accepted(self) -> str:
        """How a message says what is accepted."""

    def read(self, node: Node, key: str, findings: Findings) -> Any:
        """:returns: the value, or `WRONG` when a mistake was noted."""


def key(
    check: Check,
    default: Any = NOTHING,
    *,
    factory: Callable[[], Any] | None = None,
    repr: bool | Callable[[Any], str] = True,
) -> Any:
    """
    An attribute that is a key of the file.

    :param default: for a key that is missing or null; without it and ``factory`` the key is required.
    :param repr: as attrs has it; False for secrets.
    """
    default = default if factory is None else Factory(factory)
    return field(default=default, repr=repr, metadata={CHECK: check})


def keys_of(section: type) -> Mapping[str, Attribute[Any]]:
    """The keys of a section's class, by name."""
    return {attribute.name: attribute for attribute in fields(section) if CHECK in attribute.metadata}


def read_value(check: Check, node: Node, key: str, findings: Findings) -> Any:
    """
    :returns: the value, or `WRONG` when a mistake was noted, and for broken values, which
        `tree.flaws` tells.
    """
    return WRONG if isinstance(node, Broken) else check.read(node, key, findings)


def read_keys(section: type, table: Table, key: str, findings: Findings) -> dict[str, Any]:
    """
    :returns: the values of the keys that are there, `WRONG` for the wrong ones and for missing ones
        that are required. Other missing ones are left out.
    """
    attributes = keys_of(section)
    unused = getattr(section, "unused_keys", ())
    for entry in table.entries:
        if entry.name in unused:
            findings.warning(entry.line, join(key, entry.name), "not used by scfd")
        elif entry.name not in attributes:
            _note_unknown(entry, attributes, key, findings)
    values = {}
    for name, attribute in attributes.items():
        # What of these is secret, the names of keys and options say.
        if attribute.repr is False and name not in ("plugin", "command"):
            findings.secrets.add(join(key, name))
        entry_or_none = _entry(table, name, attribute.metadata[CHECK])
        if entry_or_none is not None:
            values[name] = read_value(
                attribute.metadata[CHECK], entry_or_none.node, join(key, name), findings
            )
        elif attribute.default is NOTHING:
            text = f"is missing; expected {attribute.metadata[CHECK].accepted}"
            findings.mistake(table.line, join(key, name), text)
            values[name] = WRONG
    return values


def _entry(table: Table, name: str, check: Check) -> Entry | None:
    """The entry of a key, unless it is null; some sections are there also when they are empty."""
    for entry in table.entries:
        if entry.name == name and (not is_null(entry.node) or getattr(check, "may_be_empty", False)):
            return entry
    return None


def _note_unknown(entry: Entry, known: Collection[str], key: str, findings: Findings) -> None:
    import difflib  # a millisecond, for mistakes alone

    former, name = FORMER_NAMES.get(entry.name), entry.name.lower()
    nearest = [former] if former in known else difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]}?" if nearest else ";"
    findings.mistake(entry.line, join(key, entry.name), f"unknown key{hint} expected {', '.join(known)}")


@frozen
class Section:
    """
    A mapping that becomes an object of an attrs class.

    :ivar may_be_empty: whether a section without anything in it stands for its defaults; otherwise
        it counts as missing.
    """

    cls: type
    may_be_empty: bool = False

    @property
    def accepted(self) -> str:
        return f"a mapping with {', '.join(keys_of(self.cls))}"

    def read(self, node: Node, key: str, findings: Findings, **given: Any) -> Any:
        """:param given: attributes that the file has elsewhere."""
        if self.may_be_empty and is_null(node):
            node = Table(node.line)
        if not isinstance(node, Table):
            hide = any(attribute.repr is False for attribute in keys_of(self.cls).values())
            return findings.refuse(node, key, self.accepted, hide)
        values = read_keys(self.cls, node, key, findings)
        if WRONG in values.values():
            return WRONG
        if EXPLICIT in fields_dict(self.cls):
            given[EXPLICIT] = frozenset(values)
        return self.cls(**given, **values)


@frozen
class ListOf:
    """A list that becomes a tuple.

    :ivar least: how many items it has at least.
    :ivar or_one: whether a single item may be written without a list.
    :ivar make: what becomes of the tuple.
    """

    item: Check
    least: int = 0
    or_one: bool = False
    make: Callable[[tuple[Any, ...]], Any] = tuple

    @property
    def accepted(self) -> str:
        one = f"{self.item.accepted}, or " if self.or_one else ""
        return f"{one}a list{' that is not empty' if self.least else ''}, each item {self.item.accepted}"

    def read(self, node: Node, key: str, findings: Findings) -> Any:
        if self.or_one and isinstance(node, Scalar):
            value = read_value(self.item, node, key, findings)
            return WRONG if value is WRONG else (value,) if value else ()
        if not isinstance(node, Listing) or len(node.items) < self.least:
            return findings.refuse(node, key, self.accepted)
        values = tuple(
            read_value(self.item, item, f"{key}[{index}]", findings) for index, item in enumerate(node.items)
        )
        return WRONG if WRONG in values else self.make(values)


@frozen
class FreeForm:
    """A mapping of anything.

    :ivar json: whether JSON must be able to carry it.
    """

    json: bool = False

    @property
    def accepted(self) -> str:
        return (
            "a mapping of JSON values (no dates, no .nan or .inf, keys that are text)"
            if self.json
            else "a mapping"
        )

    def read(self, node: Node, key: str, findings: Findings) -> Any:
        if not isinstance(node, Table):
            return findings.refuse(node, key, self.accepted)
        odd = list(odd_numbers(node, key))
        for number, where in odd:
            found = f"found {number.text}, which YAML reads as {number.value}"
            findings.mistake(number.line, where, f"{found}; expected {number.value}, or quotes for text")
        if odd:
            return WRONG
        value = plain(node)
        if self.json and json_fault(value):
            findings.mistake(
                node.line, key, f"found a value that JSON does not have; expected {self.accepted}"
            )
            return WRONG
        return value


@frozen
class MapOf:
    """
    A mapping of names to values of one kind.

    :ivar accepted: how a message says what is accepted.
    :ivar name: what a name may be, as a regular expression.
    :ivar each: the check of each value.
    """

    accepted: str
    name: str = "(?s:.*)"
    each: Check = TEXT

    def read(self, node: Node, key: str, findings: Findings) -> Any:
        if not isinstance(node, Table):
            return findings.refuse(node, key, self.accepted)
        values: dict[str, Any] = {}
        for entry in node.entries:
            where = join(key, entry.name)
            if not re.fullmatch(self.name, entry.name):
                findings.mistake(entry.line, key, f"found the name {entry.name!r}; expected {self.accepted}")
            values[entry.name] = read_value(self.each, entry.node, where, findings)
        return WRONG if WRONG in values.values() else values


@frozen
class _RawTable:
    """A mapping whose check depends on something else: it stays as it is."""

    accepted: str = "a mapping"

    def read(self, node: Node, key: str, findings: Findings) -> Any:
        if isinstance(node, Table):
            return node
        return findings.refuse(node, key, self.accepted, hide=True)


@frozen
class OneOf:
    """
    A mapping with ``name``, ``type`` and ``settings``, whose type says what the settings are.

    :ivar what: what it is one of, for messages.
    :ivar kinds: classes by type; an object of one gets ``name``, and the settings as its keys.
    """

    what: str
    kinds: Mapping[str, type]
    # Made once: as many triggers as a config has are read with it.
    _outside: type = field(init=False, repr=False)

    @_outside.default
    def _make_outside(self) -> type:
        accepted = f"a {self.what} type: {' or '.join(self.kinds)}"
        kinds = ScalarCheck(accepted, lambda node: meaning(self.kinds, node.text))
        checks = {"name": key(FILLED_TEXT), "type": key(kinds), "settings": key(_RawTable(), default=None)}
        return make_class("Outside", checks)

    @property
    def accepted(self) -> str:
        return f"a mapping with name, type ({' or '.join(self.kinds)}) and settings"

    def read(self, node: Node, key: str, findings: Findings) -> Any:
        if not isinstance(node, Table):
            return findings.refuse(node, key, self.accepted)
        values = read_keys(self._outside, node, key, findings)
        inside = values.get("settings", Table(node.line))
        if values["type"] is WRONG or inside is WRONG:
            return WRONG
        value = Section(values["type"]).read(inside, join(key, "settings"), findings, name=values["name"])
        return WRONG if values["name"] is WRONG else value
