"""What `scfd check` finds beside the config: plugin, program, files, folders, ports, and what is open."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from unittest import mock

from attrs import evolve

from scfd.cli.advice import adapter_advice
from scfd.cli.look import look
from scfd.config import load
from tests.certificates import make_certificate
from tests.test_cli import run
from tests.test_config import ConfigCase

HTTP = "adapter: {http: {}}\n"
QUIET = f"{HTTP}admin: {{listen: ''}}\n"


class LookCase(ConfigCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        patched = mock.patch("os.geteuid", return_value=os.getuid() or 0)
        patched.start()
        self.addCleanup(patched.stop)

    def look(self, text: str, **environ: str) -> tuple[list[str], list[str]]:
        """:returns: mistakes and warnings, without the file's name; not that this user is root."""
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **environ}
        config = self.load(text, environ)
        config = evolve(config, path=os.path.abspath(self.path))
        os.chmod(config.path, 0o600)
        here = os.getcwd()
        os.chdir(self.folder)
        try:
            found = look(config, environ)
        finally:
            os.chdir(here)
        lines = [str(mistake) for mistake in found.mistakes]
        warnings = [line for line in found.warnings if "this user is root" not in line]
        return [self.short(line) for line in lines], [self.short(line) for line in warnings]

    def short(self, line: str) -> str:
        return (
            line.removeprefix(os.path.abspath(self.path))
            .removeprefix(":")
            .replace(str(self.folder), "FOLDER")
            .strip()
        )

    def mistake(self, text: str, expected: str, **environ: str) -> None:
        self.assertEqual(self.look(text, **environ)[0], [expected])

    def warning(self, text: str, *expected: str, **environ: str) -> None:
        self.assertEqual(self.look(text, **environ), ([], list(expected)))

    def write(self, name: str, text: str = "", mode: int = 0o755) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)


class PluginTests(LookCase):
    def setUp(self) -> None:
        super().setUp()
        patched = mock.patch("scfd.adapter.registry._PACKAGES", ())
        patched.start()
        self.addCleanup(patched.stop)

    def test_none(self) -> None:
        self.mistake(
            "admin: {listen: ''}\nadapter: {native: x}",
            "2: adapter.native: there is no native plugin 'x'; none found in twisted/plugins or "
            "scfd/plugins, neither here nor on sys.path",
        )
        self.mistake(
            "system: {name: f}",
            "adapter: the config names no plugin, and there is none installed; none found in "
            "twisted/plugins or scfd/plugins, neither here nor on sys.path; expected its name in "
            "adapter.native, or adapter.http for one that is another program",
        )

    def test_folder(self) -> None:
        self.mistake(
            "adapter:\n  path: nowhere",
            "2: adapter.path: no plugins in 'nowhere'; it should be a folder with twisted/plugins or "
            "scfd/plugins in it",
        )


class GoConfigTests(LookCase):
    def advice(self, text: str) -> str:
        path = self.folder / "configs" / "config.yaml"
        self.write("configs/config.yaml", text)
        return "\n".join(adapter_advice(load(str(path), {})))

    def test_section_to_paste(self) -> None:
        """It loads where it is pasted, and has what the deployment says."""
        go = "system: {name: my-function}\nheartbeat: {interval: 9}\n"
        self.assertIn("    # command: [python3, -u, plugin/my_plugin.py]", self.advice(go))
        bootstrap = (
            "#!/bin/bash\nexport PORT=9000\n# plugin &\npython3 -u './my plugin.py' 2>&1 &\n\n./main -c x\n"
        )
        self.write("scf_bootstrap", bootstrap)
        advice = self.advice(go)
        pasted = go + "\n".join(
            line for line in advice.splitlines() if line.startswith(("adapter", " ", "gate"))
        )
        config = self.load(pasted)
        assert config.adapter.http is not None
        self.assertEqual(config.adapter.http.name, "my-function")
        self.assertEqual(config.adapter.http.url, "http://127.0.0.1:9001")
        self.assertEqual(config.adapter.http.command, ("python3", "-u", "./my plugin.py"))
        self.assertIsNotNone(config.gateway)

    def test_from_outside(self) -> None:
        self.write("go.yaml", "system: {name: f}\ntriggers: []\nplugin: {a: 1}\n", 0o600)
        status, out, err = run("check", str(self.folder / "go.yaml"))
        self.assertEqual(status, 1)
        self.assertIn("\nadapter:\n  http:\n    name: f\n    url: http://127.0.0.1:9001\n", out)
        self.assertIn("or adapter.http for one that is another program", err)
        self.write("with.yaml", HTTP, 0o600)
        self.assertNotIn("\nadapter:\n", run("check", str(self.folder / "with.yaml"))[1])


