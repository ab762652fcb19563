"""
What a Go deployment's ``scf_bootstrap`` does besides starting the Go program.

It is read line by line, without a shell: exports, ``cd`` and a program in the background. What else it does
is listed.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

#: The script that starts a function on SCF.
_BOOTSTRAP = "scf_bootstrap"
_ASSIGNED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
#: As in ``python3 main.py > /tmp/log 2>&1``: the node has the program's output in its own log.
_REDIRECTION = re.compile(r"(?:(?<!\S)\d)?&?[<>]{1,2}&?\s*[^\s;&|)]+")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^${}]*))?\}|([A-Za-z_]\w*))")
#: Commands without which a node does as well.
_IDLE = {"set", "sleep", "echo", "wait", "trap", "true", "exit"}
#: Where the script itself is.
_HERE = re.compile(r"cd\s+[\"']?(\.?/?|/var/user/?|\$\{?USER_CODE_ROOT\}?/?|.*\bdirname\b.*)[\"']?")


class StartScript:
    """
    :ivar path: the script.
    :ivar command: the program that it starts in the background, with its arguments; none by default.
    :ivar env: what it exports to that, but for ``PORT``.
    :ivar cwd: the folder that it starts it in; empty for its own.
    :ivar port: ``PORT``, or empty.
    :ivar unread: lines of the script, with their numbers, that do something else.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.command: list[str] = []
        self.env: dict[str, str] = {}
        self.cwd = ""
        self.unread: list[tuple[int, str]] = []
        self._variables: dict[str, str | None] = {}
        for number, line in enumerate(re.sub(r"\\\n", " ", text).splitlines(), 1):
            try:
                understood = self._take(line.strip())
            except ValueError:  # an open quote, or what only a shell can work out
                understood = False
            if not understood:
                self.unread.append((number, line.strip()))
        self.port = self.env.pop("PORT", "")

    def settings(self) -> dict[str, Any]:
        """Of ``adapter.http``, for the program in the background."""
        found = {"command": self.command, "env": self.env, "cwd": self.cwd} if self.command else {}
        return {key: value for key, value in found.items() if value}

    def _take(self, line: str) -> bool:
        """:returns: whether the line was understood; what starts the Go program is."""
        if _HERE.fullmatch(line):
            return True
        commands, in_background = _commands(line)
        if in_background:
            return self._take_program(commands)
        return all([self._take_command(words) for words in commands])

    def _take_command(self, words: list[str]) -> bool:
        if words[0] == "cd" and len(words) == 2:
            self.cwd = str(Path(self.cwd, self._value(words[1])))
            return True
        exported = words[0] == "export"
        assigned = [_ASSIGNED.fullmatch(word) for word in words[exported:]]
        for found in filter(None, assigned):
            try:
                self._variables[found[1]] = self._value(found[2])
            except ValueError:
                self._variables[found[1]] = None
        for word in words[1:] if exported else []:
            name = word.partition("=")[0]
            self.env[name] = self._value(f"${name}")
        # A program with its path is the Go program.
        return exported or None not in assigned or words[0] in _IDLE or "/" in words[words[0] == "exec"]

    def _take_program(self, commands: list[list[str]]) -> bool:
        *before, words = commands
        if self.command or not all([each[0] == "cd" and self._take_command(each) for each in before]):
            return False
        while words and (found := _ASSIGNED.fullmatch(words[0])):
            self.env[found[1]] = self._value(found[2])
            words = words[1:]
        self.command = [self._value(word) for word in words if word not in ("nohup", "exec", "$@")]
        return bool(self.command)

    def _value(self, text: str) -> str:
        """
        A word with the script's variables in place; those of the environment stay.

        :raises ValueError: only a shell can say.
        """

        def value(found: re.Match[str]) -> str:
            name = found[1] or found[3]
            own = self._variables.get(name, f"${{{name}:-{found[2] or ''}}}")
            if own is None:
                raise ValueError(f"{name} is worked out by a shell")
            return own

        if re.search(r"[$`]", _VARIABLE.sub("", text)):
            raise ValueError(text)
        return _VARIABLE.sub(value, text)


def start_script_of(folder: Path) -> StartScript | None:
    """The start script of a folder, or of the one above."""
    for path in (folder / _BOOTSTRAP, folder.parent / _BOOTSTRAP):
        try:
            return StartScript(path, path.read_text(errors="replace"))
        except OSError:
            continue
    return None


def _commands(line: str) -> tuple[list[list[str]], bool]:
    """:returns: the words of each command of a line up to a pipe, and whether it is run in the background."""
    lexer = shlex.shlex(_REDIRECTION.sub("", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    tokens = list(lexer)
    in_background = bool(tokens) and re.search(r"(?<!&)&$", tokens[-1]) is not None
    commands: list[list[str]] = [[]]
    for token in tokens[: tokens.index("|") if "|" in tokens else None]:
        if re.fullmatch(r"[();&|]+", token):
            commands.append([])
        else:
            commands[-1].append(token)
    return [words for words in commands if words], in_background
