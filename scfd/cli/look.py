"""Looks, starting nothing, for what a config needs (plugin, program, files, ports) and what it opens."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from attrs import fields

from scfd.cli.advice import NEEDS_ADAPTER
from scfd.cli.certificates import look_at_certificates
from scfd.cli.notes import Notes
from scfd.config import AdapterSettings, Address, Config, HttpAdapterSettings, default_state_dir
from scfd.config.cross import is_loopback, listeners
from scfd.config.findings import Findings
from scfd.errors import StartupError

_INTERPRETER = re.compile(r"(?:python|pypy|node|ruby|perl|php|bash|sh|dash|java|deno|bun)[0-9.]*")
_SCRIPT = re.compile(r"[^:]+\.(?:py|pyz|js|mjs|cjs|ts|rb|pl|php|sh|jar)")
#: Options after which an interpreter is given no file: a module, or the program's text.
_NO_FILE = ("-m", "-c", "-e", "-E", "-r")


def look(config: Config, environ: Mapping[str, str]) -> Findings:
    """
    :param environ: the node's.
    :returns: mistakes with which the node would not start, or its plugin would not, and warnings.
    """
    notes = Notes(config)
    if config.adapter.http is None:
        _look_for_plugin(config, notes)
    elif config.adapter.http.command:
        _look_for_command(config.adapter.http, environ, notes)
    _look_for_development(config, notes)
    look_at_certificates(config, notes)
    _look_at_state_dir(config.system.state_dir or default_state_dir(environ), notes)
    _look_at_log_file(config.log.file, notes)
    _look_at_ports(config, notes)
    _look_at_exposure(config, notes)
    return notes.findings


def _look_for_plugin(config: Config, notes: Notes) -> None:
    from scfd.adapter.registry import NoPluginError, add_plugin_folders, find_plugin

    with notes.mistakes_of("adapter"):
        add_plugin_folders(config.adapter.path)
        try:
            find_plugin(config.adapter.native, config.system.name, cached=False)
        except NoPluginError as error:
            if config.adapter != AdapterSettings():
                raise
            raise StartupError(f"{error}; {NEEDS_ADAPTER}") from None


def _look_for_development(config: Config, notes: Notes) -> None:
    if config.dev.nats is not None:
        from scfd.dev.nats_server import find_nats_server

        with notes.mistakes_of("dev.nats"):
            find_nats_server()
    if config.dev.control_plane is not None and config.dev.control_plane.tasks:
        from scfd.dev.task_file import TaskFile

        file = TaskFile(config.dev.control_plane.tasks)
        with notes.mistakes_of("dev.control_plane.tasks"):
            file.read()
        notes.findings.warnings.extend(file.warnings)


def _look_for_command(http: HttpAdapterSettings, environ: Mapping[str, str], notes: Notes) -> None:
    if http.cwd and not os.path.isdir(http.cwd):
        what = "is no folder" if os.path.lexists(http.cwd) else "does not exist"
        notes.mistake("adapter.http.cwd", f"{http.cwd} {what}; expected the folder that the plugin starts in")
        return
    if http.cwd and not os.access(http.cwd, os.X_OK):
        notes.mistake("adapter.http.cwd", f"{http.cwd} can't be entered; expected a folder of this user's")
        return
    program, script = http.command[0], _script(http.command)
    path = {**environ, **http.env}.get("PATH", os.defpath)
    if (problem := _program_problem(program, path, http.cwd)) is not None:
        notes.mistake("adapter.http.command", f"{program}: {problem}")
    if script is not None and (problem := _file_problem(os.path.join(http.cwd, script))) is not None:
        where = f" in {http.cwd}" if http.cwd and not os.path.isabs(script) else ""
        notes.mistake("adapter.http.command", f"{script}{where}: {problem}; expected the program's file")


def _script(command: Sequence[str]) -> str | None:
    """The file that an interpreter is to run, where the command names one."""
    if not _INTERPRETER.fullmatch(os.path.basename(command[0])):
        return None
    for word in command[1:]:
        if word in _NO_FILE:
            return None
        if not word.startswith("-"):
            return word if _SCRIPT.fullmatch(word) else None
    return None


def _program_problem(program: str, path: str, cwd: str) -> str | None:
    if "/" in program:
        file = os.path.join(cwd, program)
    else:
        candidates = [os.path.join(cwd, folder, program) for folder in path.split(os.pathsep)]
        found = next((file for file in candidates if _can_be_run(file)), None)
        found = found or next((file for file in candidates if os.path.isfile(file)), None)
        if found is None:
            return "not found on PATH; expected a program"
        file = found
    if (problem := _file_problem(file)) is not None:
        return f"{problem}; expected a program"
    if not os.access(file, os.X_OK):
        return f"not executable; expected a program, such as after chmod +x {file}"
    return _content_problem(file, path)


def _can_be_run(file: str) -> bool:
    return os.path.isfile(file) and os.access(file, os.X_OK)


def _file_problem(file: str) -> str | None:
    if not os.path.lexists(file):
        return "no such file"
    if os.path.isdir(file):
        return "a folder"
    if not os.path.exists(file):
        return "a link to nowhere"
    return None


def _content_problem(file: str, path: str) -> str | None:
    """What the system says only when it is to run the file."""
    try:
        with open(file, "rb") as opened:
            begin = opened.read(256)
    except OSError:
        return None  # a program may be executable and not readable
    if begin.startswith(b"#!"):
        words = begin[2:].split(b"\n")[0].decode(errors="replace").strip(" \t").split(" ")
        if words[0] and not os.path.exists(words[0]):
            return f"its first line names {words[0]!r}, which is missing; expected an interpreter"
        if words[0].endswith("/env") and len(words) == 2 and shutil.which(words[1], path=path) is None:
            return f"its first line names {words[1]!r}, which is not on PATH; expected an interpreter"
        return None
    if not begin.startswith(b"\x7fELF"):
        return "neither a binary nor a script that begins with #!; expected a program"
    return None


def _look_at_state_dir(path: str, notes: Notes) -> None:
    def mistake(text: str) -> None:
        notes.mistake("system.state_dir", f"{path} {text}")

    try:
        found = os.lstat(path)
    except FileNotFoundError:
        parent = os.path.dirname(os.path.abspath(path))
        while not os.path.lexists(parent):
            parent = os.path.dirname(parent)
        if not os.path.isdir(parent) or not os.access(parent, os.W_OK | os.X_OK):
            mistake(f"can't be made in {parent}; expected a folder that this user may write to")
        return
    except OSError as error:
        mistake(f"can't be looked at: {error.strerror}; expected a folder that this user may write to")
        return
    if stat.S_ISLNK(found.st_mode):
        mistake("is a link; expected a folder of its own")
    elif not stat.S_ISDIR(found.st_mode):
        mistake("is no folder; expected a folder, or a path where one can be made")
    elif found.st_uid != os.geteuid():
        mistake(f"belongs to user {found.st_uid}; expected a folder of this user's own ({os.geteuid()})")
    elif not os.access(path, os.W_OK | os.X_OK):
        mistake("can't be written; expected a folder that this user may write to")
    elif _is_locked(os.path.join(path, "lock")):
        text = f"{path} is in use by a node that runs now"
        notes.warning("system.state_dir", f"{text}; expected a folder of its own, unless it is this one")


def _look_at_log_file(path: str, notes: Notes) -> None:
    if not path:
        return
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        reason = "is a folder; expected a file"
    elif not os.path.isdir(folder):
        reason = f"can't be made: there is no folder {folder}; expected a path in one that exists"
    elif not os.access(path if os.path.exists(path) else folder, os.W_OK):
        reason = "can't be written; expected a file that this user may write to"
    else:
        return
    notes.mistake("log.file", f"{path} {reason}")


def _is_locked(path: str) -> bool:
    """Whether a process has locked a file, by the kernel's list, so that no lock is taken for the look."""
    with suppress(OSError):
        inode = os.stat(path).st_ino
        return re.search(rf"FLOCK .*:{inode} ", Path("/proc/locks").read_text()) is not None
    return False