class CommandTests(LookCase):
    def command(self, command: str, expected: str, more: str = "") -> None:
        text = f"adapter:\n  http:\n    command: {command}\n    {more}\nadmin: {{listen: ''}}"
        found = self.look(text)
        self.assertEqual(found[0], [expected] if expected else [])

    def test_good(self) -> None:
        self.write("plugin/main.py")
        self.write("plugin/run", "#!/bin/sh\n")
        self.command("[python3, -u, plugin/main.py, other.py]", "")
        self.command("[python3, -m, no_file.py]", "")
        self.command("[python3, main.py]", "", "cwd: plugin")
        self.command("[./run]", "", "cwd: plugin")
        self.command("[/bin/sh, -c, 'x.sh']", "")

    def test_program(self) -> None:
        self.write("folder/x")
        self.write("plain", "#!/bin/sh\n", 0o644)
        self.write("text", "hello\n")
        self.write("no-interpreter", "#!/no/such/python3\n")
        self.write("dos", "#!/bin/sh\r\necho\r\n")
        self.write("env", "#!/usr/bin/env no-such-program\n")
        os.symlink("nowhere", self.folder / "link")
        key = "3: adapter.http.command:"
        for program, expected in (
            ("no-such-program", "not found on PATH; expected a program"),
            ("./missing", "no such file; expected a program"),
            ("./folder", "a folder; expected a program"),
            ("./link", "a link to nowhere; expected a program"),
            ("./text", "neither a binary nor a script that begins with #!; expected a program"),
            (
                "./no-interpreter",
                "its first line names '/no/such/python3', which is missing; expected an interpreter",
            ),
            ("./dos", "its first line names '/bin/sh\\r', which is missing; expected an interpreter"),
            (
                "./env",
                "its first line names 'no-such-program', which is not on PATH; expected an interpreter",
            ),
            ("./plain", "not executable; expected a program, such as after chmod +x ./plain"),
        ):
            with self.subTest(program=program):
                self.command(f"[{program}]", f"{key} {program}: {expected}")

    def test_script(self) -> None:
        self.command(
            "[python3, -u, plugin/main.py]",
            "3: adapter.http.command: plugin/main.py: no such file; expected the program's file",
        )
        self.write("plugin/other.py")
        self.command(
            "[python3, main.py]",
            "3: adapter.http.command: main.py in plugin: no such file; expected the program's file",
            "cwd: plugin",
        )

    def test_folder(self) -> None:
        self.write("file")
        expected = "expected the folder that the plugin starts in"
        self.command("[python3]", f"4: adapter.http.cwd: none does not exist; {expected}", "cwd: none")
        self.command("[python3]", f"4: adapter.http.cwd: file is no folder; {expected}", "cwd: file")

    def test_path_that_the_plugin_gets(self) -> None:
        self.write("bin/mine", "#!/bin/sh\n")
        self.command("[mine]", "", f"env: {{PATH: {self.folder}/bin}}")


