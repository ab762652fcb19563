"""What SCF demands of a config and of the files of a package. All mistakes are found at once."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from scfd.config import Config, NatsSettings
from scfd.config.findings import Findings
from scfd.errors import Mistake
from scfd.package.contents import BOOTSTRAP, PACKAGES, files_of
from scfd.package.imports import names_imported
from scfd.package.needs import needs_of
from scfd.package.target import Target

#: Bytes that a function and its layers may have, uncompressed.
LARGEST = 500 * 1000 * 1000
#: Where a function's files are on SCF.
HOME = "/var/user"
#: Modules by which it is seen that an extra is there.
_MODULES = {"cls": ("lz4", "google/protobuf"), "nkeys": ("nkeys",), "ws": ("aiohttp",)}
#: Programs that SCF's images have, by name.
_PROGRAMS = ("bash", "sh", "env", "python3")
_SYSTEM = ("/bin/", "/usr/bin/", "/usr/local/bin/", "/var/lang/", "/opt/")
#: Bytes in which a script has its first line ends.
_SCRIPT_BYTES = 4096
#: How programs begin: those of Linux, with the class and machine of x86-64 further on, and those of macOS.
_ELF, _X86_64 = b"\x7fELF", b"\x02\x3e\x00"
_MACH_O = (b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_SCRIPT = re.compile(r"[^:]+\.(?:py|pyz|js|mjs|cjs|sh)")


def check_config(config: Config) -> Findings:
    """:returns: what keeps the config from running on SCF, by key."""
    found = Findings(config.path)
    for key, text in (*_listening(config), *_writing(config), *_named_files(config)):
        found.mistake(config.origin.line_of(key), key, text)
    return found


def _listening(config: Config) -> Iterator[tuple[str, str]]:
    if "dev" in config.origin.lines:
        yield "dev", "is for development; expected a config without it, such as one for production"
    wanted = 'expected 0.0.0.0:9000, where SCF looks for it: gateway: {listen: "0.0.0.0:9000"}'
    if config.gateway is None:
        yield "gateway", f"is missing; {wanted}"
        return
    listen = config.gateway.listen
    if (listen.host, listen.port) != ("0.0.0.0", 9000):
        yield "gateway.listen", f"found {str(listen)!r}; {wanted}"
    if config.gateway.tls is not None:
        yield "gateway.tls", "is set; expected plain HTTP: SCF itself serves https, and asks for http on 9000"
    if config.admin is not None and config.admin.listen.port == 9000:
        yield "admin.listen", "port 9000 is the gateway's; expected another one"


def _writing(config: Config) -> Iterator[tuple[str, str]]:
    path = config.system.state_dir
    if path and not _in_tmp(path):
        text = f"found {path!r}; expected a folder in /tmp, the only one that can be written, or none"
        yield "system.state_dir", text
    # An empty path is no file.
    if config.log.file and not _in_tmp(config.log.file):
        yield "log.file", f"found {config.log.file!r}; expected a file in /tmp, or none: SCF keeps the output"


def _in_tmp(path: str) -> bool:
    return os.path.normpath(path).startswith("/tmp/")


def named_paths(config: Config) -> Iterator[tuple[str, str]]:
    """:returns: keys of the config that name what has to be in the package, and the path each has."""
    for path in config.adapter.path:
        yield "adapter.path", path
    http = config.adapter.http
    if http is not None and http.command:
        if http.cwd:
            yield "adapter.http.cwd", http.cwd
        words = [http.command[0]] if "/" in http.command[0] else []
        words += [word for word in http.command[1:] if _SCRIPT.fullmatch(word) and not word.startswith("-")][
            :1
        ]
        for word in words:
            yield "adapter.http.command", os.path.join(http.cwd, word)
    for index, trigger in enumerate(config.triggers):
        if isinstance(trigger, NatsSettings):
            tls = trigger.tls
            nkey = trigger.nkey if "/" in trigger.nkey or "." in trigger.nkey else ""
            files = {"credentials": trigger.credentials, "nkey": nkey}
            if tls is not None:
                files |= {"tls.ca": tls.ca, "tls.cert": tls.cert, "tls.key": tls.key}
            yield from ((f"triggers[{index}].settings.{name}", path) for name, path in files.items() if path)


def is_of_package(path: str) -> bool:
    """Whether a path of the config leads into the package, not into SCF's own image or /tmp."""
    return not (path.startswith(_SYSTEM) or path.startswith("/tmp/"))


def in_package(path: str) -> str:
    """A path of the config as one of the package."""
    return os.path.normpath(path.removeprefix(f"{HOME}/"))


def _named_files(config: Config) -> Iterator[tuple[str, str]]:
    for key, path in named_paths(config):
        inside = in_package(path)
        if is_of_package(path) and (os.path.isabs(inside) or inside.startswith("..")):
            yield (
                key,
                f"{path} is not of the package; expected a path relative to its folder, such as plugin.py",
            )


def check_files(folder: Path, config: Config, target: Target) -> Findings:
    """:returns: what is wrong with the files of the function."""
    found = Findings(config.path)
    for key, text in _plugin(folder, config, target):
        found.mistake(config.origin.line_of(key), key, text)
    found.mistakes.extend(_programs(folder))
    found.mistakes.extend(_bootstrap(folder / BOOTSTRAP))
    return found


def check_packages(folder: Path, config: Config) -> Findings:
    """:returns: what the config needs that is not among the distributions."""
    found = Findings(config.path)
    needed = (*_extras(folder / PACKAGES, config), *_module(folder, config), *_native(folder, config))
    for key, text in needed:
        found.mistake(config.origin.line_of(key), key, text)
    return found


