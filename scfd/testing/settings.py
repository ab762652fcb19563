"""The config of a node in memory: that of its test, without what would reach out of the process."""

from __future__ import annotations

import inspect
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import evolve

from scfd.adapter.registry import settings_class
from scfd.config import Config, NatsSettings, load
from scfd.config.load import SettingsClass
from scfd.config.nats import subject_matches
from scfd.config.values import DevSettings
from scfd.errors import ConfigError, Mistake
from scfd.identity import ServerAddress
from scfd.testing import control_plane
from scfd.testing.mistakes import TestingError

#: What a test need not say. Heartbeats are rare, since a day of them would be most of the work.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "system": {"version": "v1.0.0"},
    "heartbeat": {"interval": 300, "server_url": control_plane.URL},
}


def read(config: Mapping[str, Any] | str | Path | None, environ: Mapping[str, str], plugin: Any) -> Config:
    """
    :param plugin: may have a settings class; None is the one that the config means.
    :param config: sections as in a file, or the path of one; None is a config without triggers.
    :param environ: for ``${NAME}``.
    :raises ConfigError: with every mistake.
    """
    own = (
        settings_class if plugin is None else lambda adapter, system: getattr(plugin, "settings_class", None)
    )
    if config is None or isinstance(config, Mapping):
        return _from_values(config or {}, environ, own)
    if isinstance(config, (str, Path)):
        return load(str(config), environ, settings_class=own)
    raise TestingError(f"Node(config={config!r}): expected a dict of sections, or the path of a YAML file")


def _from_values(values: Mapping[str, Any], environ: Mapping[str, str], own: SettingsClass) -> Config:
    values = dict(values)
    for name, defaults in _DEFAULTS.items():
        given = values.get(name) or {}
        values[name] = {**defaults, **given} if isinstance(given, Mapping) else given
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.yaml")
        try:
            file.write_text(yaml.safe_dump(values))
        except yaml.YAMLError as error:
            raise TestingError(f"Node(config=…): {error}; expected what YAML has") from None
        # There are no lines that the test's author could look at.
        place = re.compile(rf"{re.escape(str(file))}(:\d+)?")
        try:
            cfg = load(str(file), environ, settings_class=own)
        except ConfigError as error:
            mistakes = [Mistake("config", 0, mistake.key, mistake.text) for mistake in error.mistakes]
            raise ConfigError(mistakes) from None
    return evolve(cfg, warnings=tuple(place.sub("config", warning) for warning in cfg.warnings))


def in_memory(cfg: Config) -> Config:
    """
    :returns: the config without ports, processes and folders.
    :raises TestingError: the plugin is one that needs them.
    """
    if cfg.adapter.http is not None:
        raise TestingError(
            "adapter.http: an HTTP plugin is a process of its own, which a node in memory does not start;"
            " expected a native plugin"
        )
    address = ServerAddress(url=control_plane.URL)
    return evolve(
        cfg,
        gateway=None,
        admin=None,
        dev=DevSettings(),
        system=evolve(cfg.system, state_dir="in memory", node_id=cfg.system.node_id or "test-node"),
        heartbeat=evolve(cfg.heartbeat, server_ip="", server_port=0, server_url=address.url),
    )


def check_plugin(plugin: Any) -> None:
    """:raises TestingError: it is a class, or a module."""
    if inspect.isclass(plugin):
        name = plugin.__name__
        raise TestingError(f"Node({name}): expected an object, not its class: Node({name}())")
    if inspect.ismodule(plugin):
        name = plugin.__name__
        raise TestingError(f"Node({name}): expected the plugin, not its module: Node({name}.plugin)")


def streams(cfg: Config) -> Iterator[tuple[str, list[str]]]:
    """
    The streams that a config means: those of ``dev.nats``, and what its triggers read from and bury in.

    :returns: names and subjects.
    """
    known = {stream.name: list(stream.subjects) for stream in cfg.dev.nats.streams} if cfg.dev.nats else {}
    triggers = [trigger for trigger in cfg.triggers if isinstance(trigger, NatsSettings)]
    made: dict[str, list[str]] = {}
    for trigger in triggers:
        if trigger.stream not in known:
            subjects = made.setdefault(trigger.stream, [])
            subjects += [subject for subject in trigger.filters if subject not in subjects]
    taken = [subject for subjects in (*known.values(), *made.values()) for subject in subjects]
    letters = {trigger.dead_letter for trigger in triggers if trigger.dead_letter}
    missing = [letter for letter in sorted(letters) if not any(subject_matches(one, letter) for one in taken)]
    if missing:
        made["DEAD_LETTERS"] = missing
    yield from known.items()
    yield from made.items()
