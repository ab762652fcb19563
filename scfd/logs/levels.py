"""Which events are shown: by level, for each namespace."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from twisted.logger import LogEvent, LogLevel

from scfd.log_levels import DEFAULT, NAMES, level_name
from scfd.logs.fields import level_of, namespace_of, text_of

_ORDER = {level: index for index, level in enumerate(LogLevel.iterconstants())}
#: Namespaces whose level is remembered.
_REMEMBERED = 1_000

#: What Twisted says about itself at level info; the first words of the text.
_NOISE = re.compile(
    r"""Starting\ factory\ | Stopping\ factory\ |
        \S+(\ \(TLS\))?\ starting\ on\ | \(.*\ Port\ \S+\ Closed\)$ |
        twistd\ \S+\ \(.*\ starting\ up\.$ | reactor\ class: |
        EMFILE\ recovery:\  | Re-reserving\ EMFILE\  |
        Main\ loop\ terminated\. | Server\ Shut\ Down\. |
        Unable\ to\ write\ to\ plugin\ cache\ """,
    re.VERBOSE,
)


class Levels:
    """
    A level for all, and others for namespaces with all that is below them.

    :ivar default: the name of a level.
    :ivar named: names of levels by namespace; ``scfd.`` in front may be left out.
    """

    def __init__(self, default: str = "info", named: Mapping[str, str] | None = None) -> None:
        self.default = self._configured = default
        self.named = dict(named or {})
        self._known: dict[str, int] = {}

    def use(self, default: str, named: Mapping[str, str]) -> None:
        """Take others, as the config has them."""
        self.default = self._configured = default
        self.named = {name.removeprefix("scfd."): level for name, level in named.items()}
        self._known.clear()
        self.apply_to_stdlib()

    def set(self, namespace: str, level: str) -> None:
        """
        Change one while the node runs.

        :param namespace: empty for the default.
        :param level: `DEFAULT` takes the change back: a namespace has that of all, all that of the config.
        :raises ValueError: there is no such level.
        """
        taken_back = level.strip().lower() == DEFAULT
        name = self._configured if taken_back else level_name(level)
        if not namespace:
            self.default = name
        elif taken_back:
            self.named.pop(namespace.removeprefix("scfd."), None)
        else:
            self.named[namespace.removeprefix("scfd.")] = name
        self._known.clear()
        self.apply_to_stdlib()

    def apply_to_stdlib(self) -> None:
        """Have the standard library make those records that are shown."""
        least = min(NAMES.index(name) for name in (self.default, *self.named.values()))
        logging.getLogger().setLevel((logging.DEBUG, logging.INFO, logging.WARNING)[min(least, 2)])

    def shows(self, event: LogEvent) -> bool:
        """Whether an event is to be shown."""
        namespace = namespace_of(event)
        least = self._known.get(namespace)
        if least is None:
            least = self._least(namespace)
        level = _ORDER.get(level_of(event), 1)
        if level < least:
            return False
        # Twisted's chatter is for those who look for faults.
        return level != 1 or least == 0 or not _NOISE.match(text_of(event))

    def _least(self, namespace: str) -> int:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        parts = namespace.removeprefix("scfd.").split(".")
        prefixes = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
        name = next((self.named[one] for one in prefixes if one in self.named), self.default)
        self._known[namespace] = found = NAMES.index(name)
        return found


#: Those of this process.
levels = Levels()
