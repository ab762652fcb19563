"""Tests for scfd.adapter.registry, with plugin modules in folders of their own."""

from __future__ import annotations

import os
import sys
from itertools import count
from pathlib import Path
from typing import Any

import twisted.plugins
from twisted.trial.unittest import SynchronousTestCase

import scfd.plugins
from scfd.adapter.registry import add_plugin_folders, find_plugin
from scfd.errors import StartupError

PLUGIN = """
from twisted.plugin import IPlugin
from zope.interface import implementer
from scfd.interfaces import IFunctionPlugin

@implementer(IPlugin, IFunctionPlugin)
class Plugin:
    def __init__(self, name):
        self.name = name

    def init(self, framework):
        pass

    def on_trigger(self, event):
        pass
"""

#: A module that was imported stays imported, so each is called differently.
_numbers = count()


class RegistryTestCase(SynchronousTestCase):
    """
    :ivar folder: a folder for plugins; the working directory is another one, and empty.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.working_directory = Path(self.mktemp()).absolute()
        for folder in (self.folder, self.working_directory):
            folder.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.working_directory)
        self.restore_afterwards(sys.path)
        self.restore_afterwards(twisted.plugins.__path__)
        self.restore_afterwards(scfd.plugins.__path__)

    def restore_afterwards(self, paths: list[str]) -> None:
        before = list(paths)
        self.addCleanup(paths.__setitem__, slice(None), before)

    def write(self, source: str, package: str = "twisted", folder: Path | None = None) -> Path:
        """Write a plugin module; returns its file."""
        plugins = (folder or self.folder) / package / "plugins"
        plugins.mkdir(parents=True, exist_ok=True)
        file = plugins / f"registry_test_{next(_numbers)}.py"
        file.write_text(source)
        return file

    def plugin(self, name: str, package: str = "twisted", folder: Path | None = None) -> Path:
        return self.write(f"{PLUGIN}\n\nplugin = Plugin({name!r})\n", package, folder)

    def add(self, *folders: str) -> None:
        add_plugin_folders(folders or (str(self.folder),))

    def mistake(self, name: str = "", system_name: str = "") -> str:
        return str(self.assertRaises(StartupError, find_plugin, name, system_name))


class FoldersTests(RegistryTestCase):
    def test_both_packages_and_the_working_directory_are_looked_through(self) -> None:
        self.plugin("one")
        self.plugin("two", package="scfd")
        self.plugin("three", folder=self.working_directory)
        self.add()
        for name in ("one", "two", "three"):
            self.assertEqual(find_plugin(name, "").name, name)

    def test_a_folder_is_relative_to_the_working_directory(self) -> None:
        self.plugin("one", folder=self.working_directory / "mine")
        self.add("mine")
        self.assertEqual(find_plugin("one", "").name, "one")

    def test_they_come_last_on_the_path_and_once(self) -> None:
        self.plugin("one")
        before = list(sys.path)
        self.add()
        self.add()
        self.assertEqual(sys.path, [*before, str(self.folder), str(self.working_directory)])

    def test_a_folder_without_plugins(self) -> None:
        for folder in (self.folder, self.folder / "missing"):
            error = self.assertRaises(StartupError, add_plugin_folders, [str(folder)])
            self.assertEqual(
                str(error),
                f"adapter.path: no plugins in {str(folder)!r}; "
                "it should be a folder with twisted/plugins or scfd/plugins in it",
            )

    def test_a_module_that_can_not_be_imported(self) -> None:
        file = self.write("import no_such_module\n")
        error = self.assertRaises(StartupError, self.add)
        self.assertEqual(
            str(error),
            f"plugin module {file}: line 1 of {file}: ModuleNotFoundError: No module named 'no_such_module'",
        )

    def test_a_module_that_is_no_python(self) -> None:
        file = self.write("def\n")
        error = str(self.assertRaises(StartupError, self.add))
        self.assertTrue(error.startswith(f"plugin module {file}: SyntaxError: "), error)
        self.assertNotIn("\n", error)

    def test_a_folder_that_hides_its_plugins(self) -> None:
        file = self.plugin("one")
        (file.parent / "__init__.py").touch()
        error = self.assertRaises(StartupError, self.add)
        self.assertEqual(
            str(error),
            f"plugin folder {file.parent}: it has an __init__.py, which hides its plugins; remove it",
        )


class ChoiceTests(RegistryTestCase):
    def test_the_one_that_is_named(self) -> None:
        self.plugin("one")
        self.plugin("two")
        self.add()
        self.assertEqual(find_plugin("two", "one").name, "two")

    def test_the_one_that_is_called_like_the_system(self) -> None:
        self.plugin("one")
        self.plugin("two")
        self.add()
        self.assertEqual(find_plugin("", "two").name, "two")

    def test_the_only_one(self) -> None:
        self.plugin("one")
        self.add()
        self.assertEqual(find_plugin("", "other").name, "one")

    def test_none_by_that_name(self) -> None:
        self.plugin("two")
        self.plugin("one")
        self.add()
        self.assertEqual(
            self.mistake("three", "one"),
            "adapter.native: there is no native plugin 'three'; found: one, two",
        )

    def test_none_at_all(self) -> None:
        nowhere = "none found in twisted/plugins or scfd/plugins, neither here nor on sys.path"
        self.assertEqual(
            self.mistake("three"), f"adapter.native: there is no native plugin 'three'; {nowhere}"
        )
        self.assertEqual(
            self.mistake(), f"adapter: the config names no plugin, and there is none installed; {nowhere}"
        )

    def test_several_and_none_is_named(self) -> None:
        self.plugin("two")
        self.plugin("one")
        self.add()
        self.assertEqual(
            self.mistake("", "other"),
            "adapter: the config names no plugin, and there are several; "
            "set adapter.native to one; found: one, two",
        )

    def test_two_of_one_name(self) -> None:
        files = [self.plugin("one"), self.plugin("one", package="scfd")]
        self.add()
        places = sorted(f"{file.parent.parent.name}.plugins.{file.stem}" for file in files)
        expected = f"adapter: there are several plugins 'one' (in {', '.join(places)}); keep one"
        self.assertEqual(self.mistake("one"), expected)
        self.assertEqual(self.mistake("", "one"), expected)
        self.assertEqual(self.mistake(), expected)


class BrokenPluginTests(RegistryTestCase):
    def test_one_without_a_name(self) -> None:
        self.write(f"{PLUGIN}\n\nplugin = Plugin('x')\ndel plugin.name\n")
        self.add()
        self.assertIn("IFunctionPlugin.name attribute was not provided", self.mistake())
        mistake = "there is no native plugin 'x'; found: a Plugin without a name"
        self.assertIn(mistake, self.mistake("x"))

    def test_one_without_on_trigger(self) -> None:
        self.write(f"{PLUGIN}\n    on_trigger = None\n\nplugin = Plugin('x')\n")
        self.write(PLUGIN.replace("def on_trigger", "def on_event") + "\n\nplugin = Plugin('y')\n")
        self.add()
        for name in ("x", "y"):
            mistake = self.mistake(name)
            self.assertTrue(
                mistake.startswith("adapter: BrokenMethodImplementation: ")
                or mistake.startswith("adapter: BrokenImplementation: "),
                mistake,
            )
            self.assertIn("IFunctionPlugin.on_trigger(event)", mistake)

    def test_a_class_in_place_of_an_object(self) -> None:
        file = self.write(PLUGIN)
        self.add()
        self.assertEqual(
            self.mistake("x"),
            f"adapter.native: there is no native plugin 'x'; {file}:8: Plugin is a class; "
            "expected an object of it in the module, such as plugin = Plugin()",
        )

    def test_a_class_that_is_imported(self) -> None:
        """Where it is used and where it is written are two files."""
        other = self.plugin("other", folder=self.working_directory)
        file = self.write(f"from twisted.plugins.{other.stem} import Plugin\n")
        self.add()
        self.assertIn(f"found: other; {file}: Plugin is a class; expected an object", self.mistake("x"))

    def test_a_class_that_was_an_object_when_the_cache_was_written(self) -> None:
        """As when the module has its plugin from another one, which has changed."""
        file = self.plugin("one")
        self.add()
        self.assertEqual(find_plugin("one", "").name, "one")
        module: Any = sys.modules[f"twisted.plugins.{file.stem}"]
        module.plugin = module.Plugin
        self.assertIn("Plugin is a class; expected an object", self.mistake("one"))

    def test_one_that_does_not_declare_what_it_is(self) -> None:
        source = PLUGIN.replace("@implementer(IPlugin, IFunctionPlugin)", "")
        file = self.write(f"{source}\n\nplugin = Plugin('x')\n")
        self.add()
        for name in ("", "x"):
            self.assertIn(
                f"; {file}:8: Plugin, whose object is there, declares no interface; "
                "expected @implementer(IFunctionPlugin) before the class",
                self.mistake(name),
            )

    def test_a_class_that_does_not_declare_what_it_is(self) -> None:
        self.write("class Mine:\n    def on_task(self, task, event):\n        pass\n")
        self.add()
        self.assertIn(
            "Mine is a class; expected @implementer(ITaskPlugin) before the class, and an object of it",
            self.mistake(),
        )

    def test_a_module_elsewhere_that_can_not_be_imported(self) -> None:
        """Such as one that is installed: twisted.plugin only logs a traceback."""
        elsewhere = Path(self.mktemp()).absolute()
        file = self.write("\n\nimport no_such_module\n", folder=elsewhere)
        self.add_to_packages(elsewhere)
        expected = (
            f"there is no native plugin 'x'; plugin module {file}: line 3 of {file}: "
            "ModuleNotFoundError: No module named 'no_such_module'"
        )
        self.assertIn(expected, self.mistake("x"))
        self.flushLoggedErrors(ModuleNotFoundError)

    def add_to_packages(self, folder: Path) -> None:
        twisted.plugins.__path__.append(str(folder / "twisted" / "plugins"))
        self.working_directory.joinpath("twisted/plugins").mkdir(parents=True, exist_ok=True)
        self.add(".")

    def test_a_module_that_ends_the_process(self) -> None:
        self.write("import sys\nsys.exit(0)\n")
        error = self.assertRaises(StartupError, self.add)
        self.assertIn("line 2 of ", str(error))

    def test_without_the_cache_nothing_is_written(self) -> None:
        file = self.plugin("one")
        self.add()
        self.assertEqual(find_plugin("one", "", cached=False).name, "one")
        self.assertEqual(list(file.parent.glob("dropin.cache")), [])


TASK_PLUGIN = PLUGIN.replace("IFunctionPlugin", "ITaskPlugin").replace(
    "def on_trigger(self, event)", "def on_task(self, task, event)"
)


class TaskPluginTests(RegistryTestCase):
    def find(self, source: str) -> Any:
        self.write(f"{source}\n\nplugin = Plugin('tasks')\n")
        add_plugin_folders([str(self.folder)])
        return find_plugin("tasks", "")

    def mistake_of(self, source: str) -> str:
        return str(self.assertRaises(StartupError, self.find, source))

    def test_is_found(self) -> None:
        self.assertEqual(self.find(TASK_PLUGIN).name, "tasks")

    def test_one_with_on_message_only(self) -> None:
        source = TASK_PLUGIN.replace("on_task(self, task,", "on_message(self, message,")
        self.assertEqual(self.find(source).name, "tasks")

    def test_one_that_handles_nothing(self) -> None:
        self.assertEqual(
            self.mistake_of(TASK_PLUGIN.replace("on_task", "on_tasks")),
            "adapter: plugin 'tasks' has neither on_task(task, event) nor on_message(message, event); "
            "expected at least one of them",
        )

    def test_one_whose_method_takes_something_else(self) -> None:
        mistake = self.mistake_of(TASK_PLUGIN.replace("(self, task, event)", "(self, task)"))
        self.assertIn("ITaskHandler.on_task(task, event)", mistake)

    def test_one_that_declares_both(self) -> None:
        both = TASK_PLUGIN.replace("import ITaskPlugin", "import IFunctionPlugin, ITaskPlugin").replace(
            "IPlugin, ITaskPlugin)", "IPlugin, ITaskPlugin, IFunctionPlugin)"
        )
        self.assertEqual(
            self.mistake_of(both),
            "adapter: plugin 'tasks' declares both of ITaskPlugin and IFunctionPlugin; expected one of them",
        )
