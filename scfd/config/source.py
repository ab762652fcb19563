"""Reads YAML files."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from scfd.config.convert import MAX_DEPTH, MAX_VALUES, Converter, TooDeepError, TooLargeError
from scfd.config.tree import Broken, Listing, Table, is_null
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
        text = f"nested too deeply; accepted are up to {MAX_DEPTH} levels"
        raise ConfigError([Mistake(path, 0, "", text)]) from None
    except TooLargeError:
        text = f"too many values, aliases counted each time; accepted are up to {MAX_VALUES}"
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
        reason += _advice(error, text.splitlines()[line - 1 : line])
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reason = f"the character #x{error.character:04x} is not allowed"
    except (ValueError, OverflowError):  # PyYAML lets them through for "\UFFFFFFFF" and for %YAML 1.999…
        line = loader.line + 1
        reason = "a number here is too large"
    raise ConfigError([Mistake(path, line, "", f"not valid YAML: {' '.join(reason.split())}")])


def _advice(error: yaml.MarkedYAMLError, lines: list[str]) -> str:
    """What to do about the slips that configs invite: cron expressions and ``${NAME}`` without quotes."""
    if error.context == "while scanning an alias":
        return "; a value that begins with * needs quotes"
    if error.context == "while parsing a flow mapping" and any("${" in line for line in lines):
        return "; between braces a value with ${NAME} needs quotes"
    return ""
