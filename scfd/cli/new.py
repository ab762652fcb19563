"""``scfd new``: a project that runs, and passes its own test, at once."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import shutil
import sys
from pathlib import Path

from scfd.errors import StartupError

#: What the projects in here are called themselves; it becomes the user's name.
_NAME, _MODULE, _CLASS = "my-function", "my_function", "MyFunction"
PROJECTS = Path(__file__).with_name("projects")


def make_project(name: str, kind: str, parent: Path) -> str:
    """
    Make a folder with a project.

    :param kind: a folder of `PROJECTS`.
    :returns: what to do next, for a person.
    :raises StartupError: the name can't be one, or the folder can't be made.
    """
    module, folder = name.replace("-", "_"), parent / name
    _check(name, module, folder)
    try:
        _fill(folder, PROJECTS / kind, {_NAME: name, _MODULE: module, _CLASS: _class_name(module)})
    except OSError as error:
        raise StartupError(f"scfd new: {folder} can't be made: {error.strerror}") from None
    return f"""made {name}. Next:

    cd {name}
    {"python -m unittest":<27} # its test
    {"scfd run --reload":<27} # run it; results are on http://127.0.0.1:18202/

README.md says what each file is for."""


def _check(name: str, module: str, folder: Path) -> None:
    """:raises StartupError: one line that says what is wrong with the name."""
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", name):
        expected = "letters, digits, - and _, the first one a letter, such as my-function"
        raise StartupError(f"scfd new: found the name {name!r}; expected {expected}")
    if keyword.iskeyword(module):
        raise StartupError(f"scfd new: found the name {name!r}, a keyword of Python; expected another one")
    if os.path.lexists(folder):
        raise StartupError(f"scfd new: {folder} exists already; expected a name that is free here")
    if _is_installed(module):
        expected = f"another one: imports of {module} would find only one of the two"
        raise StartupError(
            f"scfd new: found the name {name!r}, that of an installed module; expected {expected}"
        )


def _is_installed(module: str) -> bool:
    """Whether an import finds the module, other than in the working directory."""
    before = list(sys.path)
    sys.path[:] = [path for path in before if os.path.abspath(path) != os.getcwd()]
    try:
        return module in sys.builtin_module_names or importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return True
    finally:
        sys.path[:] = before


def _fill(folder: Path, project: Path, names: dict[str, str]) -> None:
    """Copy a project under other names, as a whole or not at all."""
    pattern = re.compile("|".join(names))

    def renamed(text: str) -> str:
        return pattern.sub(lambda found: names[found[0]], text)

    try:
        for file in sorted(path for path in project.rglob("*") if path.is_file() and path.suffix != ".pyc"):
            place = folder / renamed(str(file.relative_to(project)))
            if place.name == "gitignore":  # with its dot it would hide files here
                place = place.with_name(".gitignore")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(renamed(file.read_text()))
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _class_name(module: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in module.split("_"))
