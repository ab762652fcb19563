"""Warns of what a config leaves open."""

from __future__ import annotations

import os
import stat

from scfd.cli.notes import Notes
from scfd.config import Config
from scfd.config.cross import is_loopback


def warn_of_exposure(config: Config, notes: Notes) -> None:
    gateway, admin, dev = config.gateway, config.admin, config.dev.control_plane
    if (
        gateway is not None
        and not is_loopback(gateway.listen.host)
        and not gateway.probe_token
        and not config.heartbeat.allowed_servers
    ):
        text = f"whoever reaches {gateway.listen} may name a control plane by a probe"
        notes.warning("gateway.listen", f"{text}; expected gateway.probe_token or heartbeat.allowed_servers")
    if admin is not None and not is_loopback(admin.listen.host):
        text = f"{admin.listen} is reached from other machines; expected 127.0.0.1"
        notes.warning("admin.listen", text)
    if dev is not None and not is_loopback(dev.listen.host):
        text = f"{dev.listen} is reached from other machines, and everybody may change tasks there"
        notes.warning("dev.control_plane.listen", f"{text}; expected 127.0.0.1")
    if os.geteuid() == 0:
        text = "this user is root: the node and its plugin may do anything"
        notes.warning("", f"{text}; expected a user of their own")
    if config.origin.secrets and _is_open(config.path):
        text = "every user of this machine can read the file, which holds it"
        notes.warning(config.origin.secrets[0], f"{text}; expected chmod o-r, or ${{NAME}} for the value")


def _is_open(path: str) -> bool:
    try:
        return bool(os.stat(path).st_mode & stat.S_IROTH)
    except OSError:
        return False  # it is there no more
