"""Finds native plugins by name."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import twisted.plugins
from twisted.plugin import getPlugins, pluginPackagePaths
from zope.interface import Invalid
from zope.interface.verify import verifyObject

import scfd.plugins
from scfd.adapter.survey import place, survey
from scfd.config import AdapterSettings, SystemSettings
from scfd.errors import StartupError, describe
from scfd.interfaces import IFunctionPlugin, IMessageHandler, INativePlugin, ITaskHandler, ITaskPlugin

_PACKAGES = (twisted.plugins, scfd.plugins)


class NoPluginError(StartupError):
    """There is no native plugin at all, and nothing that looks like one."""


def add_plugin_folders(folders: Sequence[str]) -> None:
    """
    Look for plugins in more places: in ``twisted/plugins`` and ``scfd/plugins`` of the working
    directory and of some folders.

    They come last on ``sys.path``, so that nothing in them hides a module that was there before.

    :param folders: relative to the working directory.
    :raises StartupError: when one has neither, or a module in one can't be imported.
    """
    for folder in folders:
        if not any(_plugin_folder(folder, package).is_dir() for package in _PACKAGES):
            raise StartupError(
                f"adapter.path: no plugins in {folder!r}; "
                "it should be a folder with twisted/plugins or scfd/plugins in it"
            )
    everywhere = [*folders, "."]
    sys.path.extend(path for path in map(os.path.abspath, everywhere) if path not in sys.path)
    for package in _PACKAGES:
        _extend(package)
        for folder in everywhere:
            _import_all(_plugin_folder(folder, package), package)


def _plugin_folder(folder: str, package: ModuleType) -> Path:
    return Path(folder, *package.__name__.split("."))


def _import_all(folder: Path, package: ModuleType) -> None:
    """Import every module; twisted.plugin would only log a traceback for one that fails."""
    init = folder / "__init__.py"
    if init.exists() and not folder.samefile(Path(package.__file__ or "").parent):
        raise StartupError(
            f"plugin folder {folder}: it has an __init__.py, which hides its plugins; remove it"
        )
    for file in sorted(folder.glob("[!_]*.py")):
        try:
            importlib.import_module(f"{package.__name__}.{file.stem}")
        except (Exception, SystemExit) as error:
            raise StartupError(f"plugin module {file}: {place(error)}") from error


def _extend(package: ModuleType) -> None:
    known = set(package.__path__)
    package.__path__.extend(path for path in pluginPackagePaths(package.__name__) if path not in known)


def find_plugin(name: str, system_name: str, cached: bool = True) -> Any:
    """
    Find the native plugin of a config.

    :param name: ``adapter.native``; when empty, it is the plugin with the name of the system, else the only
        one there is.
    :param cached: import only modules that have plugins, by the cache of twisted.plugin, written beside them.
    :returns: an `ITaskPlugin` or an `IFunctionPlugin`.
    :raises StartupError: when there is none, or more than one; it lists those found, and what looks like one.
        Also when the plugin lacks a part of the interface.
    """
    seen = None if cached else survey(_PACKAGES)
    if seen is None:
        listed = [plugin for package in _PACKAGES for plugin in getPlugins(INativePlugin, package)]
        # The cache does not know of changes in what a module imports: the object may be a class by now.
        found = [plugin for plugin in listed if INativePlugin.providedBy(plugin)]
    else:
        found = seen.plugins
    matching = _matching(found, name, system_name)
    if not matching:
        faults = (seen or survey(_PACKAGES)).faults
        raise (StartupError if found or faults else NoPluginError)(_none(name, found, faults))
    _check_single(matching, found)
    return checked(matching[0])


def checked(plugin: Any) -> Any:
    """
    :returns: the plugin.
    :raises StartupError: it lacks a part of the interface.
    """
    try:
        _verify(plugin)
    except Invalid as error:
        raise StartupError(f"adapter: {describe(error)}") from error
    return plugin


def _verify(plugin: Any) -> None:
    """
    :raises Invalid: when the plugin lacks a part of its interface.
    :raises StartupError: when it is not clear what it is to be called for.
    """
    kinds = [kind for kind in (ITaskPlugin, IFunctionPlugin) if kind.providedBy(plugin)]
    if len(kinds) != 1:
        found = "both" if kinds else "neither"
        raise StartupError(
            f"adapter: plugin {_name(plugin)!r} declares {found} of ITaskPlugin and IFunctionPlugin; "
            "expected one of them"
        )
    verifyObject(kinds[0], plugin)
    if kinds[0] is ITaskPlugin:
        parts = {"on_task": ITaskHandler, "on_message": IMessageHandler}
        handled = [part for name, part in parts.items() if getattr(plugin, name, None) is not None]
        if not handled:
            raise StartupError(
                f"adapter: plugin {_name(plugin)!r} has neither on_task(task, event) nor "
                "on_message(message, event); expected at least one of them"
            )
        for part in handled:
            verifyObject(part, plugin, tentative=True)


def _matching(found: Sequence[Any], name: str, system_name: str) -> list[Any]:
    if name:
        return [plugin for plugin in found if _name(plugin) == name]
    return [plugin for plugin in found if _name(plugin) == system_name] or list(found)


def _none(name: str, found: Sequence[Any], faults: Sequence[str]) -> str:
    """What to say when no plugin is the one that is meant."""
    if found:
        listed = [f"found: {', '.join(_names(found))}"]
    elif faults:
        listed = []
    else:
        listed = ["none found in twisted/plugins or scfd/plugins, neither here nor on sys.path"]
    if name:
        begin = f"adapter.native: there is no native plugin {name!r}"
    else:
        begin = "adapter: the config names no plugin, and there is none installed"
    return "; ".join((begin, *listed, *faults))


def _check_single(matching: Sequence[Any], found: Sequence[Any]) -> None:
    names = _names(matching)
    if len(names) > 1:
        raise StartupError(
            "adapter: the config names no plugin, and there are several; "
            f"set adapter.native to one; found: {', '.join(_names(found))}"
        )
    if len(matching) > 1:
        places = ", ".join(sorted(type(plugin).__module__ for plugin in matching))
        raise StartupError(
            f"adapter: there are several plugins {_name(matching[0])!r} (in {places}); keep one"
        )


def _names(plugins: Sequence[Any]) -> list[str]:
    return sorted({str(_name(plugin) or f"a {type(plugin).__name__} without a name") for plugin in plugins})


def _name(plugin: Any) -> Any:
    """A plugin's name, or None: an author may have forgotten it."""
    return getattr(plugin, "name", None)


def settings_class(adapter: AdapterSettings, system: SystemSettings, cached: bool = True) -> type | None:
    """
    The class of the settings of the native plugin that a config means, where it has one.

    :param cached: see `find_plugin`.
    :raises StartupError: see `find_plugin`.
    """
    if adapter.http is not None:
        return None
    add_plugin_folders(adapter.path)
    cls: type | None = getattr(find_plugin(adapter.native, system.name, cached), "settings_class", None)
    return cls