def check_size(config: Config, size: int) -> Findings:
    """:param size: bytes, uncompressed."""
    found, limit = Findings(config.path), f"{LARGEST / 1e6:.0f} MB"
    if size >= LARGEST:
        text = (
            f"{size / 1e6:.0f} MB uncompressed; expected less than {limit}: include less, or move data to COS"
        )
        found.mistakes.append(Mistake("package", 0, "", text))
    return found


def _plugin(folder: Path, config: Config, target: Target) -> Iterator[tuple[str, str]]:
    for key, path in named_paths(config):
        if is_of_package(path) and not (folder / in_package(path)).exists():
            yield key, f"{path} is not in the package; expected it, such as by --include {path}"
    http = config.adapter.http
    if http is None or not http.command:
        return
    program, key = http.command[0], "adapter.http.command"
    if "/" not in program:
        known = (*_PROGRAMS, f"python{target.version}")
        if program not in known:
            text = f"{program}: not on SCF's PATH and no path of the package; expected {', '.join(known)}, or"
            yield key, f"{text} a path such as ./bin/{program}; a script of a wheel runs as python3 -m NAME"
    elif re.fullmatch(r"/(usr/(local/)?)?bin/python[\d.]*", program):
        yield key, f"{program} is this machine's; expected python3, which is the node's own Python on SCF"
    elif is_of_package(path := os.path.join(http.cwd, program)):
        file = folder / in_package(path)
        if file.is_file() and not file.stat().st_mode & stat.S_IXUSR:
            yield key, f"{program} has mode 644; expected 755: chmod 755 {program}"


def module_of(config: Config) -> str:
    """:returns: that of ``python3 -m``, or ``""``."""
    command = config.adapter.http.command if config.adapter.http is not None else ()
    if "-m" not in command[:-1] or not command[0].startswith("python"):
        return ""
    return command[command.index("-m") + 1]


def _module(folder: Path, config: Config) -> Iterator[tuple[str, str]]:
    http, name = config.adapter.http, module_of(config)
    if http is not None and name and not _has_module(folder, http.cwd, name):
        text = f"module {name} is not in the package; expected it by --include or --requirements"
        yield "adapter.http.command", text


def _native(folder: Path, config: Config) -> Iterator[tuple[str, str]]:
    """What the modules of a native plugin import."""
    if config.adapter.http is not None:
        return
    for file in sorted(folder.glob("[ts]*/plugins/*.py")):
        for name in names_imported(file, always=True):
            if not _has_module(folder, "", name):
                text = f"{file.relative_to(folder)} imports {name}, which is not in the package"
                yield "adapter.native", f"{text}; expected it by --include or --requirements"


def _has_module(folder: Path, cwd: str, name: str) -> bool:
    path = name.replace(".", "/")
    homes = (folder / in_package(cwd or "."), folder, folder / PACKAGES)
    there = any((home / f"{path}.py").exists() or (home / path).is_dir() for home in homes)
    return there or name.partition(".")[0] in sys.stdlib_module_names


def _extras(home: Path, config: Config) -> Iterator[tuple[str, str]]:
    for extra in sorted(needs_of(config).extras):
        for module in _MODULES[extra]:
            if not ((home / module).is_dir() or (home / f"{module}.py").exists()):
                text = f"needs {module.replace('/', '.')}, which is not in the package"
                yield "plugin.cls" if extra == "cls" else "triggers", f"{text}; expected scfd[{extra}]"


def _programs(folder: Path) -> Iterator[Mistake]:
    """Scripts with the line ends of Windows do not run, nor do programs and libraries of another platform."""
    for file in files_of(folder):
        with file.open("rb") as opened:
            text = opened.read(_SCRIPT_BYTES)
        name = str(file.relative_to(folder))
        if (text[:2] == b"#!" or file.suffix == ".sh") and b"\r\n" in text:
            yield Mistake(name, 1, "", rf"found line ends CRLF; expected LF: sed -i 's/\r$//' {name}")
        elif text[:4] in _MACH_O or (text[:4] == _ELF and text[4:5] + text[18:20] != _X86_64):
            yield Mistake(name, 0, "", "found a program of another platform; expected one of Linux on x86-64")


def private_keys(folder: Path) -> list[str]:
    """:returns: files in which others would find a private key."""
    found = []
    for file in files_of(folder):
        with file.open("rb") as opened:
            if b"PRIVATE KEY-----" in opened.read(_SCRIPT_BYTES):
                found.append(str(file.relative_to(folder)))
    return found


def _bootstrap(path: Path) -> Iterator[Mistake]:
    mode, content = path.stat().st_mode & 0o777, path.read_bytes()
    if mode not in (0o755, 0o777):
        yield Mistake(BOOTSTRAP, 0, "", f"found mode {mode:o}; expected 755: chmod 755 {BOOTSTRAP}")
    if content[:4] == _ELF:
        return
    lines = content.decode(errors="replace").splitlines() or [""]
    if re.match(r"#!\s*/(?!usr/bin/env\b)", lines[0]) is None:
        yield Mistake(BOOTSTRAP, 1, "", f"found {lines[0]!r}; expected #!/bin/bash")
    for number, line in enumerate(lines, 1):
        words = line.split()
        program = next((word for word in words if re.fullmatch(r"(\S*/)?python[0-9.]*", word)), None)
        if program is None or words[0].startswith("#"):
            continue
        if not program.startswith("/"):
            text = f"found {program}; expected an absolute path, such as /var/lang/python310/bin/python3.10"
            yield Mistake(BOOTSTRAP, number, "", text)
        if words[0] != "exec":
            text = "expected exec before the interpreter, so that signals reach the node"
            yield Mistake(BOOTSTRAP, number, "", text)