class FileTests(LookCase):
    def test_task_file(self) -> None:
        self.write("tasks.yaml", "- task_id: a\n  task_parms: x\n")
        control_plane = "{listen: '127.0.0.1:19004', tasks: tasks.yaml}"
        text = f"{QUIET}gateway: {{listen: '127.0.0.1:19003'}}\ndev: {{control_plane: {control_plane}}}"
        (warning,) = self.look(text)[1]
        self.assertIn("tasks.yaml:2: tasks[0].task_parms: unknown key", warning)
        self.write("tasks.yaml", "- {}\n- 1\n")
        self.assertEqual(
            self.look(text)[0],
            [
                "tasks.yaml:1: tasks[0].task_id: text is expected, such as task-001",
                "tasks.yaml:2: tasks[1]: a mapping with a task_id is expected",
            ],
        )
        os.unlink(self.folder / "tasks.yaml")
        self.mistake(
            text,
            "4: dev.control_plane.tasks: tasks.yaml can't be read: No such file or directory; "
            "expected a YAML file with a list of tasks",
        )

    def test_state_dir(self) -> None:
        self.write("file")
        os.symlink("/tmp", self.folder / "link")
        for path, expected in (
            ("new/deep", ""),
            ("file", "file is no folder; expected a folder, or a path where one can be made"),
            ("link", "link is a link; expected a folder of its own"),
            (
                "file/x",
                "file/x can't be looked at: Not a directory; expected a folder that this user may write to",
            ),
        ):
            with self.subTest(path=path):
                expected = f"1: system.state_dir: {expected}" if expected else ""
                found = self.look(f"system: {{state_dir: {path}}}\n{QUIET}")
                self.assertEqual(found[0], [expected] if expected else [])
        self.assertEqual(sorted(os.listdir(self.folder)), ["file", "link"])
        with mock.patch("os.access", return_value=False):
            self.mistake(
                f"system: {{state_dir: /new/deep}}\n{QUIET}",
                "1: system.state_dir: /new/deep can't be made in /; "
                "expected a folder that this user may write to",
            )

    def test_state_dir_of_somebody_else(self) -> None:
        self.write("state/x")
        with mock.patch("os.geteuid", return_value=os.getuid() + 1):
            ((mistake,), _) = self.look(f"system: {{state_dir: state}}\n{QUIET}")
        self.assertIn(f"state belongs to user {os.getuid()}; expected a folder of this user's own", mistake)

    def test_state_dir_in_use(self) -> None:
        self.write("state/lock")
        with open(self.folder / "state/lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.warning(
                f"system: {{state_dir: state}}\n{QUIET}",
                "1: system.state_dir: state is in use by a node that runs now; "
                "expected a folder of its own, unless it is this one",
            )
        self.warning(f"system: {{state_dir: state}}\n{QUIET}")


class LogFileTests(LookCase):
    def test_log_file(self) -> None:
        (self.folder / "there").touch()
        for name in ("there", "to-be-made.log"):
            self.assertEqual(self.look(f"{QUIET}log: {{file: {self.folder}/{name}}}"), ([], []))
        self.mistake(
            f"{QUIET}log: {{file: {self.folder}/none/x.log}}",
            "3: log.file: FOLDER/none/x.log can't be made: there is no folder FOLDER/none; "
            "expected a path in one that exists",
        )
        self.mistake(
            f"{QUIET}log: {{file: {self.folder}}}", "3: log.file: FOLDER is a folder; expected a file"
        )
        with mock.patch("os.access", side_effect=lambda path, mode: not str(path).endswith("there")):
            self.mistake(
                f"{QUIET}log: {{file: {self.folder}/there}}",
                "3: log.file: FOLDER/there can't be written; expected a file that this user may write to",
            )


class PortTests(LookCase):
    def test_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            self.warning(
                f"gateway: {{listen: '{address}'}}\n{QUIET}",
                f"1: gateway.listen: {address} is in use now; "
                "expected a port that is free, unless it is this node that runs",
            )
            self.warning(
                f"adapter: {{http: {{url: 'http://{address}', command: ['true']}}}}\nadmin: {{listen: ''}}",
                f"1: adapter.http.url: something listens on {address} now, and the plugin can't be started "
                "beside it; expected a port that is free",
            )

    def test_not_ours(self) -> None:
        self.mistake(
            f"{HTTP}admin: {{listen: '192.0.2.1:9000', token: x}}",
            "2: admin.listen: can't listen on 192.0.2.1:9000: Cannot assign requested address; "
            "expected an address of this machine",
        )
        with mock.patch("socket.socket.bind", side_effect=PermissionError(13, "no")):
            self.mistake(
                f"{HTTP}admin: {{listen: '127.0.0.1:80'}}",
                "2: admin.listen: port 80 is for privileged users; expected 1024 or more, or a node that has "
                "CAP_NET_BIND_SERVICE",
            )

    def test_names_are_not_looked_up(self) -> None:
        with mock.patch("socket.getaddrinfo", side_effect=AssertionError):
            self.look(f"{HTTP}admin: {{listen: 'ops.example.com:9100', token: x}}")


