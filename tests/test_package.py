"""What `scfd package` refuses, without a download; and its pieces."""

from __future__ import annotations

import io
import os
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from twisted.trial.unittest import SynchronousTestCase

from scfd.cli.main import main
from scfd.errors import StartupError
from scfd.package import contents, demands
from scfd.package.imports import imported
from scfd.package.make import load
from scfd.package.needs import needs_of
from scfd.package.target import Target, target
from scfd.package.wheels import locked, read_requirements

CONFIG: dict[str, Any] = {
    "system": {"name": "f", "version": "v1"},
    "heartbeat": {"server_ip": "10.0.0.1", "server_port": 18202},
    "gateway": {"listen": "0.0.0.0:9000"},
    "adapter": {"http": {"command": ["python3", "-u", "plugin.py"]}},
    "triggers": [{"name": "t", "type": "timer", "settings": {"cron": "0 * * * * * *"}}],
}
QUEUE = {
    "name": "q",
    "type": "nats",
    "settings": {"url": "nats://h", "stream": "S", "subject": "s.>", "consumer_name": "c"},
}
SCF = target("3.10", None)


class FunctionTestCase(SynchronousTestCase):
    """A function's folder."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.file("plugin.py", "print(1)\n")

    def file(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        path.chmod(mode)
        return path

    def config(self, **sections: Any) -> Path:
        """The config, with other sections; None leaves one out."""
        changed = {name: value for name, value in {**CONFIG, **sections}.items() if value is not None}
        return self.file("config.yaml", yaml.safe_dump(changed))

    def refused(self, *options: str) -> str:
        """What is said of a package that is refused before anything is downloaded."""
        errors, output = io.StringIO(), self.folder / "fn.zip"
        command = ["package", "--config", str(self.folder / "config.yaml"), "--output", str(output), *options]
        with redirect_stderr(errors), redirect_stdout(io.StringIO()) as out:
            self.assertEqual(main(command), 1)
        self.assertFalse(output.exists())
        self.said = out.getvalue()
        self.assertNotIn("getting", self.said)
        return errors.getvalue().replace(f"{self.folder}/", "")

    def mistakes(self, *options: str, **sections: Any) -> str:
        self.config(**sections)
        return self.refused(*options)


class ConfigTests(FunctionTestCase):
    def test_gateway_on_another_address(self) -> None:
        for listen in ("127.0.0.1:9000", "0.0.0.0:8080", "[::]:9000"):
            self.assertEqual(
                self.mistakes(gateway={"listen": listen}),
                f"config.yaml:8: gateway.listen: found '{listen}'; expected 0.0.0.0:9000, where SCF looks "
                'for it: gateway: {listen: "0.0.0.0:9000"}\n',
            )

    def test_no_gateway(self) -> None:
        self.assertIn("gateway: is missing; expected 0.0.0.0:9000", self.mistakes(gateway=None))

    def test_https_in_front_of_scf(self) -> None:
        tls = {"cert": "c.pem", "key": "k.pem"}
        self.assertIn("gateway.tls: is set; expected plain HTTP", self.mistakes(gateway={"tls": tls}))

    def test_port_of_this_machine_does_not_count(self) -> None:
        listen = load(self.config(gateway={}), {"PORT": "1"}).gateway
        assert listen is not None
        self.assertEqual(listen.listen.port, 9000)
        listen = load(self.config(gateway={"listen": "0.0.0.0:${PORT}"}), {"PORT": "1"}).gateway
        assert listen is not None
        self.assertEqual(listen.listen.port, 9000)

    def test_development(self) -> None:
        sections: tuple[dict[str, Any], ...] = ({"control_plane": {}}, {})
        for dev in sections:
            self.assertIn("dev: is for development; expected a config without it", self.mistakes(dev=dev))

    def test_state_outside_of_tmp(self) -> None:
        for path in ("/var/lib/f", "state", "/tmp/../var", "/tmp"):
            said = self.mistakes(system={"state_dir": path})
            self.assertIn(f"system.state_dir: found '{path}'; expected a folder in /tmp", said)
        self.config(system={"state_dir": "/tmp/f"})
        self.assertEqual(demands.check_config(load(self.folder / "config.yaml", {})).mistakes, [])

    def test_log_file_outside_of_tmp(self) -> None:
        for path in ("/var/log/f.log", "f.log"):
            said = self.mistakes(log={"file": path})
            self.assertIn(f"log.file: found '{path}'; expected a file in /tmp, or none", said)

    def test_all_mistakes_at_once(self) -> None:
        said = self.mistakes(gateway={"listen": "127.0.0.1:9000"}, system={"state_dir": "s"}, dev={})
        self.assertEqual(len(said.splitlines()), 3)

    def test_variable_that_is_not_set(self) -> None:
        said = self.mistakes(admin={"token": "${SCFD_NO_SUCH}"})
        self.assertIn("the environment variable SCFD_NO_SUCH is not set", said)

    def test_secret_in_the_config(self) -> None:
        self.config(admin={"token": "hidden"}, adapter={"http": {"command": ["none"]}})
        self.refused()
        self.assertIn("warning: admin.token: its secret is in the config, and so in the package", self.said)
        self.assertNotIn("hidden", self.said)

    def test_options(self) -> None:
        self.config()
        self.assertIn("expected a version from 3.10 on", self.refused("--python", "3.9"))
        said = self.refused("--output", str(self.folder / "none/fn.zip"))
        self.assertIn("expected a path where a zip can be written", said)
        self.assertIn("expected an absolute path", self.refused("--interpreter", "python3"))
        self.assertIn("no such file", self.refused("--requirements", str(self.folder / "none.txt")).lower())


class FilesTests(FunctionTestCase):
    def plugin(self, *command: str, **settings: Any) -> str:
        return self.mistakes(adapter={"http": {"command": list(command), **settings}})

    def test_program_and_script(self) -> None:
        self.assertIn("missing.py is not in the package", self.plugin("python3", "missing.py"))
        self.assertIn("gunicorn: not on SCF's PATH", self.plugin("gunicorn", "app"))
        self.assertIn("/home/me/run is not of the package", self.plugin("/home/me/run"))
        self.assertIn("../plugin.py is not of the package", self.plugin("python3", "../plugin.py"))
        self.file("run", "#!/bin/sh\n")
        self.assertIn("./run has mode 644; expected 755: chmod 755 ./run", self.plugin("./run"))
        self.file("run", "#!/bin/sh\r\n", 0o755)
        self.assertIn(r"run:1: found line ends CRLF; expected LF: sed -i 's/\r$//' run", self.plugin("./run"))

    def test_python_of_this_machine(self) -> None:
        said = self.plugin("/usr/bin/python3.11", "plugin.py")
        self.assertIn("/usr/bin/python3.11 is this machine's; expected python3", said)

    def test_program_of_another_platform(self) -> None:
        arm = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00"
        for begins in (b"\xcf\xfa\xed\xfe", arm):
            self.file("run", "", 0o755).write_bytes(begins + bytes(100))
            said = self.plugin("./run")
            self.assertIn("run: found a program of another platform; expected one of Linux on x86-64", said)
        self.file("run", "", 0o755).write_bytes(Path("/bin/sh").read_bytes())
        loaded = load(self.config(adapter={"http": {"command": ["./run"]}}), {})
        contents.add_bootstrap(self.folder, SCF, "config.yaml")
        self.assertEqual(demands.check_files(self.folder, loaded, SCF).mistakes, [])

    def test_private_key(self) -> None:
        self.file("keys/k.pem", "-----BEGIN PRIVATE KEY-----", 0o600)
        self.assertEqual(demands.private_keys(self.folder), ["keys/k.pem"])

    def test_script_in_a_folder(self) -> None:
        said = self.plugin("python3", "plugin.py", cwd="deep")
        self.assertIn("deep/plugin.py is not in the package", said)

    def test_bootstrap_of_ones_own(self) -> None:
        good = "#!/bin/bash\nexport A=1\nexec /var/lang/python310/bin/python3.10 -m scfd run config.yaml\n"
        for text, mode, expected in (
            (good, 0o644, "scf_bootstrap: found mode 644; expected 755: chmod 755 scf_bootstrap"),
            (good.replace("\n", "\r\n"), 0o755, "scf_bootstrap:1: found line ends CRLF; expected LF"),
            (
                good.replace("#!/bin/bash\n", ""),
                0o755,
                "scf_bootstrap:1: found 'export A=1'; expected #!/bin/bash",
            ),
            (good.replace("/bin/bash", "/usr/bin/env bash"), 0o755, "expected #!/bin/bash"),
            (
                good.replace("/var/lang/python310/bin/", ""),
                0o755,
                "scf_bootstrap:3: found python3.10; expected an",
            ),
            (good.replace("exec ", ""), 0o755, "scf_bootstrap:3: expected exec before the interpreter"),
        ):
            self.config()
            path = self.file("scf_bootstrap", text, mode)
            self.assertIn(expected, self.refused("--include", str(path)))
        self.file("scf_bootstrap", good, 0o755)
        self.assertEqual(demands.check_files(self.folder, load(self.config(), {}), SCF).mistakes, [])

    def test_size(self) -> None:
        os.truncate(self.file("data.bin", ""), 501_000_000)
        self.config()
        said = self.refused("--include", str(self.folder / "data.bin"))
        self.assertIn("package: 501 MB uncompressed; expected less than 500 MB: include less", said)

    def test_included(self) -> None:
        self.config()
        self.assertIn("no such file", self.refused("--include", "nothing"))
        self.assertIn("outside of", self.refused("--include", __file__))
        (self.folder / "broken").symlink_to("nowhere")
        self.assertIn("broken: a link to nowhere", self.refused("--include", str(self.folder / "broken")))
        (self.folder / "lib").mkdir()
        (self.folder / "lib/again").symlink_to("..")
        said = self.refused("--include", str(self.folder / "lib"))
        self.assertIn("lib/again: a link to", said)
        self.assertIn("which it is in; expected no such link", said)

    def test_extra_that_is_missing(self) -> None:
        queue = {**QUEUE, "settings": {**QUEUE["settings"], "nkey": "seed.nk"}}  # type: ignore[dict-item]
        loaded = load(self.config(triggers=[queue], plugin={"cls": {"topic_id": "t"}}), {})
        said = [mistake.text for mistake in demands.check_packages(self.folder, loaded).mistakes]
        self.assertIn("needs nkeys, which is not in the package; expected scfd[nkeys]", said)
        self.assertIn("needs lz4, which is not in the package; expected scfd[cls]", said)

    def test_module_that_is_missing(self) -> None:
        loaded = load(self.config(adapter={"http": {"command": ["python3", "-m", "gunicorn"]}}), {})
        said = [mistake.text for mistake in demands.check_packages(self.folder, loaded).mistakes]
        self.assertEqual(
            said, ["module gunicorn is not in the package; expected it by --include or --requirements"]
        )
        for there in ("plugin", "http.server"):
            loaded = load(self.config(adapter={"http": {"command": ["python3", "-m", there]}}), {})
            self.assertEqual(demands.check_packages(self.folder, loaded).mistakes, [])

    def test_module_that_a_native_plugin_imports(self) -> None:
        self.file("twisted/plugins/f_plugin.py", "import os\nimport nowhere\nfrom f import plugin\n")
        self.file("f.py", "")
        native = load(self.config(adapter={"native": "f"}), {})
        self.assertEqual(
            [mistake.text for mistake in demands.check_packages(self.folder, native).mistakes],
            [
                "twisted/plugins/f_plugin.py imports nowhere, which is not in the package; "
                "expected it by --include or --requirements"
            ],
        )


class ImportsTests(FunctionTestCase):
    def found(self, *names: str) -> list[str]:
        paths = [self.folder / name for name in names]
        return [str(path.relative_to(self.folder)) for path in imported(self.folder, paths)]

    def test_what_is_imported(self) -> None:
        self.file("twisted/plugins/f_plugin.py", "from f import plugin\nimport yaml, twisted.plugin\n")
        self.file("f.py", "def later():\n    import helpers.text as text\n")
        self.file("helpers/__init__.py", "from . import text\nfrom sums import add\n")
        self.file("helpers/text.py", "import f\n")
        self.file("sums.py", "")
        self.file("unused.py", "")
        self.assertEqual(self.found("twisted/plugins"), ["f.py", "helpers", "sums.py"])

    def test_beside_a_script(self) -> None:
        self.file("bin/main.py", "import near\n")
        self.file("bin/near.py", "")
        self.assertEqual(self.found("bin/main.py"), ["bin/near.py"])

    def test_no_python(self) -> None:
        self.file("broken.py", "def (\n")
        self.file("nul.py", "\0")
        self.file("data.json", "import f")
        self.file("f.py", "")
        self.assertEqual(self.found("broken.py", "nul.py", "data.json"), [])

    def test_module_of_the_command(self) -> None:
        self.file("app/run.py", "import plugin\n")
        self.config(adapter={"http": {"command": ["python3", "-m", "app.run"]}})
        self.refused("--include", str(self.file("of-windows.sh", "#!/bin/sh\r\n")))
        self.assertIn("including plugin.py, which other files of the function import", self.said)


class NeedsTests(FunctionTestCase):
    def test_what_the_config_does_not_use(self) -> None:
        needs = needs_of(load(self.config(), {}))
        self.assertEqual((needs.extras, needs.without, needs.tls), (frozenset(), {"nats-py"}, False))
        self.assertEqual(
            needs_of(load(self.config(admin={"listen": ""}), {})).without, {"nats-py", "txjson-rpc"}
        )
        self.assertEqual(needs_of(load(self.config(triggers=[QUEUE]), {})).without, frozenset())

    def test_tls_where_the_control_plane_may_be_on_https(self) -> None:
        for heartbeat in (None, {"server_url": "https://h"}):
            self.assertTrue(needs_of(load(self.config(heartbeat=heartbeat), {})).tls)
        self.assertTrue(needs_of(load(self.config(adapter=None), {})).tls)

    def test_cls(self) -> None:
        self.assertEqual(needs_of(load(self.config(plugin={"cls": {}}), {})).extras, {"cls"})


class PiecesTests(FunctionTestCase):
    def test_bootstrap(self) -> None:
        self.file("etc/config.yaml", "")
        contents.add_bootstrap(self.folder, SCF, "etc/config.yaml")
        path = self.folder / contents.BOOTSTRAP
        self.assertEqual(path.stat().st_mode & 0o777, 0o755)
        lines = path.read_text().splitlines()
        self.assertEqual(lines[0], "#!/bin/bash")
        self.assertEqual(
            lines[-1], "exec /var/lang/python310/bin/python3.10 packages/start.py etc/config.yaml"
        )
        self.assertNotIn(b"\r", path.read_bytes())

    def test_bootstrap_sets_the_port_that_the_config_asks_for(self) -> None:
        for listen, expected in (("0.0.0.0:${PORT}", True), ("0.0.0.0:9000", False)):
            self.config(gateway={"listen": listen})
            (self.folder / contents.BOOTSTRAP).unlink(missing_ok=True)
            contents.add_bootstrap(self.folder, SCF, "config.yaml")
            text = (self.folder / contents.BOOTSTRAP).read_text()
            self.assertEqual("export PORT=9000\n" in text, expected)

    def test_zip_is_the_same_whatever_the_time(self) -> None:
        self.file("deep/run", "#!/bin/sh\n", 0o755)
        made = []
        for moment in (1, 2_000_000_000):
            for path in contents.files_of(self.folder):
                os.utime(path, (moment, moment))
            output = Path(self.mktemp())
            contents.write_zip(self.folder, output)
            made.append(output.read_bytes())
        self.assertEqual(made[0], made[1])
        with zipfile.ZipFile(io.BytesIO(made[0])) as opened:
            modes = {entry.filename: entry.external_attr >> 16 for entry in opened.infolist()}
        self.assertEqual(modes, {"deep/run": 0o100755, "plugin.py": 0o100644})

    def test_included_folder(self) -> None:
        for name in ("lib/a.py", "lib/__pycache__/a.pyc", "lib/.git/x", "lib/dropin.cache", "lib/fn.zip"):
            self.file(name, "1")
        into = Path(self.mktemp()).absolute()
        contents.add_included(into, self.folder, [self.folder / "lib"], self.folder / "lib/fn.zip")
        self.assertEqual([str(path.relative_to(into)) for path in contents.files_of(into)], ["lib/a.py"])

    def test_scfd_without_what_is_for_developers(self) -> None:
        contents.add_scfd(self.folder, needs_of(load(self.config(), {})))
        home = self.folder / "packages/scfd"
        self.assertTrue((home / "node.py").exists())
        for name in ("testing", "dev", "package", "cli/projects", "pytest_plugin.py", "__pycache__"):
            self.assertFalse((home / name).exists(), name)
        self.assertFalse((self.folder / "packages/scf_log").exists())

    def test_lock_for_another_python(self) -> None:
        old, new = locked(SCF.markers()), locked(target("3.13", None).markers())
        self.assertIn("tomli", old)
        self.assertNotIn("tomli", new)
        self.assertIn("--hash=sha256:", old["twisted"].line)
        self.assertNotEqual(old["zope-interface"].version, new["zope-interface"].version)

    def test_target(self) -> None:
        self.assertEqual(SCF.interpreter, "/var/lang/python310/bin/python3.10")
        self.assertEqual(Target((3, 9), "/nowhere").local(), None)

    def test_requirements(self) -> None:
        text = "--find-links wheels\n# why\nrequests==2 \\\n  --hash=sha256:00\n"
        text += "x[y]>1 ; python_version > '3'  # so\n./a.whl\n"
        asked = read_requirements(self.file("requirements.txt", text))
        self.assertEqual(
            asked.requirements, (Requirement("requests==2"), Requirement("x[y]>1; python_version>'3'"))
        )
        self.assertEqual(asked.hashes, {"requests": " --hash=sha256:00"})
        self.assertEqual((asked.others, asked.sources), ((f"{self.folder}/a.whl",), ("--find-links wheels",)))
        for line in ("-r other.txt", "-e .", "no such thing"):
            error = self.assertRaises(StartupError, read_requirements, self.file("requirements.txt", line))
            self.assertIn(repr(line), str(error))
