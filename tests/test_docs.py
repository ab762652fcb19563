"""What the pages say of the repository is so: the files they name, their links, their examples."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from runpy import run_path
from zoneinfo import ZoneInfo

from attrs import fields
from twisted.trial.unittest import SynchronousTestCase

from docs import make_reference, make_site
from scfd import __version__
from scfd.cli.main import command_parser
from scfd.cli.schema import as_text
from scfd.config import Config, NatsSettings, TimerSettings, load
from scfd.config.schema import keys_of
from scfd.status.metrics import Metrics
from scfd.triggers.timer.cron import Cron

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (".", "docs", "docs/zh", "examples/*")
PAGES = sorted(page for folder in FOLDERS for page in ROOT.glob(f"{folder}/*.rst"))
#: ``scfd/node.py`` in running text; a name with <placeholders> is no file.
NAMED_FILE = re.compile(r"``((?:scfd|tests|etc|examples|docs|benchmarks|\.ci)/[\w./-]*)``")
#: A line of the map in CONTRIBUTING.rst: a path, at least two spaces, what it is.
MAP_LINE = re.compile(r"^    ([\w./-]+) {2,}\S", re.MULTILINE)
LINK = re.compile(r"<([^\s<>`]+)>`_")
#: A cron expression, its first moment in 2026, and what it means.
MOMENT_LINE = re.compile(r"^    (\S+(?: \S+)+) {2,}(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)  \w", re.MULTILINE)
#: A cron expression, and all its moments on the two days of 2026 on which clocks are changed.
CHANGE_LINE = re.compile(
    r"^    (\S+(?: \S+)+) {2,}(\d\d:\d\d\+\S+(?: \S+)*) {2,}(\d\d:\d\d\+\S+(?: \S+)*)$", re.MULTILINE
)


class PagesTests(SynchronousTestCase):
    def test_files_named_exist(self) -> None:
        for page in PAGES:
            for name in NAMED_FILE.findall(page.read_text()):
                self.assertTrue((ROOT / name).exists(), f"{page.name} names {name}")

    def test_map_of_the_code(self) -> None:
        names = MAP_LINE.findall((ROOT / "CONTRIBUTING.rst").read_text())
        self.assertIn("scfd/node.py", names)
        for name in names:
            self.assertTrue((ROOT / name).exists(), f"the map names {name}")

    def test_map_has_every_room(self) -> None:
        """Every package, and every module outside of one. The folders explain the rest, see below."""
        names = MAP_LINE.findall((ROOT / "CONTRIBUTING.rst").read_text())
        scfd = ROOT / "scfd"
        rooms = [f"{init.parent.relative_to(ROOT)}/" for init in scfd.rglob("*/__init__.py")]
        modules = [str(module.relative_to(ROOT)) for module in scfd.glob("[!_]*.py")]
        self.assertEqual(sorted(name for name in names if name.startswith("scfd/")), sorted(rooms + modules))

    def test_every_module_says_what_it_does(self) -> None:
        """In its first line; a package in two sentences."""
        for module in sorted([*(ROOT / "scfd").rglob("*.py"), *(ROOT / "scf_log").rglob("*.py")]):
            words = ast.get_docstring(ast.parse(module.read_text())) or ""
            self.assertTrue(words, f"{module} has no docstring")
            if module.name == "__init__.py" and module.parent.name != "scfd":
                self.assertGreater(len(re.findall(r"[.;:](\s|$)", words)), 1, f"{module}: {words}")

    def test_links_lead_somewhere(self) -> None:
        for page in PAGES:
            for link in LINK.findall(page.read_text()):
                path = link.partition("#")[0]
                if "://" not in link and path:
                    self.assertTrue((page.parent / path).exists(), f"{page.name} links to {link}")

    def test_links_to_sections_lead_there(self) -> None:
        for page in PAGES:
            for path, section in re.findall(r"<([^\s<>`#:]*\.rst)#([^\s<>`]+)>`_", page.read_text()):
                titles = re.findall(r"(?m)^(\S.*)\n[=\-~]{3,}$", (page.parent / path).read_text())
                slugs = {re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") for title in titles}
                self.assertIn(section, slugs, f"{page.name} links to {path}#{section}")

    def test_every_metric_is_explained(self) -> None:
        text = (ROOT / "docs/operating.rst").read_text()
        for metric in Metrics().registry.collect():
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            self.assertRegex(text, rf"``{name}[`{{]")


class ReferenceTests(SynchronousTestCase):
    def test_is_that_of_the_docstrings(self) -> None:
        text = (ROOT / "docs/reference.rst").read_text()
        self.assertEqual(make_reference.reference(), text, "make reference writes it again")


class SnippetTests(SynchronousTestCase):
    def test_configs_load(self) -> None:
        """Each block in the pages that is a config, or a list of triggers."""
        sections = {each.name for each in fields(Config)}
        found = 0
        for page in PAGES:
            blocks = re.findall(r"(?m)(?:::|code-block:: yaml)\n\n((?:    .*\n|\n)+)", page.read_text())
            for block in map(textwrap.dedent, blocks):
                if block.startswith("- {name:"):
                    block = f"triggers:\n{textwrap.indent(block, '  ')}"
                if not sections & set(re.findall(r"(?m)^(\w+):(?: |$)", block)):
                    continue
                path = Path(self.mktemp())
                path.write_text(block)
                load(str(path), dict.fromkeys(re.findall(r"\$\{(\w+)", block), "1"))
                found += 1
        self.assertGreater(found, 15)


class ChineseTests(SynchronousTestCase):
    def test_readme_says_the_same(self) -> None:
        """The same code and commands, in the same order, and the same links."""
        pages = [(ROOT / name).read_text() for name in ("README.rst", "README.zh-CN.rst")]
        uncommented = [re.sub(r" +(?:#|<-) .*|:alt: .*", "", page) for page in pages]
        self.assertEqual(*(re.findall(r"(?m)^    +\S.*$", page) for page in uncommented))
        own = {"README.rst", "README.zh-CN.rst", "docs/first-function.rst", "docs/zh/quickstart.rst"}
        self.assertEqual(*({*LINK.findall(page)} - own for page in pages))


class PackageIndexTests(SynchronousTestCase):
    def test_links_of_the_readme_are_absolute(self) -> None:
        """Each leads to what the release has at that path."""
        text = run_path(str(ROOT / "setup.py"))["long_description"]()
        links = [*LINK.findall(text), *re.findall(r"(?m)^\.\. image:: (\S+)$", text)]
        self.assertGreater(len(links), 20)
        for link in links:
            path = re.fullmatch(
                rf"https://[\w./-]+/(?:blob|raw)/v{re.escape(__version__)}/([^#]+)(#.*)?", link
            )
            self.assertTrue(path and (ROOT / path[1]).exists(), link)


class SiteTests(SynchronousTestCase):
    """Links are those of the repository, and become those of the site."""

    def test_links(self) -> None:
        for page, text, expected in (
            ("docs/a.rst", "`T <timers.rst>`_", ":doc:`T </timers>`"),
            ("docs/a.rst", "`T\n<timers.rst#x>`_", "`T <timers.html#x>`__"),
            ("docs/zh/a.rst", "`T <../timers.rst#x>`_", "`T <../timers.html#x>`__"),
            ("docs/a.rst", "`R <../README.rst>`_", ":doc:`R </README>`"),
            ("README.rst", "`T <docs/timers.rst>`_", ":doc:`T </timers>`"),
            ("README.rst", "`every key <etc/production.yaml>`_", "every key (``etc/production.yaml``)"),
            ("docs/a.rst", "`S <https://example.org/>`_", "`S <https://example.org/>`__"),
            ("README.rst", ".. image:: docs/pictures/node.png", ".. image:: /pictures/node.png"),
        ):
            self.assertEqual(make_site.linked(text, Path(page)), expected)

    def test_broken_links_are_found(self) -> None:
        site = Path(self.mktemp()).absolute()
        (site / "zh").mkdir(parents=True)
        (site / "a.html").write_text('<p id="x"><a href="zh/b.html#y"></a><a href="#x"></a><img src="c.png">')
        (site / "zh/b.html").write_text(
            '<p id="y"><a href="../a.html#z"></a><a href="http:/x/"></a><a href="https://example.org/#a"></a>'
        )
        expected = ("a.html: c.png", "zh/b.html: ../a.html#z", "zh/b.html: http:/x/")
        self.assertEqual(list(make_site.broken_links(site)), [f"{place} leads nowhere" for place in expected])

    def test_every_key_and_every_command(self) -> None:
        keys = make_site.keys(json.loads(as_text()))
        for name in keys_of(NatsSettings):
            self.assertIn(f"``triggers[].settings (type nats).{name}``", keys)
        self.assertIn("``adapter.http.ready_timeout``\n    Seconds in which it must become ready", keys)
        commands = make_site.commands(command_parser())
        for name in ("run", "check", "migrate", "package", "fire", "dead-letters"):
            self.assertIn(f"scfd {name}\n{'-' * len(name)}-----\n", commands)
        self.assertRegex(commands, r"twistd scfd\n-+\n\n::\n\n.*\n.*--config=")


class RunbookTests(SynchronousTestCase):
    """The runbook names what there is."""

    def setUp(self) -> None:
        text = (ROOT / "docs/operating.rst").read_text()
        self.book = re.split(r"\nRunbook\n-+\n", text)[1].partition("\nMetrics\n")[0]

    def test_every_symptom_says_where_and_what(self) -> None:
        symptoms = re.split(r"(?m)^\*\*", self.book)[1:]
        self.assertGreater(len(symptoms), 20)
        for symptom in symptoms:
            self.assertEqual(re.findall(r"\*(See|Do)\*: ", symptom), ["See", "Do"], symptom)

    def test_names(self) -> None:
        known = {f"{m.name}_total" if m.type == "counter" else m.name for m in Metrics().registry.collect()}
        self.assertLessEqual(set(re.findall(r"scfd_\w+", self.book)), known)
        alerts = (ROOT / "deploy/alerts.yaml").read_text()
        named = set(re.findall(r"Scfd\w+", self.book))
        self.assertEqual(named, set(re.findall(r"alert: (\w+)", alerts)) - {"ScfdNotReady"})


class TimersTests(SynchronousTestCase):
    """What docs/timers.rst says of expressions is what they do."""

    def setUp(self) -> None:
        self.text = (ROOT / "docs/timers.rst").read_text()

    def test_every_setting_is_explained(self) -> None:
        for name in keys_of(TimerSettings):
            self.assertRegex(self.text, rf"(?m)^``{name}`` ")

    def test_first_moments(self) -> None:
        lines = MOMENT_LINE.findall(self.text)
        self.assertGreater(len(lines), 10)
        for expression, moment in lines:
            first = Cron.parse(expression).next_after(datetime(2026, 1, 1, tzinfo=timezone.utc))
            self.assertEqual(f"{first:%Y-%m-%d %H:%M:%S}", moment, expression)

    def test_days_on_which_clocks_are_changed(self) -> None:
        lines = CHANGE_LINE.findall(self.text)
        self.assertEqual(len(lines), 4)
        zone = ZoneInfo("Europe/Berlin")
        for expression, *days in lines:
            for midnight, told in zip(
                (datetime(2026, 3, 29, tzinfo=zone), datetime(2026, 10, 25, tzinfo=zone)), days, strict=True
            ):
                later = islice(Cron.parse(expression).moments_after(midnight), 10)
                that_day = [moment for moment in later if moment.date() == midnight.date()]
                self.assertEqual(" ".join(f"{moment:%H:%M%z}" for moment in that_day), told, expression)


class NatsTests(SynchronousTestCase):
    def test_every_setting_is_explained(self) -> None:
        text = (ROOT / "docs/nats.rst").read_text()
        for name in keys_of(NatsSettings):
            self.assertRegex(text, rf"(?m)^``{name}`` ")


class ExamplesTests(SynchronousTestCase):
    def test_the_task_plugin_of_the_docs(self) -> None:
        text = (ROOT / "examples/minimal/twisted/plugins/minimal.py").read_text()
        self.assertLess(len(text.splitlines()), 30)
        self.assertIn(textwrap.indent(text, "    "), (ROOT / "docs/plugins.rst").read_text())

    def test_readme_shows_the_files(self) -> None:
        """The plugin, config and tasks in the README, and in that in Chinese, are those of examples/hello."""
        readme, chinese = ((ROOT / name).read_text() for name in ("README.rst", "README.zh-CN.rst"))
        for name in ("twisted/plugins/hello.py", "config.yaml", "tasks.yaml"):
            text = (ROOT / "examples/hello" / name).read_text()
            block = f"``{name}``::\n\n{textwrap.indent(text, '    ')}\n"
            self.assertTrue(block in readme, f"the README has another {name}")
            self.assertTrue(block in chinese, f"the README in Chinese has another {name}")

    def test_configs_load(self) -> None:
        for name in ("hello", "http-plugin", "minimal", "node-js", "web"):
            config = load(str(ROOT / "examples" / name / "config.yaml"), {})
            self.assertEqual([trigger.name for trigger in config.triggers], ["every-five-seconds"])