class CertificateTests(LookCase):
    def tls(self, cert: str, key: str) -> tuple[list[str], list[str]]:
        text = f"{QUIET}gateway:\n  listen: 127.0.0.1:19004\n  tls: {{cert: {cert}, key: {key}}}"
        return self.look(text)

    def test_gateway(self) -> None:
        make_certificate(self.folder, "a", 100)
        make_certificate(self.folder, "b", 3)
        self.write("junk", "junk")
        self.assertEqual(self.tls("a.pem", "a.key"), ([], []))
        ((mistake,), _) = self.tls("a.pem", "b.key")
        self.assertEqual(mistake, "5: gateway.tls: the key b.key is not the one of the certificate a.pem")
        ((mistake,), _) = self.tls("none.pem", "a.key")
        self.assertIn("5: gateway.tls.cert: can't read none.pem: No such file", mistake)
        ((mistake,), _) = self.tls("junk", "a.key")
        self.assertIn("expected PEM files with a certificate chain", mistake)
        (_, (warning,)) = self.tls("b.pem", "b.key")
        self.assertRegex(
            warning, r"^5: gateway.tls.cert: b.pem expires in 2 days, on .*; expected a newer one"
        )
        with mock.patch("time.time", return_value=4e9):
            ((mistake,), _) = self.tls("a.pem", "a.key")
        self.assertRegex(
            mistake, r"^5: gateway.tls.cert: a.pem has expired on .*; expected a certificate that"
        )
        with mock.patch("time.time", return_value=1e9):
            ((mistake,), _) = self.tls("a.pem", "a.key")
        self.assertIn("a.pem is not valid before ", mistake)

    def nats(self, settings: str) -> list[str]:
        common = "url: 'nats://h', stream: S, subject: s, consumer_name: c"
        text = f"{QUIET}triggers:\n  - {{name: q, type: nats, settings: {{{common}, {settings}}}}}"
        return self.look(text)[0]

    def test_nats(self) -> None:
        make_certificate(self.folder, "a", 100)
        make_certificate(self.folder, "b", 100)
        self.write("junk", "junk")
        seed = "SU" + "A" * 56
        self.write("seed", f"{seed}\n")
        self.write("creds", f"-----BEGIN NATS USER JWT-----\ney\n------END\n{seed}\n")
        for settings in (
            "tls: {ca: a.pem, cert: a.pem, key: a.key}",
            "nkey: seed",
            f"nkey: {seed}",
            "credentials: creds",
        ):
            self.assertEqual(self.nats(settings), [], settings)
        key = "4: triggers[0].settings"
        for settings, expected in (
            ("tls: {ca: none}", f"{key}.tls.ca: none: FileNotFoundError: [Errno 2] No such file"),
            ("tls: {ca: junk}", f"{key}.tls.ca: junk: SSLError: "),
            ("tls: {cert: a.pem, key: b.key}", f"{key}.tls.cert: a.pem, b.key: SSLError: "),
            ("nkey: none", f"{key}.nkey: none: No such file or directory"),
            ("nkey: junk", f"{key}.nkey: junk is another file; expected the seed of an NKey"),
            ("credentials: none", f"{key}.credentials: none: No such file or directory"),
            (
                "credentials: seed",
                f"{key}.credentials: seed is another file; expected a user JWT and its seed",
            ),
        ):
            with self.subTest(settings=settings):
                (mistake,) = self.nats(settings)
                self.assertTrue(mistake.startswith(expected), mistake)


