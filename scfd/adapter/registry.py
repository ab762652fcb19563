"""Finds native plugins by name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import twisted.plugins
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.plugin import getPlugins, pluginPackagePaths
from zope.interface import provider

import scfd.plugins
from scfd.errors import StartupError, describe
from scfd.interfaces import IFunctionPlugin

_PACKAGES = (twisted.plugins, scfd.plugins)


def add_plugin_folders(folders: Sequence[str]) -> None:
    """
    Look for plugins in more places: in ``twisted/plugins`` and ``scfd/plugins`` of the working
    directory and of some folders.

    They come last on ``sys.path``, so that nothing in them hides a module that was there before.

    :param folders: relative to the working directory.
    :raises StartupError: when one has neither.
    """
    for folder in folders:
        if not any((Path(folder) / package.__name__.replace(".", "/")).is_dir() for package in _PACKAGES):
            raise StartupError(
                f"adapter.path: no plugins in {folder!r}; "
                "it should be a folder with twisted/plugins or scfd/plugins in it"
            )
    for path in (str(Path(folder).absolute()) for folder in (*folders, ".")):
        if path not in sys.path:
            sys.path.append(path)
    for package in _PACKAGES:
        _extend(package)


def _extend(package: ModuleType) -> None:
    known = set(package.__path__)
    package.__path__.extend(path for path in pluginPackagePaths(package.__name__) if path not in known)


def find_plugin(name: str, system_name: str) -> Any:
    """
    Find the native plugin that a config means.

    :param name: ``adapter.native``; empty when the config leaves it open: then the plugin that is
        called like the system is meant, else the only one there is.
    :returns: an `IFunctionPlugin`.
    :raises StartupError: when there is none, or more than one; it lists those found, and the
        modules that could not be read.
    """
    broken: list[str] = []

    @provider(ILogObserver)
    def note(event: LogEvent) -> None:
        if "log_failure" in event:
            broken.append(_where_and_why(event))

    globalLogPublisher.addObserver(note)
    try:
        found = [plugin for package in _PACKAGES for plugin in getPlugins(IFunctionPlugin, package)]
    finally:
        globalLogPublisher.removeObserver(note)
    return _choose(found, name, system_name, broken)


def _choose(found: Sequence[Any], name: str, system_name: str, broken: Sequence[str]) -> Any:
    names = sorted({str(plugin.name) for plugin in found})
    listed = (
        f"found: {', '.join(names)}"
        if names
        else "none found in twisted/plugins or scfd/plugins, neither here nor on sys.path"
    )
    if broken:
        listed += f"; not readable: {'; '.join(broken)}"
    if name:
        matching = [plugin for plugin in found if plugin.name == name]
        if not matching:
            raise StartupError(f"adapter.native: there is no native plugin {name!r}; {listed}")
    else:
        matching = [plugin for plugin in found if plugin.name == system_name] or list(found)
        if not matching:
            raise StartupError(f"adapter: the config names no plugin, and there is none installed; {listed}")
        if len(names) > 1 and len(matching) > 1:
            raise StartupError(
                "adapter: the config names no plugin, and there are several; "
                f"set adapter.native to one; {listed}"
            )
    if len(matching) > 1:
        places = ", ".join(sorted(type(plugin).__module__ for plugin in matching))
        raise StartupError(f"adapter: there are several plugins {matching[0].name!r} (in {places}); keep one")
    return matching[0]


def _where_and_why(event: LogEvent) -> str:
    failure = event["log_failure"]
    where = failure.getTracebackObject()
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}: " if where is not None else ""
    return place + describe(failure.value)
