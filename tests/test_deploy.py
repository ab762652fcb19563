"""What deploy/ and docs/deploying.rst hold fits the node: names, times, paths, users."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from scfd.config import load
from scfd.config.load import default_state_dir
from scfd.lifecycle import STOP_LIMIT

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
ENVIRON = {"POD_NAME": "scfd-0", "SCFD_TOKEN": "a-token-of-an-overlay"}
#: Seconds that a node may take to end by itself: it drains, and then at most three services hang.
SLACK = 3 * STOP_LIMIT


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


class ConfigTests(SynchronousTestCase):
    def test_they_load(self) -> None:
        for path in (
            DEPLOY / "compose/node.yaml",
            DEPLOY / "compose/control-plane.yaml",
            KUBERNETES / "config.yaml",
        ):
            config = load(str(path), ENVIRON)
            self.assertEqual(
                config.admin.listen.host if config.admin and config.admin.listen else "", "127.0.0.1"
            )


class ImageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.text = (DEPLOY / "Dockerfile").read_text()

    def test_what_it_copies_is_there_and_not_ignored(self) -> None:
        ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        copied = [
            word for line in re.findall(r"(?m)^COPY (?!--from)(.*)", self.text) for word in line.split()[:-1]
        ]
        self.assertGreater(len(copied), 8)
        for name in copied:
            self.assertTrue((DEPLOY.parent / name).exists(), name)
            self.assertIn(f"!{name}", ignored)

    def test_runs_as_a_user(self) -> None:
        self.assertIn("USER 65532:65532", self.text)

    def test_composed(self) -> None:
        services = read(DEPLOY / "compose.yaml")["services"]
        self.assertEqual(set(services), {"node", "control-plane", "nats"})
        for service in services.values():
            self.assertTrue(service["read_only"])
            for volume in service.get("volumes", []):
                host = volume.partition(":")[0]
                self.assertTrue(not host.startswith(".") or (DEPLOY / host).exists(), host)
        node = load(str(DEPLOY / "compose/node.yaml"), {})
        grace = float(services["node"]["stop_grace_period"].rstrip("s"))
        self.assertGreaterEqual(grace, node.shutdown.drain + SLACK)


class UnitTests(SynchronousTestCase):
    def setUp(self) -> None:
        parser = configparser.RawConfigParser(strict=False)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read(DEPLOY / "scfd.service")
        self.service = parser["Service"]

    def test_times(self) -> None:
        drain = load(str(KUBERNETES / "config.yaml"), ENVIRON).shutdown.drain
        self.assertGreaterEqual(float(self.service["TimeoutStopSec"]), drain + SLACK)
        self.assertEqual((self.service["Type"], self.service["DynamicUser"]), ("notify", "yes"))

    def test_state_directory_of_a_dynamic_user(self) -> None:
        """systemd makes /var/lib/scfd a link to private/scfd; and the node refuses a link."""
        folder = Path(self.mktemp()).absolute()
        (folder / "private/scfd").mkdir(parents=True)
        (folder / "scfd").symlink_to("private/scfd")
        found = default_state_dir({"STATE_DIRECTORY": str(folder / "scfd")})
        self.assertEqual(found, os.path.realpath(folder / "private/scfd"))

    def test_systemd_takes_it(self) -> None:
        analyze = shutil.which("systemd-analyze")
        if analyze is None:
            return
        # It looks whether the program is there.
        unit = Path(self.mktemp()).absolute() / "scfd.service"
        unit.parent.mkdir()
        unit.write_text((DEPLOY / "scfd.service").read_text().replace("/opt/scfd/bin/scfd", "/bin/true"))
        ended = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, timeout=30)
        self.assertEqual((ended.returncode, ended.stdout + ended.stderr), (0, ""))
        # 100 is a service that nothing keeps from anything.
        strict = [analyze, "security", "--offline=yes", "--threshold=20", "--no-pager", str(unit)]
        ended = subprocess.run(strict, capture_output=True, text=True, timeout=30)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)


class KubernetesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pod = read(KUBERNETES / "deployment.yaml")["spec"]["template"]["spec"]
        (self.container,) = self.pod["containers"]
        self.config = load(str(KUBERNETES / "config.yaml"), ENVIRON)

    def test_probes(self) -> None:
        assert self.config.gateway is not None
        self.assertTrue(self.config.gateway.health_details)
        paths = {
            name: self.container[f"{name}Probe"]["httpGet"]["path"]
            for name in ("startup", "liveness", "readiness")
        }
        self.assertEqual(paths, {"startup": "/-/startup", "liveness": "/-/live", "readiness": "/-/ready"})
        (port,) = self.container["ports"]
        self.assertEqual(port["containerPort"], self.config.gateway.listen.port)

    def test_grace_period_fits_the_drain(self) -> None:
        self.assertGreaterEqual(self.pod["terminationGracePeriodSeconds"], self.config.shutdown.drain + SLACK)

    def test_the_state_folder_is_in_a_volume(self) -> None:
        """Below it: the volume itself belongs to root, and the node's folder has to be its own."""
        mounts = {mount["name"]: mount["mountPath"] for mount in self.container["volumeMounts"]}
        self.assertEqual(str(Path(self.config.system.state_dir).parent), mounts["state"])
        self.assertEqual(set(mounts), {volume["name"] for volume in self.pod["volumes"]})
        self.assertTrue(self.container["securityContext"]["readOnlyRootFilesystem"])

    def test_every_manifest_is_in_the_base(self) -> None:
        base = read(KUBERNETES / "kustomization.yaml")
        (config,) = base["configMapGenerator"]
        named = {*base["resources"], *config["files"], "kustomization.yaml"}
        self.assertEqual(named, {path.name for path in KUBERNETES.iterdir()})
