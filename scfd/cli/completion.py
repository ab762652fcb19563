"""Completion: ``scfd completion SHELL`` prints what a shell reads, and that asks ``scfd complete``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from scfd.cli.remote import CONFIGS
from scfd.config.source import read
from scfd.config.tree import Listing, Scalar, Table
from scfd.errors import ConfigError

_BASH = r"""# eval "$(scfd completion bash)" in ~/.bashrc
_scfd() {
    local IFS=$'\n'
    local found="$(scfd complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f 1)"
    COMPREPLY=($(compgen -W "$found" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _scfd scfd
"""
_ZSH = r"""#compdef scfd
# eval "$(scfd completion zsh)" in ~/.zshrc, after compinit
_scfd() {
    local -a found
    found=("${(@f)$(scfd complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    found=("${(@)found//:/\\:}")
    found=("${(@)found/$'\t'/:}")
    [[ -n "${found[1]}" ]] && _describe scfd found || _files
}
compdef _scfd scfd
"""
_FISH = r"""# scfd completion fish > ~/.config/fish/completions/scfd.fish
function __scfd_complete
    set -l found (scfd complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c scfd -f -a '(__scfd_complete)'
"""
#: What each shell reads.
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def candidates(parser: argparse.ArgumentParser, words: Sequence[str]) -> Iterator[str]:
    """
    What may stand in place of the last word.

    :param words: those after ``scfd``; the last one, which may be empty, is being written.
    :returns: lines: a word and, after a tab, what it means. None where a file is expected, or anything.
    """
    *before, last = words or [""]
    command, expected = _expected(parser, before)
    if last.startswith("-"):
        found = _options(command)
    elif expected is not None and expected.metavar == "TRIGGER":
        found = [(name, "") for name in _triggers(before)]
    elif expected is not None and expected.choices is not None:
        helps = {each.dest: each.help or "" for each in getattr(expected, "_choices_actions", ())}
        # A command without help is not for people.
        hidden = set(expected.choices) - set(helps) if helps else set()
        found = [(str(each), helps.get(each, "")) for each in expected.choices if each not in hidden]
    else:
        found = []
    for word, meaning in found:
        if word.startswith(last):
            yield f"{word}\t{' '.join(meaning.split())}".rstrip()


def _expected(parser: Any, before: Sequence[str]) -> tuple[Any, Any]:
    """:returns: the parser of the command that is named, and the action that takes the next word, or None."""
    rest = _positionals(parser)
    value_of = None  # the option that takes the next word
    for word in before:
        if value_of is not None:
            value_of = None
        elif word.startswith("-"):
            option = parser._option_string_actions.get(word)
            value_of = option if option is not None and option.nargs is None else None
        elif rest and isinstance(rest[0].choices, dict):
            if word not in rest[0].choices:
                return parser, None
            parser = rest[0].choices[word]
            rest = _positionals(parser)
        else:
            rest = rest[1:]
    return parser, value_of or next(iter(rest), None)


def _positionals(parser: Any) -> list[Any]:
    return [action for action in parser._actions if not action.option_strings]


def _options(parser: Any) -> list[tuple[str, str]]:
    return [
        (option, action.help or "")
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--") and action.help is not argparse.SUPPRESS
    ]


def _triggers(before: Sequence[str]) -> Iterator[str]:
    """The names of the triggers in the config, unchecked: its mistakes are for other commands."""
    named = [value for option, value in pairwise(before) if option == "--config"]
    path = next((path for path in (*named, *CONFIGS) if os.path.exists(path)), "")
    try:
        triggers = read(path, os.environ).get("triggers")
    except ConfigError:
        return
    if triggers is None or not isinstance(triggers.node, Listing):
        return
    for item in triggers.node.items:
        name = item.get("name") if isinstance(item, Table) else None
        if name is not None and isinstance(name.node, Scalar):
            yield name.node.text
