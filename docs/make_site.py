"""
Makes the manual as a site: ``make docs`` puts it into build/site.

The pages are written so that a reader of the repository can follow their links. Here they are copied, with
links that Sphinx checks, and two pages are made: every key of a config, and every command. In the end each
link of the site is followed; those to other servers are only looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from scfd import __version__
from scfd.cli.main import command_parser
from scfd.cli.schema import as_text
from scfd.tap import Options

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"`([^`<]+?)\s*<([^`>\s]+)>`_(?!_)")
#: Pages outside of docs/.
OTHERS = ("README.rst", "README.zh-CN.rst", "CONTRIBUTING.rst", "CHANGELOG.rst")
CONTENTS = """

.. toctree::
   :hidden:
   :glob:

   README
   keys
   commands
   *
   zh/*
"""
CONF = """
project = "scfd"
copyright = "scfd contributors"
version = release = {version!r}
html_theme = "furo"
html_title = "scfd {version}"
exclude_patterns = ["_build"]
highlight_language = "none"
suppress_warnings = ["misc.highlighting_failure"]
"""


def linked(text: str, page: Path) -> str:
    """
    A page's text with its links to files as those of a site.

    :param page: where it is in the repository, relative to its root.
    """

    def replaced(found: re.Match[str]) -> str:
        words, target = found[1], found[2]
        path, _, anchor = target.partition("#")
        if "://" in target:
            return f"`{words} <{target}>`__"
        file = Path(os.path.normpath(page.parent / path)) if path else page
        place = place_of(file)
        if place is None:
            return f"{words} (``{file}``)" if words != str(file) else f"``{file}``"
        if not anchor:
            return f":doc:`{words} </{place.with_suffix('')}>`"
        html = os.path.relpath(place.with_suffix(".html"), place_of(page).parent)  # type: ignore[union-attr]
        return f"`{words} <{html}#{anchor}>`__"

    text = LINK.sub(replaced, text)
    # From wherever the page is; a leading slash is the site's root.
    return re.sub(r"(?m)^(\.\. image:: )(?:docs/|\.\./)*(?=pictures)", r"\1/", text)


def place_of(file: Path) -> Path | None:
    """Where a page of the repository is in the site; None for a file that is not in it."""
    if str(file) in OTHERS:
        return Path(file.name.replace("README.zh-CN", "zh/README"))
    return file.relative_to("docs") if file.parts[0] == "docs" and file.suffix == ".rst" else None


def keys(schema: dict[str, Any]) -> str:
    """The page of every key, from the config's classes."""
    title = "Every key"
    intro = "From the classes that read a config; ``etc/production.yaml`` has the same with examples."
    lines = [title, "=" * len(title), "", intro, ""]
    for name, section in schema["properties"].items():
        if "not used by scfd" not in section.get("description", ""):
            lines += [name, "-" * len(name), "", *described(name, section)]
    return "\n".join(lines) + "\n"


def described(path: str, node: dict[str, Any]) -> Iterator[str]:
    """A key, and those below it."""
    if text := node.get("description"):
        yield from (f"``{path}``", f"    {quoted(text)}", "")
    for name, below in node.get("properties", {}).items():
        yield from described(f"{path}.{name}", below)
    for choice in node.get("allOf", []):
        kind = choice.get("if", {}).get("properties", {}).get("type", {}).get("const")
        settings = choice.get("then", {}).get("properties", {}).get("settings")
        if kind and settings:
            yield from described(f"{path}.settings (type {kind})", settings)
    if isinstance(node.get("items"), dict):
        yield from described(f"{path}[]", node["items"])


def quoted(text: str) -> str:
    """Markdown's code as reStructuredText's."""
    return re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", text).replace("*", r"\*")


def commands(parser: argparse.ArgumentParser) -> str:
    """The page of every command, from their parsers."""
    helps = {"twistd scfd": Options().getUsage(width=int(os.environ.get("COLUMNS", "100")))}
    for action in parser._subparsers._group_actions if parser._subparsers else []:
        assert isinstance(action.choices, dict)
        helps |= {f"scfd {name}": command.format_help() for name, command in action.choices.items()}
    del helps["scfd complete"]  # of the shell, not of people
    lines = ["Every command", "=============", ""]
    for title, text in helps.items():
        lines += [title, "-" * len(title), "", "::", "", textwrap.indent(text, "    ")]
    return "\n".join(lines)


def copy_pages(source: Path) -> None:
    """:param source: a folder that Sphinx reads."""
    pages = [Path(name) for name in OTHERS if (ROOT / name).exists()]
    pages += [path.relative_to(ROOT) for path in sorted((ROOT / "docs").rglob("*.rst"))]
    for page in pages:
        place = place_of(page)
        assert place is not None, page
        text = linked((ROOT / page).read_text(), page)
        (source / place).parent.mkdir(parents=True, exist_ok=True)
        (source / place).write_text(text + CONTENTS if str(place) == "index.rst" else text)
    shutil.copytree(ROOT / "docs/pictures", source / "pictures")


class Page(HTMLParser):
    """
    :ivar anchors: the ids in it.
    :ivar links: what it links to, pictures among it.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name == "id":
                self.anchors.add(value)
            elif value and name in ("href", "src"):
                self.links.append(value)


def broken_links(site: Path) -> Iterator[str]:
    """:returns: a line for each link to a file or an anchor that is not there, or to an odd address."""
    pages = {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            target = path.parent.joinpath(unquote(url.path)).resolve() if url.path else path
            if url.scheme or url.netloc:
                good = url.scheme in ("http", "https") and bool(url.hostname)
            else:
                anchors = pages[target].anchors if target in pages else set()
                good = target.exists() and unquote(url.fragment) in {*anchors, ""}
            if not good:
                yield f"{path.relative_to(site)}: {link} leads nowhere"


def main() -> int:
    os.environ["COLUMNS"] = "100"
    source, site = ROOT / "build/pages/docs", ROOT / "build/site"
    for folder in (source.parent, site):
        shutil.rmtree(folder, ignore_errors=True)
    source.mkdir(parents=True)
    shutil.copytree(ROOT / "etc", source.parent / "etc")  # a page includes one of its files
    copy_pages(source)
    (source / "keys.rst").write_text(keys(json.loads(as_text())))
    (source / "commands.rst").write_text(commands(command_parser()))
    (source / "conf.py").write_text(CONF.format(version=__version__))
    built = subprocess.run([sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", source, site])
    broken = list(broken_links(site))
    for line in broken:
        print(line, file=sys.stderr)
    if built.returncode or broken:
        return 1
    print(f"{site}/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
