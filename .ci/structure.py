"""
How large and how tangled the code is: ``python .ci/structure.py [FOLDER]``, by default ``scfd``.

Reads imports and definitions as text; nothing is run. Imports behind ``TYPE_CHECKING`` and inside functions
count for circles as well.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

#: Lines from which on a function does not fit a screen, and parameters from which on a list is named.
LONG_FUNCTION, LONG_LIST = 40, 8


def modules(folder: Path) -> dict[str, Path]:
    """Every module of a package by its dotted name."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(tree: ast.AST, known: dict[str, Path]) -> set[str]:
    """The modules of the package that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names.add(whole if whole in known else node.module)
    return names & known.keys()


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules that import each other, directly or through others."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for name in graph[waiting.pop()] - seen:
                seen.add(name)
                waiting.append(name)
        return seen

    reach = {name: reachable(name) for name in graph}
    groups = {frozenset(b for b in reach[a] if a in reach[b]) for a in graph if a in reach[a]}
    return [set(group) for group in groups]


def main(folder: Path) -> None:
    known = modules(folder)
    trees = {name: ast.parse(path.read_text()) for name, path in known.items()}
    lines = {name: len(path.read_text().splitlines()) for name, path in known.items()}
    graph = {name: imported(tree, known) - {name} for name, tree in trees.items()}
    users = defaultdict(set)
    for name, uses in graph.items():
        for used in uses:
            users[used].add(name)
    functions = [
        (node.end_lineno - node.lineno + 1, len(node.args.args + node.args.kwonlyargs), f"{name}.{node.name}")
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    ]
    packages = {name for name, path in known.items() if path.name == "__init__.py"}
    real = {name: count for name, count in lines.items() if count and name not in packages}
    longest = max(real, key=real.__getitem__)
    once = [name for name in real if len(users[name]) == 1]
    long = sorted((one for one in functions if one[0] > LONG_FUNCTION), reverse=True)
    most = sorted(((one[1], one[2]) for one in functions if one[1] >= LONG_LIST), reverse=True)
    found = circles(graph)
    print(f"{len(real)} modules and {len(packages)} packages, {sum(lines.values())} lines")
    print(f"median {median(real.values()):g} lines, longest {real[longest]} ({longest})")
    print(f"{len(long)} of {len(functions)} functions over {LONG_FUNCTION} lines", *(one[2] for one in long))
    print(f"{len(found)} circles", *(" <-> ".join(sorted(group)) for group in found))
    print(f"{len(once)} modules used by exactly one other")
    print(f"{sum(name.count('.') == 1 for name in real)} modules in the root")
    print(f"{len(most)} lists of {LONG_LIST} parameters or more, self included:", most[:4])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "scfd"))
