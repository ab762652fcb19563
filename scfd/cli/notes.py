"""What `scfd check` finds beside the config itself, by key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from scfd.config import Config
from scfd.config.findings import Findings
from scfd.errors import ConfigError, StartupError

_KEY = re.compile(r"([a-z_]+(?:\.[a-z_]+)*): (.*)", re.DOTALL)


class Notes:
    """:ivar findings: mistakes, with which the node does not start or does nothing, and warnings."""

    def __init__(self, config: Config) -> None:
        self._origin = config.origin
        self.findings = Findings(config.path)

    def mistake(self, key: str, text: str) -> None:
        self.findings.mistake(self._origin.line_of(key), key, text)

    def warning(self, key: str, text: str) -> None:
        self.findings.warning(self._origin.line_of(key), key, text)

    @contextmanager
    def mistakes_of(self, key: str) -> Iterator[None]:
        """Note what the node itself would say at its start; its own key wins, if it is inside of ``key``."""
        try:
            yield
        except ConfigError as error:
            for mistake in error.mistakes:
                if mistake.line:
                    self.findings.mistakes.append(mistake)
                else:  # the file as a whole: the config names it
                    self.mistake(key, f"{mistake.path} {mistake.text}")
        except StartupError as error:
            match = _KEY.fullmatch(str(error))
            if match and match[1].startswith(key):
                key, text = match[1], match[2]
            else:
                text = str(error)
            self.mistake(key, text)
