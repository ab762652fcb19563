"""Which environment variables the processes get that a node starts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

from twisted.logger import Logger

from scfd.config import HttpAdapterSettings

_log = Logger(namespace="scfd.plugin")

#: Without these few programs run as they should.
ALWAYS = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
)


def passed_on(
    environ: Mapping[str, str], names: Sequence[str] | None, secrets: Collection[str] = ()
) -> dict[str, str]:
    """
    :param environ: the node's own.
    :param names: those that are passed besides `ALWAYS`; ``*`` and ``?`` as in names of files. None for all
        but ``secrets``.
    :param secrets: names of variables that hold secrets of the node.
    """
    if names is None:
        return {
            name: value for name, value in environ.items() if name not in secrets or _matches(name, ALWAYS)
        }
    return {name: value for name, value in environ.items() if _matches(name, (*ALWAYS, *names))}


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def of_plugin(
    settings: HttpAdapterSettings, secrets: Collection[str], environ: Mapping[str, str]
) -> dict[str, str]:
    """The environment of the plugin's process; what it does not get is logged, without values."""
    passed = passed_on(environ, settings.env_pass, secrets)
    if settings.env_pass is None and (kept := sorted(environ.keys() - passed.keys() - settings.env.keys())):
        _log.info(
            "the plugin does not get {names}, from which the config takes secrets", names=", ".join(kept)
        )
    return {**passed, **settings.env}
