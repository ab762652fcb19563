"""How levels of the log are written: in the config, by operators, in the lines of plugins."""

from __future__ import annotations

_SPELLINGS = {
    "debug": "debug trace verbose finest finer fine silly",
    "info": "info notice information informational success http",
    "warn": "warn warning",
    "error": "error err severe",
    "critical": "critical crit fatal panic dpanic alert emerg emergency",
}
#: The names of levels by their spellings, in lower case.
LEVELS = {word: name for name, words in _SPELLINGS.items() for word in words.split()}
#: Those that are spelled as we do, from the least to the worst.
NAMES = tuple(_SPELLINGS)
#: What operators write in place of a level to have one taken back: see `scfd.logs.levels.Levels.set`.
DEFAULT = "default"
#: How a message says what is accepted.
ACCEPTED = f"{', '.join(NAMES[:-1])} or {NAMES[-1]}"


def level_name(text: str) -> str:
    """
    :param text: in any spelling: ``WARNING``, ``fatal``.
    :returns: one of `NAMES`.
    :raises ValueError: it is no level.
    """
    if (name := LEVELS.get(text.strip().lower())) is None:
        raise ValueError(f"level is {text!r}; expected {ACCEPTED}")
    return name