class ExposureTests(LookCase):
    def test_gateway(self) -> None:
        text = (
            "gateway.listen: whoever reaches {0} may name a control plane by a probe; "
            "expected gateway.probe_token or heartbeat.allowed_servers"
        )
        for listen in ("0.0.0.0:19005", "'[::]:19005'"):
            self.warning(f"{QUIET}gateway: {{listen: {listen}}}", "3: " + text.format(listen.strip("'")))
        for closed in (
            "gateway: {listen: ':19005', probe_token: x}",
            "gateway: {listen: ':19005'}\nheartbeat: {allowed_servers: 10.0.0.0/8}",
            "gateway: {listen: 'localhost:19005'}",
            "gateway: {listen: '127.0.0.2:19005'}",
            "gateway: {listen: '[::1]:19005'}",
        ):
            self.warning(QUIET + closed)

    def test_admin_and_dev(self) -> None:
        self.warning(
            f"{HTTP}admin: {{listen: ':19005', token: x}}",
            "2: admin.listen: 0.0.0.0:19005 is reached from other machines; expected 127.0.0.1",
        )
        self.warning(
            f"{QUIET}gateway: {{listen: 'localhost:19006'}}\ndev:\n  control_plane: {{listen: ':19005'}}",
            "5: dev.control_plane.listen: 0.0.0.0:19005 is reached from other machines, and everybody may "
            "change tasks there; expected 127.0.0.1",
        )

    def test_root(self) -> None:
        for uid, count in ((0, 1), (1000, 0)):
            with mock.patch("os.geteuid", return_value=uid):
                found = look(self.load(QUIET), {})
            self.assertEqual(len([line for line in found.warnings if "this user is root" in line]), count)

    def test_secrets_that_all_users_can_read(self) -> None:
        for text, mode, expected in (
            ("admin: {listen: '127.0.0.1:19007', token: x}", 0o644, "admin.token"),
            ("heartbeat: {auth: {access_key: x, secret_key: x}}", 0o644, "heartbeat.auth.secret_key"),
            ("system: {storage_url: 'http://u:p@h'}", 0o604, "system.storage_url"),
            ("admin: {listen: '127.0.0.1:19007', token: x}", 0o640, ""),
            ("admin: {listen: '127.0.0.1:19007', token: '${T}'}", 0o644, ""),
            ("admin: {listen: '127.0.0.1:19007', token: ''}", 0o644, ""),
        ):
            with self.subTest(text=text, mode=mode):
                config = self.load(HTTP + text, {"T": "x"})
                os.chmod(self.path, mode)
                lines = [line for line in look(config, {}).warnings if "every user" in line]
                self.assertEqual(len(lines), 1 if expected else 0)
                self.assertIn(expected, "".join(lines))


class StatusTests(LookCase):
    def check(self, text: str, *options: str) -> tuple[int, str, str]:
        self.write("c.yaml", text, 0o600)
        with mock.patch("os.geteuid", return_value=1000), mock.patch.dict(os.environ, {"HOME": "/tmp"}):
            return run("check", str(self.folder / "c.yaml"), *options)

    def test_warnings_are_no_mistakes_unless_strict(self) -> None:
        text = f"{QUIET}gateway: {{listen: ':19008'}}"
        status, out, err = self.check(text)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("c.yaml: no mistakes\n", out)
        self.assertIn("\nwarning: ", out)
        self.assertEqual(self.check(text, "--strict")[0], 1)
        self.assertEqual(self.check(f"{QUIET}gateway: {{listen: 'localhost:19008'}}", "--strict")[0], 0)

    def test_mistakes(self) -> None:
        status, out, err = self.check("adapter: {http: {command: [./none], cwd: /}}")
        self.assertEqual(status, 1)
        self.assertIn("c.yaml: 1 mistake, see below\n", out)
        self.assertTrue(
            err.endswith("c.yaml:1: adapter.http.command: ./none: no such file; expected a program\n")
        )
