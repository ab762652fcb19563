"""The mistakes a user can make, as exceptions whose text is the line the user reads."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

#: Exit statuses of the daemon.
EXIT_ASKED_TO_STOP = 0
EXIT_COULD_NOT_START = 1
EXIT_VERSION_MISMATCH = 3


class StartupError(Exception):
    """
    The node can't start, for a reason its user can mend.

    The text is one complete line: what is wrong, where, and what would be right. It is printed as
    it is, without a traceback, and the process ends with `EXIT_COULD_NOT_START`.
    """


@frozen(order=True)
class Mistake:
    """One thing wrong with a config file.

    :ivar path: the file, as the user named it.
    :ivar line: 1 for the first line; 0 when the mistake is not on a line (a missing file).
    :ivar key: the path of the key, such as ``triggers[0].settings.cron``; empty for the whole file.
    :ivar text: what was found and what is accepted.
    """

    path: str
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        return printable(f"{where}: {self.key}: {self.text}" if self.key else f"{where}: {self.text}")


def printable(text: str) -> str:
    """The text with what could move the cursor, end the line, or can't be written, as backslash escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class ConfigError(StartupError):
    """A config has mistakes: all of them, in the order of their lines, one line of text each.

    :ivar mistakes: at least one.
    """

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes))
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class EventError(Exception):
    """An event failed for a reason that one line says; nothing is wrong with the node."""


class PluginError(EventError):
    """The plugin failed at an event."""


class PluginUnavailableError(PluginError):
    """The plugin can't be reached now. It has seen nothing of the event, so that may be given to it again."""


class StorageError(EventError):
    """The disk takes no results now: it is full, read-only, or locked by another process."""


class OutboxFullError(EventError):
    """The results of an event can't be taken: too many wait for delivery already."""


def describe(error: BaseException) -> str:
    """
    An exception as one line for a person: its class and its text.

    Twisted's web client wraps what went wrong in lists of failures; the first one is what a person
    wants to know.
    """
    reasons = getattr(error, "reasons", None)
    if reasons:
        return describe(reasons[0].value)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
