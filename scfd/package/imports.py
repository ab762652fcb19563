"""Which files of a function's folder its Python files import."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from scfd.package.contents import listed

#: Folders of a function that are no packages: Twisted and scfd look for plugins below them.
_OF_PLUGINS = ("twisted", "scfd")


def imported(root: Path, paths: Iterable[Path]) -> list[Path]:
    """
    Find the modules and packages that are imported, directly or by others, and lie beside or in the root.

    :param paths: files, and folders of files.
    :returns: files, and folders of whole packages.
    """
    waiting = [file for path in paths for file in listed(path)]
    found: list[Path] = []
    while waiting:
        file = waiting.pop()
        if file.suffix != ".py":
            continue
        for name in names_imported(file):
            for path in (file.parent / f"{name}.py", file.parent / name, root / f"{name}.py", root / name):
                if path not in found and (path.is_file() if path.suffix else _is_package(path)):
                    found.append(path)
                    waiting += listed(path)
    return sorted(found)


def names_imported(file: Path, always: bool = False) -> Iterator[str]:
    """
    :param always: only those that are imported whenever the file is.
    :returns: the first parts of the modules' names. None of a file that is no Python.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in tree.body if always else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _is_package(path: Path) -> bool:
    return path.is_dir() and path.name not in _OF_PLUGINS and any(path.glob("*.py"))
