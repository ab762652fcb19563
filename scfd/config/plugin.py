"""Checks the ``plugin`` section by the plugin's own attrs class, whose annotations say what is accepted."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

import attrs
from attrs import NOTHING, Attribute, frozen

from scfd.config.checks import SWITCH, TEXT, ScalarCheck, meaning, parse_text, parse_whole
from scfd.config.findings import WRONG, Findings, is_secret, shown
from scfd.config.schema import CHECK, Check, FreeForm, ListOf, MapOf, key, read_keys, read_value
from scfd.config.tree import Node, Scalar, Table, is_odd_number, join, plain
from scfd.errors import StartupError

_NONE = type(None)
WHOLE = ScalarCheck("a whole number", parse_whole)
_TYPES = "str, int, float, bool, Path, Literal, Enum, an attrs class, list, tuple, set, dict, X | Y, Any"


def _parse_number(node: Scalar) -> float:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or is_odd_number(node.text):
        raise ValueError
    try:
        return float(value)
    except OverflowError:
        raise ValueError from None


NUMBER = ScalarCheck("a number", _parse_number)
_SCALARS: dict[Any, Check] = {
    str: TEXT,
    bool: SWITCH,
    int: WHOLE,
    float: NUMBER,
    Path: ScalarCheck("a path", lambda node: Path(parse_text(node))),
}
_LISTS = {list: list, Sequence: tuple, Collection: tuple, set: set, frozenset: frozenset}


class SettingsOf:
    """
    A mapping that becomes an object of an attrs class which knows nothing of scfd.

    An attribute is a key; its annotation says what is accepted, its default makes it optional, its validator
    has the last word, and with ``repr=False`` its value is never shown. One that is made with
    `scfd.config.schema.key` has a check of its own.

    :ivar keys: a class with its keys, as the sections of the node are.
    :raises StartupError: the class is none, or has an annotation that a config can't have.
    """

    def __init__(self, cls: type) -> None:
        if not (isinstance(cls, type) and attrs.has(cls)):
            raise StartupError(f"settings_class: found {cls!r}; expected a class of attrs, such as @frozen")
        try:
            hints = typing.get_type_hints(cls)
        except RecursionError:
            raise
        except Exception as error:  # a name that only a type checker knows
            text = f"settings_class {cls.__name__}: {error}; expected annotations that exist when it runs"
            raise StartupError(text) from None
        self._cls = cls
        self._attributes = {_name(each): each for each in attrs.fields(cls) if each.init}
        try:
            keys = {
                name: _key(attribute, hints.get(attribute.name, Any), cls)
                for name, attribute in self._attributes.items()
            }
        except RecursionError:
            text = f"settings_class {cls.__name__} contains itself; expected dict or Any in place of it"
            raise StartupError(text) from None
        self.keys = attrs.make_class(cls.__name__, keys)
        self.keys.__doc__ = cls.__doc__

    @property
    def accepted(self) -> str:
        return f"a mapping with {', '.join(self._attributes)}"

    def read(self, node: Node, key: str, findings: Findings) -> Any:
        if not isinstance(node, Table):
            return findings.refuse(node, key, self.accepted)
        values = read_keys(self.keys, node, key, findings)
        if WRONG in values.values():
            return WRONG
        try:
            # Each validator is asked below, so that one refusal does not hide another.
            with attrs.validators.disabled():
                settings = self._cls(**{_parameter(self._attributes[name]): values[name] for name in values})
        except Exception as error:
            # Of a converter, or __attrs_post_init__: for the author of the plugin to say.
            findings.mistake(node.line, key, f"{self._cls.__name__} refuses it: {error}")
            return WRONG
        valid = [self._is_valid(settings, name, node, key, findings) for name in self._attributes]
        return settings if all(valid) else WRONG

    def _is_valid(self, settings: Any, name: str, table: Table, key: str, findings: Findings) -> bool:
        attribute, entry = self._attributes[name], table.get(name)
        if attribute.validator is None:
            return True
        try:
            attribute.validator(settings, attribute, getattr(settings, attribute.name))
        except Exception as error:
            node, where = entry.node if entry else Scalar(table.line, None, ""), join(key, name)
            # The words of a validator have the value in them.
            if attribute.repr is False:
                text = "found a value that is kept secret; expected what its validator accepts"
            elif is_secret(where) or (isinstance(node, Scalar) and node.variables):
                text = f"found {shown(node, where)}; expected what its validator accepts"
            else:
                text = f"found {shown(node, where)}; expected what passes its validator: {_first(error)}"
            findings.mistake(node.line, where, text)
            return False
        return True


def _key(attribute: Attribute[Any], hint: Any, cls: type) -> Any:
    check = attribute.metadata.get(CHECK) or check_of(hint, f"{cls.__name__}.{attribute.name}")
    if attribute.repr is False:
        return key(Hidden(check), NOTHING if attribute.default is NOTHING else None)
    # The class itself makes its defaults; here they are shown to people.
    shown = attribute.default is NOTHING or isinstance(attribute.default, (str, int, float))
    return key(check, attribute.default if shown else None)


def _first(error: Exception) -> str:
    """The words of an error; attrs adds the attribute, the type and the value as further arguments."""
    return str(error.args[0] if error.args else error) or type(error).__name__


def _name(attribute: Attribute[Any]) -> str:
    return attribute.name.lstrip("_")


def _parameter(attribute: Attribute[Any]) -> str:
    return attribute.alias or _name(attribute)


def check_of(hint: Any, where: str) -> Check:
    """
    The check that an annotation means.

    :param where: class and attribute, for a message.
    :raises StartupError: it means nothing that a config can have.
    """
    if hint in (Any, object):
        return Anything()
    if hint in _SCALARS:
        return _SCALARS[hint]
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Annotated:
        return check_of(arguments[0], where)
    if origin in (Union, types.UnionType):
        return _any_of([check_of(each, where) for each in arguments if each is not _NONE])
    if origin is Literal:
        return _choice({str(each): each for each in arguments})
    if isinstance(origin, type) and issubclass(origin, enum.Enum):
        return _choice({str(each.value): each for each in origin})
    if origin in _LISTS or (origin is tuple and arguments[1:] in ((), (...,))):
        item = check_of(arguments[0] if arguments else Any, where)
        return ListOf(item, make=_LISTS.get(origin, tuple))
    if origin in (dict, Mapping):
        if arguments and arguments[0] in (str, Any):
            each = check_of(arguments[1], where)
            return MapOf(f"a mapping, each value {each.accepted}", each=each)
        return FreeForm()
    if isinstance(origin, type) and attrs.has(origin):
        return SettingsOf(origin)
    text = f"settings_class: {where} has the type {hint!r}, which a config can't have; expected {_TYPES}"
    raise StartupError(text)


def _choice(values: Mapping[str, Any]) -> Check:
    return ScalarCheck(
        " or ".join(values), lambda node: meaning(values, node.text), schema={"enum": list(values)}
    )


def _any_of(checks: Sequence[Check]) -> Check:
    return checks[0] if len(checks) == 1 else AnyOf(tuple(checks))


@frozen
class AnyOf:
    """The first check that accepts a value reads it."""

    checks: tuple[Check, ...]

    @property
    def accepted(self) -> str:
        return ", or ".join(check.accepted for check in self.checks)

    def read(self, node: Node, key: str, findings: Findings) -> Any:
        for check in self.checks:
            inside = Findings(findings.path)
            value = read_value(check, node, key, inside)
            if not inside.mistakes and value is not WRONG:
                return value
        return findings.refuse(node, key, self.accepted)


@frozen
class Anything:
    accepted: str = "any value"

    def read(self, node: Node, key: str, findings: Findings) -> Any:
        return plain(node)


@frozen
class Hidden:
    """A value that no message shows."""

    check: Check

    @property
    def accepted(self) -> str:
        return self.check.accepted

    def read(self, node: Node, key: str, findings: Findings) -> Any:
        inside = Findings(findings.path)
        value = read_value(self.check, node, key, inside)
        for mistake in inside.mistakes:
            text = f"found a value that is kept secret; expected {self.accepted}"
            findings.mistake(mistake.line, mistake.key, text)
        return value
