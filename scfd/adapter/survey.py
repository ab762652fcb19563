"""Looks through the modules of plugins, for a plugin that is not found: what is there, and why it is none."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from attrs import Factory, frozen

from scfd.errors import describe
from scfd.interfaces import IFunctionPlugin, INativePlugin, ITaskPlugin

#: By each of these a class looks like a plugin.
_METHODS = {"on_trigger": IFunctionPlugin, "on_task": ITaskPlugin, "on_message": ITaskPlugin}


@frozen
class Survey:
    """
    :ivar plugins: every `INativePlugin` there is.
    :ivar faults: why modules, or what is in them, are no plugins: a line each.
    """

    plugins: list[Any] = Factory(list)
    faults: list[str] = Factory(list)


def survey(packages: Sequence[ModuleType]) -> Survey:
    """Import every module of some packages. Unlike twisted.plugin it writes no cache."""
    found = Survey()
    for package in packages:
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            try:
                module = importlib.import_module(info.name)
            except (Exception, SystemExit) as error:
                path = getattr(info.module_finder, "path", "")
                found.faults.append(f"plugin module {path}/{info.name.rpartition('.')[2]}.py: {place(error)}")
                continue
            values = list(vars(module).values())
            found.plugins.extend(value for value in values if INativePlugin.providedBy(value))
            found.faults.extend(_faults(module, values))
    return found


def place(error: BaseException) -> str:
    """An exception as one line, with the place where it was raised, unless it says that itself."""
    if isinstance(error, SyntaxError):
        return describe(error)
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    before = f"line {where.tb_lineno} of {where.tb_frame.f_code.co_filename}: " if where is not None else ""
    return f"{before}{describe(error)}"


def _faults(module: ModuleType, values: list[Any]) -> Iterator[str]:
    """What looks like a plugin, and is none."""
    for value in values:
        cls = value if isinstance(value, type) else type(value)
        kind = next((kind for name, kind in _METHODS.items() if callable(getattr(cls, name, None))), None)
        if kind is None or INativePlugin.providedBy(value):
            continue
        where = f"{module.__file__}:{_line(cls)}" if cls.__module__ == module.__name__ else module.__file__
        if value is not cls:
            text = f"{type(value).__name__}, whose object is there, declares no interface"
            yield f"{where}: {text}; expected @implementer({kind.__name__}) before the class"
        elif not any(isinstance(other, cls) for other in values):
            declared = INativePlugin.implementedBy(cls)
            before = "" if declared else f"@implementer({kind.__name__}) before the class, and "
            expected = f"{before}an object of it in the module, such as plugin = {cls.__name__}()"
            yield f"{where}: {cls.__name__} is a class; expected {expected}"


def _line(cls: type) -> int:
    """Where a class begins, by its first method."""
    codes = [value.__code__ for value in vars(cls).values() if hasattr(value, "__code__")]
    return min((code.co_firstlineno for code in codes), default=1)
