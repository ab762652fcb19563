"""The console script."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime, timedelta, timezone
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from scfd import __version__
from scfd.adapter import registry
from scfd.cli.check import explain
from scfd.cli.main import main
from scfd.cli.schema import as_text
from scfd.config import load
from tests.test_settings_class import Settings

GOOD = """system: {name: f, version: v1, env: test, node_id: n}
heartbeat: {server_ip: 10.0.0.1, server_port: 18202}
gateway:
adapter: {http: {command: [run, --token, hidden, "--password=hidden", "-v", "http://me:hidden@h"]}}
triggers:
  - {name: t, type: timer, settings: {cron: "0 */30 * * * * *"}}
  - name: q
    type: nats
    settings: {url: "nats://me:hidden@h", stream: S, subject: s.>, consumer_name: c}
dns_proxy: {}
admin: {token: hidden}
dev: {nats: {streams: [{name: S, subjects: [s.>]}]}}
"""


def run(*argv: str) -> tuple[int, str, str]:
    """:returns: exit status, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main(argv)
        except SystemExit as exit:
            status = int(exit.code or 0)
    return status, out.getvalue(), err.getvalue()


class CliCase(SynchronousTestCase):
    def write(self, text: str) -> str:
        path: str = self.mktemp()
        Path(path).write_text(text)
        return path


class Main(CliCase):
    def test_version(self) -> None:
        self.assertEqual(run("--version"), (0, f"scfd {__version__}\n", ""))

    def test_no_command(self) -> None:
        status, out, err = run()
        self.assertEqual((status, out), (2, ""))
        self.assertIn("the following arguments are required: COMMAND", err)

    def test_mistakes(self) -> None:
        path = self.write("shutdown: {drain: x}\nadmin: {token: [a]}\n")
        status, out, err = run("check", path)
        self.assertEqual((status, out), (1, ""))
        self.assertEqual([line.split(": ")[0] for line in err.splitlines()], [f"{path}:1", f"{path}:2"])

    def test_good(self) -> None:
        path = self.write("adapter: {http: {}}")
        status, out, err = run("check", path)
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(out.splitlines()[0], f"{path}: no mistakes")

    def test_trpc_config(self) -> None:
        trpc = self.write("server: {service: [{protocol: http, port: 9100}]}")
        status, out, _ = run("check", self.write("adapter: {http: {}}"), "--trpc-config", trpc)
        self.assertEqual(status, 0)
        self.assertIn("gateway        0.0.0.0:9100\n", out)

    def test_a_working_directory_that_is_gone(self) -> None:
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        Path("gone").mkdir()
        os.chdir("gone")
        os.rmdir("../gone")
        for arguments in (("run",), ("new", "mine")):
            self.assertEqual(
                run(*arguments),
                (1, "", "scfd: the working directory is gone; expected to be in one that exists\n"),
            )


class Schema(CliCase):
    def test_of_a_plugins_settings(self) -> None:
        """A config that is only begun will do, where it says which plugin it is for."""
        self.patch(registry, "settings_class", lambda adapter, system, cached: Settings)
        path = self.write("adapter: {native: hello}\ntriggers: 5\nplugin: {}\n")
        status, out, err = run("schema", "--config", path)
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(json.loads(out)["properties"]["plugin"]["required"], ["greeting"])

    def test_nothing_to_say_of_a_plugin(self) -> None:
        path = self.write("adapter: {http: {name: x}}")
        status, out, err = run("schema", "--config", path)
        self.assertEqual((status, out == as_text()), (0, True))
        self.assertEqual(err, f"{path}: its plugin has no settings class; any section plugin is accepted\n")
        self.assertEqual(run("schema", "--config", self.write("adapter: {native: no-such}"))[0], 1)
        self.assertEqual(run("schema", "--config", self.write("adapter: 5"))[0], 1)


