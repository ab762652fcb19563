"""
What every start compiles anew, compiled once: the methods that attrs and dataclasses write as text, and
regular expressions. A package has them in a file, which saves a seventh of its start.

Nothing depends on it: what is not in the file, or is of another Python, is compiled as ever.
"""

from __future__ import annotations

import builtins
import dataclasses
import marshal
from importlib import import_module
from importlib.util import MAGIC_NUMBER
from types import CodeType
from typing import Any

_sre: Any = import_module("_sre")  # has no annotations

#: Modules whose imports, together, are those of a start; some are in no package.
MODULES = (
    "scfd.config",
    "scfd.logs",
    "scfd.node",
    "scfd.adapter.http",
    "scfd.adapter.process",
    "scfd.gateway.make",
    "scfd.triggers.nats.trigger",
)
#: Python's version, as far as compiled code depends on it.
_VERSION = (MAGIC_NUMBER, _sre.MAGIC)


def _hooks() -> tuple[Any, Any]:
    """
    The modules in which names are set: that of attrs, whose global ``compile`` is then ours; and the compiler
    of regular expressions, ``sre_compile`` before Python 3.11.
    """
    import attr._make

    try:
        return attr._make, import_module("re._compiler")
    except ImportError:
        return attr._make, import_module("sre_compile")


def _steady(text: str) -> str:
    """The same in each process: attrs has a class's hash begin with a number that is never the same."""
    head, hashes, fields = text.partition("return hash((\n")
    return f"{head}{hashes}0,{fields.partition(',')[2]}" if hashes else text


def note() -> bytes:
    """Import what a start imports, and note what is compiled meanwhile. For a process of its own."""
    methods: dict[str, bytes] = {}
    patterns: dict[tuple[str | bytes, int], bytes] = {}
    attrs, regex = _hooks()
    compile_pattern, engine = regex.compile, regex._sre
    parts: list[Any] = []

    def compiled(text: str, filename: str = "<dataclass>", mode: str = "exec", *how: Any) -> CodeType:
        text = _steady(text)
        code: CodeType = builtins.compile(text, filename, mode, *how)
        # In version 2 the bytes do not depend on what else refers to the same objects.
        methods[text] = marshal.dumps(code, 2)
        return code

    class Engine:
        MAGIC = engine.MAGIC

        def __getattr__(self, name: str) -> Any:
            return getattr(engine, name)

        def compile(self, pattern: Any, flags: int, code: list[int], groups: int, *names: Any) -> Any:
            index, by_number = names
            parts[:] = [int(flags), list(map(int, code)), int(groups), dict(index), tuple(by_number)]
            return engine.compile(pattern, flags, code, groups, *names)

    def pattern(text: Any, flags: int = 0) -> Any:
        made = compile_pattern(text, flags)
        if isinstance(text, (str, bytes)):
            patterns[text, int(flags)] = marshal.dumps(parts, 2)
        return made

    attrs.compile, regex._sre, regex.compile = compiled, Engine(), pattern
    vars(dataclasses)["exec"] = lambda text, *where: exec(compiled(text), *where)
    for name in MODULES:
        try:
            import_module(name)
        except ImportError as error:
            if (error.name or "").partition(".")[0] == "scfd":
                raise
    return marshal.dumps((_VERSION, methods, patterns), 2)


def use(path: str) -> None:
    """:param path: of a file that has what `note` returned."""
    with open(path, "rb") as file:
        version, methods, patterns = marshal.load(file)
    if version != _VERSION:
        return
    attrs, regex = _hooks()
    compile_pattern = regex.compile

    def compiled(text: str, filename: str = "<dataclass>", mode: str = "exec", *how: Any) -> CodeType:
        found = methods.get(_steady(text))
        if found is None:
            return builtins.compile(text, filename, mode, *how)  # type: ignore[no-any-return]
        code: CodeType = marshal.loads(found)
        return code

    def pattern(text: Any, flags: int = 0) -> Any:
        found = patterns.get((text, int(flags))) if isinstance(text, (str, bytes)) else None
        if found is None:
            return compile_pattern(text, flags)
        return _sre.compile(text, *marshal.loads(found))

    attrs.compile, regex.compile = compiled, pattern
    vars(dataclasses)["exec"] = lambda text, *where: exec(compiled(text), *where)
