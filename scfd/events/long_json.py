"""Decodes long JSON in a thread without keeping the other threads from running."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from json import JSONDecodeError
from sys import intern
from typing import Any, ParamSpec, TypeVar

from scfd.events.wire import DECODER, from_json

#: Bytes; a shorter body is decoded in 2 ms.
LONG = 128 << 10
#: Levels of nesting that are taken apart here: a task is on the fifth of a heartbeat's response.
_LEVELS = 4
_SPACE = re.compile(r"[ \t\n\r]*")


P = ParamSpec("P")
T = TypeVar("T")


def without_collections(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    Call a function that makes many values, for a thread: for the second or so that it takes there is no
    garbage collection. Each full one would walk through all of these, and hold every thread for 20 ms.
    """
    gc.disable()
    try:
        return function(*args, **kwargs)
    finally:
        gc.enable()


def from_long_json(data: bytes) -> Any:
    """
    The same as `from_json`, in short steps when the data is long: C code that decodes a list of 100,000
    tasks at once keeps every other thread waiting for 0.3 s.

    :raises ValueError: as `from_json` does.
    """
    if len(data) < LONG:
        return from_json(data)
    text = data.decode("utf-8")
    try:
        value, end = _value(text, _skip(text, 0), _LEVELS)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _skip(text, end) != len(text):
        raise JSONDecodeError("Extra data", text, end)
    return value


def _skip(text: str, index: int) -> int:
    found = _SPACE.match(text, index)
    return found.end() if found else index


def _value(text: str, index: int, levels: int) -> tuple[Any, int]:
    if levels and text[index : index + 1] in ("{", "["):
        return (_object if text[index] == "{" else _array)(text, index + 1, levels - 1)
    return DECODER.raw_decode(text, index)


def _array(text: str, index: int, levels: int) -> tuple[list[Any], int]:
    values: list[Any] = []
    index = _skip(text, index)
    if text[index : index + 1] == "]":
        return values, index + 1
    while True:
        value, index = _value(text, index, levels)
        values.append(_with_shared_names(value))
        index, ended = _after_item(text, index, "]")
        if ended:
            return values, index


def _object(text: str, index: int, levels: int) -> tuple[dict[str, Any], int]:
    values: dict[str, Any] = {}
    index = _skip(text, index)
    if text[index : index + 1] == "}":
        return values, index + 1
    while True:
        if text[index : index + 1] != '"':
            raise JSONDecodeError("Expecting property name enclosed in double quotes", text, index)
        name, index = DECODER.raw_decode(text, index)
        index = _skip(text, index)
        if text[index : index + 1] != ":":
            raise JSONDecodeError("Expecting ':' delimiter", text, index)
        values[name], index = _value(text, _skip(text, index + 1), levels)
        index, ended = _after_item(text, index, "}")
        if ended:
            return values, index


def _with_shared_names(value: Any) -> Any:
    """Names that 100,000 objects have in common are kept once, as when all are decoded in one go."""
    return {intern(name): item for name, item in value.items()} if isinstance(value, dict) else value


def _after_item(text: str, index: int, closing: str) -> tuple[int, bool]:
    """:returns: where the next item begins, or what follows the container; and whether that has ended."""
    index = _skip(text, index)
    mark = text[index : index + 1]
    if mark == closing:
        return index + 1, True
    if mark != ",":
        raise JSONDecodeError("Expecting ',' delimiter", text, index)
    return _skip(text, index + 1), False
