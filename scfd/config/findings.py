"""What is found wrong, or odd, while a file is checked, worded without secrets."""

from __future__ import annotations

import re

from attrs import Factory, frozen

from scfd.config.tree import Listing, Node, Scalar, Table, is_odd_number
from scfd.errors import Mistake

_WORDS = "token|secret|passw|passphrase|pwd|nkey|api_?key|private_?key|authorization|bearer|cookie"
_SECRET = re.compile(f"{_WORDS}|auth$", re.IGNORECASE)
#: A parameter of a URL that is one.
_PARAMETER = re.compile(rf"([?&][^=&\s]*(?:{_WORDS})[^=&\s]*=)[^&\s]+", re.IGNORECASE)
#: What follows the question mark of a URL may hold a token.
_QUERY = re.compile(r"(://[^\s?]*\?)\S+")
#: An option of a command line that is one.
_OPTION = re.compile(rf"(--?[\w-]*(?:{_WORDS.replace('_', '[_-]')})[\w-]*[= ]\s*)\S+", re.IGNORECASE)
#: Characters of a value that a message shows.
_SHOWN = 60


class Wrong:
    """Stands for a value whose mistake is noted already."""


WRONG = Wrong()


@frozen
class Findings:
    """
    Collects what is wrong with one file.

    :ivar path: the file, as the user named it.
    :ivar warnings: whole lines.
    :ivar secrets: keys whose values nobody should see, besides those whose names say so.
    """

    path: str
    mistakes: list[Mistake] = Factory(list)
    warnings: list[str] = Factory(list)
    secrets: set[str] = Factory(set)

    def mistake(self, line: int, key: str, text: str) -> None:
        """Note something wrong; see `Mistake`."""
        self.mistakes.append(Mistake(self.path, line, key, text))

    def refuse(self, node: Node, key: str, accepted: str, hide: bool = False) -> Wrong:
        """
        Note a value that is not what is accepted there.

        :param hide: whether it may be a secret, whatever its key is called.
        :returns: `WRONG`.
        """
        hide = hide or any(f"{key}.".startswith((f"{one}.", f"{one}[")) for one in self.secrets)
        self.mistake(node.line, key, f"found {shown(node, key, hide)}; expected {accepted}")
        return WRONG

    def warning(self, line: int, key: str, text: str) -> None:
        """Note something that does no harm."""
        self.warnings.append(str(Mistake(self.path, line, key, text)))


def is_secret(name: str) -> bool:
    """Whether a key or an option holds what nobody should see, by its name."""
    return _SECRET.search(name) is not None


def shown(node: Node, key: str, hide: bool = False) -> str:
    """A value as a message may show it."""
    if isinstance(node, Listing):
        return "a list"
    if isinstance(node, Table):
        return "a mapping"
    if not isinstance(node, Scalar):
        return "nothing usable"
    if node.variables:
        return "the value of " + " and ".join(f"${{{name}}}" for name in node.variables)
    if hide or is_secret(key):
        return "a value that is kept secret"
    if node.value is None:
        return "nothing"
    text = _OPTION.sub(r"\1***", _QUERY.sub(r"\1***", without_credentials(node.text)))
    text = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    if isinstance(node.value, (int, float)) and is_odd_number(node.text):
        return f"{text}, which YAML reads as {node.value}"
    return repr(text) if isinstance(node.value, str) else text


def has_credentials(text: str) -> bool:
    """Whether a text is a URL, or several joined by commas, with a user name, a password or a token."""
    return "://" in text and without_credentials(text) != text


def without_credentials(urls: str) -> str:
    """One URL, or several joined by commas, with ``***`` in place of user names, passwords and tokens."""
    return ",".join(_without_credentials(url) for url in re.split(r",(?=\s*\w+://)", urls))


def _without_credentials(url: str) -> str:
    # Up to the last @, since a password may hold an @ or a / that its user forgot to escape.
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    login, at, host = rest.rpartition("@")
    shown = f"{scheme}{separator}***@{host}" if at and (login or scheme) else url
    return _PARAMETER.sub(r"\1***", shown) if separator else shown
