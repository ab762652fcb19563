"""Writes docs/reference.rst, what plugins and their tests use, from the docstrings: ``make reference``."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from zope.interface.interface import InterfaceClass, Method

from scfd import deferreds, errors, events, function, interfaces, testing

PAGE = Path(__file__).with_name("reference.rst")
HEAD = """\
Reference
=========

What plugins and their tests use, from the docstrings; ``make reference`` writes this page. `Writing plugins
<plugins.rst>`_ and `Testing plugins <testing.rst>`_ say how it goes together.
"""
CONTENT: dict[str, tuple[Any, ...]] = {
    "A plugin": (function.TaskPlugin, function.FunctionPlugin, function.Framework),
    "What a plugin has": (interfaces.ITaskHandler, interfaces.IMessageHandler, interfaces.IFunctionPlugin),
    "What a plugin may have besides": (
        interfaces.IBlockingPlugin,
        interfaces.IStoppable,
        interfaces.IHeartbeatContributor,
        interfaces.IDynamicHeartbeatContributor,
        interfaces.IWebContributor,
    ),
    "What it is given": (events.Task, events.Message, events.TriggerEvent),
    "What it returns": (events.TaskResult, events.TaskStatus, events.TriggerResponse, errors.StartupError),
    "Between asyncio and Deferreds": (deferreds.from_asyncio, deferreds.to_asyncio),
    "A node for tests": (testing.Node, testing.Result, testing.StoredMessage, testing.TestingError),
}


#: Of other classes plugins and tests are given objects, or derive their own.
CONSTRUCTED = (events.TaskResult, events.TriggerResponse, testing.Node)
MODULES = (interfaces, function, events, testing, deferreds, errors)


def reference() -> str:
    """:returns: the page."""
    parts = [HEAD]
    for title, objects in CONTENT.items():
        parts.append(f"\n{title}\n{'-' * len(title)}\n")
        parts += [entry(each) for each in objects]
    return "\n".join(parts)


def entry(thing: Any) -> str:
    """:returns: a function, class or interface with what it has, as an item of a definition list."""
    module = next(each.__name__ for each in MODULES if vars(each).get(thing.__name__) is thing)
    inner = [item(f"``{name}``", text) for name, text in members(thing)]
    if isinstance(thing, type) and issubclass(thing, Enum):
        inner = [f"``{each.name}`` is {each.value}." for each in thing]
    shown = signature(thing) if thing in CONSTRUCTED or inspect.isfunction(thing) else ""
    return item(f"``{thing.__name__}{shown}`` of ``{module}``", thing.__doc__, *inner)


def members(thing: Any) -> Iterator[tuple[str, str]]:
    """What it has, and what that is for: methods, of given objects only what is no method."""
    if isinstance(thing, InterfaceClass):
        described: list[tuple[str, Any]] = sorted(thing.namesAndDescriptions())
        for name, each in described:
            if isinstance(each, Method):
                yield name + each.getSignatureString(), each.__doc__
    declared: dict[str, Any] = dict(vars(thing)) if isinstance(thing, type) else {}
    for name, each in declared.items():
        if not name.startswith("_") and each.__doc__:
            if isinstance(each, property):
                yield name, each.__doc__
            elif inspect.isfunction(each) and thing not in CONTENT["What it is given"]:
                yield name + signature(each), each.__doc__


def signature(thing: Any) -> str:
    """Without annotations: the docstrings and editors say those."""
    found = inspect.signature(thing)
    named = [each.replace(annotation=each.empty) for name, each in found.parameters.items() if name != "self"]
    return str(inspect.Signature(named))


def item(title: str, text: str, *inner: str) -> str:
    body = "\n\n".join([inspect.cleandoc(text), *(each.strip() for each in inner)])
    return f"{title}\n{textwrap.indent(body, '    ')}\n"


if __name__ == "__main__":
    PAGE.write_text(reference())