class Process(CliCase):
    """What only a process of its own can show."""

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        path = str(Path(__file__).parent.parent)
        code = f"import sys; sys.path.insert(0, {path!r}); {code}"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    def test_no_reactor(self) -> None:
        path = self.write(GOOD.replace("[run,", "[true,"))
        ended = self.python(
            f"from scfd.cli.main import main; status = main(['check', {path!r}]); "
            "print('reactor', 'twisted.internet.reactor' in sys.modules); sys.exit(status)"
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertTrue(ended.stdout.endswith("reactor False\n"), ended.stdout)

    def test_pipe_closed(self) -> None:
        """`scfd check … | head -1` says nothing about the pipe."""
        path = self.write(GOOD)
        ended = self.python(
            "import os; reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1); "
            f"from scfd.cli.main import main; sys.exit(main(['check', {path!r}]))"
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))

    def test_plain_terminal(self) -> None:
        """Names that the terminal's encoding does not have are shown escaped."""
        path = self.write("system: {name: ключ}\nadapter: {http: {}}")
        ended = self.python(
            "sys.stdout.reconfigure(encoding='ascii'); "
            f"from scfd.cli.main import main; sys.exit(main(['check', {path!r}]))"
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertIn("\\u043a\\u043b\\u044e\\u0447", ended.stdout)


class Explain(CliCase):
    def explain(self, text: str, **environ: str) -> list[str]:
        path = self.write(text)
        now = datetime(2026, 1, 1, 12, 10, tzinfo=timezone(timedelta(hours=8)))
        return [line.replace(path, "c.yaml") for line in explain(load(path, {}), environ, now)]

    def test_whole(self) -> None:
        self.assertEqual(
            self.explain(GOOD),
            [
                "c.yaml: no mistakes",
                "",
                "system         f v1, test",
                "node id        n, from system.node_id",
                "control plane  http://10.0.0.1:18202, a heartbeat every 9 s",
                "gateway        0.0.0.0:9000",
                "admin          127.0.0.1:9002, with a token",
                "adapter        HTTP, f at http://127.0.0.1:9001; started by the node: "
                "run --token '***' '--password=***' -v 'http://***@h'",
                "drain          20 s",
                f"state dir      /tmp/scfd-{os.geteuid()}",
                "development    NATS server on port 14222, streams: S",
                "triggers       2",
                "",
                "t (timer)",
                "  cron         0 */30 * * * * *",
                "  granularity  minute",
                "  missed       one event for them all",
                "  overlapping  left out",
                "  next         2026-01-01T12:30:00+08:00",
                "               2026-01-01T13:00:00+08:00",
                "               2026-01-01T13:30:00+08:00",
                "               2026-01-01T14:00:00+08:00",
                "               2026-01-01T14:30:00+08:00",
                "",
                "q (nats)",
                "  url          nats://***@h",
                "  stream       S",
                "  subject      s.>",
                "  consumer     c, made where it is missing, to deliver new messages (a work queue: all)",
                "  batch        10 messages, waiting up to 5 s",
                "  at a time    1, in order",
                "  delivery     at most 3 times, again after 30 s without a sign of life",
                "  kept         ack_wait, max_deliver, max_ack_pending of a consumer that exists already",
                "  failed ones  again after 1 s, 2 s",
                "",
                "warning: c.yaml:10: dns_proxy: not used by scfd",
            ],
        )

    def of_timer(self, cron: str) -> str:
        return "\n".join(
            self.explain(f"triggers: [{{name: t, type: timer, settings: {{cron: '{cron}', timezone: UTC}}}}]")
        )

    def test_six_fields_are_read_in_another_way_by_the_go_framework(self) -> None:
        out = self.of_timer("0 */5 * * * *")
        self.assertIn(
            "  as seven     0 */5 * * * * *\n  in Go        0 0 */5 * * * *\n  next in Go   2026-", out
        )
        self.assertIn(
            "warning: c.yaml:1: triggers[0].settings.cron: found six fields, '0 */5 * * * *'; scfd reads "
            "them as second to day of week, the Go framework as minute to year, '0 0 */5 * * * *'; "
            "expected seven fields, which mean the same to both: '0 */5 * * * * *'",
            out,
        )

    def test_six_fields_that_go_would_not_read(self) -> None:
        out = self.of_timer("0 0 0 15 8 1")
        self.assertIn("  next in Go   none: cron ", out)

    def test_five_and_seven_fields_are_no_reason_to_warn(self) -> None:
        for cron in ("*/5 * * * *", "0 */5 * * * * *", "@hourly"):
            out = self.of_timer(cron)
            self.assertNotIn("in Go", out)

    def test_node_id(self) -> None:
        line = "node id        node-abc, from the environment variable TENCENTCLOUD_FUNCTIONNAME"
        self.assertIn(line, self.explain(GOOD, TENCENTCLOUD_FUNCTIONNAME="node-abc"))
        self.assertIn(
            "node id        none: no heartbeats until a probe finds SCF_FUNCTIONNAME or "
            "TENCENTCLOUD_FUNCTIONNAME set; or set system.node_id",
            self.explain("system: {name: f}"),
        )

    def test_consumer(self) -> None:
        required = "url: 'nats://h', stream: S, consumer_name: c"
        text = f"triggers: [{{{{name: q, type: nats, settings: {{{{{required}, {{}}}}}}}}}}]"
        lines = self.explain(
            text.format("subjects: [s.a, s.b], deliver: 17, max_ack_pending: 5, domain: hub")
        )
        for line in (
            "subject      s.a, s.b",
            "consumer     c, made where it is missing, to deliver 17",
            "requests     $JS.hub.API",
            "kept         ack_wait, max_deliver of a consumer that exists already",
            "pending      5 at most, at all nodes together",
        ):
            self.assertIn(f"  {line}", lines)
        lines = self.explain(text.format("bind: true, inbox_prefix: _INBOX_x."))
        self.assertIn("  subject      as the consumer has it", lines)
        self.assertIn("  consumer     c, used as it is", lines)
        self.assertIn("  replies      _INBOX_x", lines)

    def test_tls(self) -> None:
        lines = self.explain("gateway: {listen: ':9443', tls: {cert: c.pem, key: k.pem}}")
        self.assertIn("gateway        0.0.0.0:9443, HTTPS", lines)

    def test_little(self) -> None:
        lines = self.explain("admin: {listen: ''}")
        self.assertIn("control plane  named by the first probe, a heartbeat every 9 s", lines)
        self.assertIn("gateway        none: the node serves no callers, no probe", lines)
        self.assertIn("admin          turned off", lines)
        self.assertIn("adapter        native, the only one installed", lines)
        self.assertIn("triggers       none", lines)

    def test_control_characters(self) -> None:
        """A name can't move the cursor, nor forge a line."""
        self.assertIn(
            "system         a\\x1b[2J\\nb v1", self.explain('system: {name: "a\\e[2J\\nb", version: v1}')
        )
