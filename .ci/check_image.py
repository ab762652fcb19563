"""
Builds deploy/Dockerfile step by step without a container engine, and runs what comes of it: as its user, with
a root that can't be written, without a network. ``make check-deploy`` runs it; it needs root, Debian 12 and
its Python.

The first stage is built over this machine's own files, in an overlay. The base of the second one is put
together from the packages that distroless has in it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from scfd.package.boot import isolate

SELF = Path(__file__).resolve()
PROJECT = SELF.parent.parent
#: Of gcr.io/distroless/python3-debian12.
BASE = """
base-files ca-certificates libbz2-1.0 libc6 libcom-err2 libcrypt1 libdb5.3 libexpat1 libffi8 libgcc-s1
libgomp1 libgssapi-krb5-2 libk5crypto3 libkeyutils1 libkrb5-3 libkrb5support0 liblzma5 libncursesw6
libnsl2 libpython3.11-minimal libpython3.11-stdlib libreadline8 libsqlite3-0 libssl3 libstdc++6 libtinfo6
libtirpc3 libuuid1 netbase python3.11-minimal tzdata zlib1g
"""
NOT_THERE = ("usr/share/doc", "usr/share/man", "usr/share/lintian")
#: Seconds.
PATIENCE = 60
#: Bytes.
LARGEST = 120e6
OVERLAY = """
mount -t overlay overlay -o lowerdir=/,upperdir=$1/upper,workdir=$1/work $1/merged
mkdir -p $1/merged/mnt/project
mount --bind $2 $1/merged/mnt/project
for each in /proc /dev; do mount --rbind $each $1/merged$each; done
# Without the packages of this machine; the image of the stage has none.
chroot $1/merged $4 -m venv /opt/python
unset PYTHONPATH
PATH=/opt/python/bin:$PATH exec chroot $1/merged /bin/sh -ec "$3"
"""


def stages() -> list[list[tuple[str, str]]]:
    """The Dockerfile: the steps of each stage, as an instruction and what follows it."""
    text = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", (PROJECT / "deploy/Dockerfile").read_text()))
    found: list[list[tuple[str, str]]] = []
    for name, rest in re.findall(
        r"(?m)^([A-Z]+)\s+(.*)$", re.sub(r"\nHEALTHCHECK (.*?)CMD", r"\nHEALTHCHECK", text)
    ):
        if name == "FROM":
            found.append([])
        found[-1].append((name, rest.strip()))
    return found


def as_script(steps: list[tuple[str, str]]) -> str:
    """What a stage does, for a shell in its root; the project is at /mnt/project."""
    lines = []
    for name, rest in steps:
        if name == "WORKDIR":
            lines.append(f"mkdir -p {rest}; cd {rest}")
        elif name == "ENV":
            lines.append(f"export {rest}")
        elif name == "RUN":
            lines.append(rest)
        elif name == "COPY":
            *sources, to = rest.split()
            for source in sources:
                folder = (PROJECT / source).is_dir()
                target = f"{to}{Path(source).name}" if to.endswith("/") else to
                lines.append(f"mkdir -p {target if folder else Path(target).parent}")
                lines.append(f"cp -r /mnt/project/{source}{'/.' if folder else ''} {target}")
    return "\n".join(lines)


def run_image(root: str) -> None:
    """In namespaces of its own: start it, wait until its health check is content, stop it."""
    isolate(root)
    steps = dict(stages()[-1])
    user = steps["USER"]
    for folder, options in (
        ("tmp", "mode=1777"),
        ("var/lib/scfd", f"mode=0700,uid={user.partition(':')[0]}"),
    ):
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", f"{root}/{folder}"], check=True)
    subprocess.run(["mount", "--rbind", "/dev", f"{root}/dev"], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", f"{root}/proc"], check=True)
    environ = dict(word.split("=", 1) for word in shlex.split(steps["ENV"]))
    inside = ["/usr/sbin/chroot", f"--userspec={user}", root]
    node = subprocess.Popen(
        [*inside, *json.loads(steps["ENTRYPOINT"]), *json.loads(steps["CMD"])], env=environ
    )
    deadline = time.monotonic() + PATIENCE
    check = [*inside, *json.loads(steps["HEALTHCHECK"])]
    while subprocess.run(check, env=environ, stderr=subprocess.DEVNULL).returncode != 0:
        assert node.poll() is None and time.monotonic() < deadline, "it does not become healthy"
        time.sleep(0.5)
    assert f"\nUid:\t{user.partition(':')[0]}\t" in Path(f"/proc/{node.pid}/status").read_text()
    written = ["/usr/sbin/chroot", root, "/usr/bin/python3.11", "-c", "open('/opt/scfd/x', 'w')"]
    assert b"Read-only" in subprocess.run(written, capture_output=True).stderr
    node.terminate()
    assert node.wait(PATIENCE) == 0


class ImageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.python = Path(sys.base_prefix, "bin/python3.11")
        if os.geteuid() != 0 or shutil.which("apt-get") is None or not self.python.exists():
            raise SkipTest("needs root, apt-get of Debian 12, and Python 3.11")
        self.scratch = Path(tempfile.mkdtemp(prefix="scfd-image-", dir="/tmp"))
        self.scratch.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.scratch)
        self.root = self.scratch / "root"

    def run_command(self, *command: str | Path) -> None:
        environ = {**os.environ, "PYTHONPATH": str(PROJECT)}
        ended = subprocess.run(command, cwd=self.scratch, env=environ, capture_output=True, text=True)
        self.assertEqual(ended.returncode, 0, f"{command}\n{ended.stdout}{ended.stderr}")

    def build(self) -> None:
        build, final = stages()
        for folder in ("upper", "work", "merged", "root", "debs"):
            (self.scratch / folder).mkdir()
        arguments = (self.scratch, PROJECT, as_script(build), self.python)
        self.run_command("unshare", "--mount", "sh", "-ec", OVERLAY, "sh", *arguments)
        self.run_command("apt-get", "-o", "APT::Sandbox::User=root", "download", *BASE.split())
        for package in self.scratch.glob("*.deb"):
            self.run_command("dpkg-deb", "--extract", package, self.root)
        for folder in NOT_THERE:
            shutil.rmtree(self.root / folder, ignore_errors=True)
        for name, rest in final:
            if name == "COPY":
                flags = dict(word[2:].split("=") for word in rest.split() if word.startswith("--"))
                source, to = rest.split()[len(flags) :]
                copied = shutil.copytree(
                    self.scratch / "upper" / source[1:], self.root / to[1:], symlinks=True
                )
                if "chown" in flags:
                    os.chown(copied, *map(int, flags["chown"].split(":")))
                    copied.chmod(int(flags["chmod"], 8))

    def test_as_its_user_in_a_root_that_can_not_be_written(self) -> None:
        self.build()
        size = sum(path.lstat().st_size for path in self.root.rglob("*") if not path.is_symlink())
        self.assertLess(size, LARGEST)
        print(f"the image has {size / 1e6:.0f} MB")
        shutil.copytree(PROJECT / "examples/hello", self.root / "etc/scfd/plugin")
        shutil.copy(PROJECT / "deploy/compose/control-plane.yaml", self.root / "etc/scfd/config.yaml")
        self.run_command("unshare", "--net", "--mount", sys.executable, SELF, self.root)


if __name__ == "__main__":
    run_image(sys.argv[1])
