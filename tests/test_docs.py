"""What the pages say of the repository is so: the files they name, their links, their examples."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from scfd.config import load
from scfd.metrics import Metrics

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    page for folder in (".", "docs", "examples/host-metrics") for page in (ROOT / folder).glob("*.rst")
)
#: ``scfd/tap.py`` in running text; a name with <placeholders> is no file.
NAMED_FILE = re.compile(r"``((?:scfd|tests|etc|examples|docs|benchmarks|\.ci)/[\w./-]*)``")
#: A line of the map in CONTRIBUTING.rst: a path, at least two spaces, what it is.
MAP_LINE = re.compile(r"^    ([\w./-]+) {2,}\w", re.MULTILINE)
LINK = re.compile(r"<([^\s<>`]+)>`_")


class PagesTests(SynchronousTestCase):
    def test_files_named_exist(self) -> None:
        for page in PAGES:
            for name in NAMED_FILE.findall(page.read_text()):
                self.assertTrue((ROOT / name).exists(), f"{page.name} names {name}")

    def test_map_of_the_code(self) -> None:
        names = MAP_LINE.findall((ROOT / "CONTRIBUTING.rst").read_text())
        self.assertIn("scfd/tap.py", names)
        for name in names:
            self.assertTrue((ROOT / name).exists(), f"the map names {name}")

    def test_links_lead_somewhere(self) -> None:
        for page in PAGES:
            for link in LINK.findall(page.read_text()):
                path = link.partition("#")[0]
                if "://" not in link and path:
                    self.assertTrue((page.parent / path).exists(), f"{page.name} links to {link}")

    def test_every_metric_is_explained(self) -> None:
        text = (ROOT / "docs/operating.rst").read_text()
        for metric in Metrics().registry.collect():
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            self.assertRegex(text, rf"``{name}[`{{]")


class ExamplesTests(SynchronousTestCase):
    def test_readme_shows_the_files(self) -> None:
        """The plugin, config and tasks in the README are the text of examples/hello."""
        readme = (ROOT / "README.rst").read_text()
        for name in ("twisted/plugins/hello.py", "config.yaml", "tasks.yaml"):
            text = (ROOT / "examples/hello" / name).read_text()
            block = f"``{name}``::\n\n{textwrap.indent(text, '    ')}\n"
            self.assertTrue(block in readme, f"the README has another {name}")

    def test_configs_load(self) -> None:
        for name in ("hello", "http-plugin"):
            config = load(str(ROOT / "examples" / name / "config.yaml"), {})
            self.assertEqual([trigger.name for trigger in config.triggers], ["every-five-seconds"])