def _look_at_ports(config: Config, notes: Notes) -> None:
    sections = {field.name: getattr(config, field.name) for field in fields(Config)}
    for key, address in listeners(sections):
        reason = _bind_problem(address)
        if reason == errno.EADDRINUSE:
            text = f"{address} is in use now; expected a port that is free, unless it is this node that runs"
            notes.warning(key, text)
        elif reason == errno.EACCES:
            text = f"port {address.port} is for privileged users; expected 1024 or more"
            notes.mistake(key, f"{text}, or a node that has CAP_NET_BIND_SERVICE")
        elif reason is not None:
            text = f"can't listen on {address}: {os.strerror(reason)}; expected an address of this machine"
            notes.mistake(key, text)
    http = config.adapter.http
    if http is not None and http.command:
        for address in _own_address(http.url):
            if _bind_problem(address) == errno.EADDRINUSE:
                text = f"something listens on {address} now, and the plugin can't be started beside it"
                notes.warning("adapter.http.url", f"{text}; expected a port that is free")


def _own_address(url: str) -> Iterator[Address]:
    parts = urlsplit(url)
    if parts.hostname and parts.port and is_loopback(parts.hostname):
        yield Address(parts.hostname, parts.port)


def _bind_problem(address: Address) -> int | None:
    """:returns: an errno, or None where the node could listen. Names are not looked up."""
    host = "127.0.0.1" if address.host == "localhost" else address.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if family == socket.AF_INET and not re.fullmatch(r"[0-9.]+", host):
        return None
    try:
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((host, address.port))
    except OSError as error:
        return error.errno
    return None


def _look_at_exposure(config: Config, notes: Notes) -> None:
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
