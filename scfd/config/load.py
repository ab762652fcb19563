"""Makes a `Config` of a file, with what the environment and a Go deployment's second file add."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve

from scfd.config.checks import PORT, Address
from scfd.config.cross import check_together
from scfd.config.dead_ends import dead_ends
from scfd.config.findings import WRONG, Findings
from scfd.config.origin import origin_of
from scfd.config.plugin import SettingsOf
from scfd.config.schema import Check, FreeForm, keys_of, read_keys, read_value
from scfd.config.source import read
from scfd.config.tree import Scalar, Table, flaws
from scfd.config.trpc import TrpcSettings, is_trpc, read_trpc
from scfd.config.values import AdapterSettings, Config, GatewaySettings, SystemSettings
from scfd.errors import ConfigError, Mistake, StartupError

DEFAULT_HTTP_NAME = "http-plugin"


#: Says which class the plugin has for its settings, if any, by the sections ``adapter`` and ``system``.
SettingsClass = Callable[[AdapterSettings, SystemSettings], "type | None"]


def load(
    path: str,
    environ: Mapping[str, str],
    trpc_path: str | None = None,
    settings_class: SettingsClass | None = None,
) -> Config:
    """
    Read and check a config.

    :param environ: where ``${NAME}`` comes from, and ``PORT``, which overrides the gateway's port.
    :param trpc_path: a ``trpc_go.yaml``: gives the gateway's address and the heartbeat's interval
        where the config itself does not.
    :param settings_class: ``plugin`` becomes an object of the class that it returns. It is not asked when
        ``adapter`` or ``system`` have mistakes.
    :raises ConfigError: with every mistake of all of them.
    :raises StartupError: whatever ``settings_class`` raises, where nothing else is wrong.
    """
    findings = Findings(path)
    table = _read(path, environ, findings)
    values = _read_sections(table, settings_class, findings) if table.line else {}
    trpc = _read_trpc(trpc_path, environ, findings) if trpc_path is not None else TrpcSettings()
    values = _with_defaults(values)
    _apply_trpc(values, trpc, table)
    _apply_port(values, environ, findings)
    origin = origin_of(table)
    check_together(values, table, origin, findings)
    if findings.mistakes:
        raise ConfigError(findings.mistakes)
    config = _finish(Config(path=path, origin=origin, **values))
    for key, text in dead_ends(config, environ):
        findings.warning(origin.line_of(key), key, text)
    return evolve(config, warnings=tuple(findings.warnings))


def _read(path: str, environ: Mapping[str, str], findings: Findings) -> Table:
    """:returns: an empty one of line 0 when the file has none."""
    try:
        table = read(path, environ)
    except ConfigError as error:
        findings.mistakes.extend(error.mistakes)
        return Table(0)
    if is_trpc(table):
        text = "this is a trpc_go.yaml; expected it in --trpc-config, and here the config.yaml beside it"
        raise ConfigError([Mistake(path, 0, "", text)])
    findings.mistakes.extend(flaws(path, table))
    return table


def _read_sections(table: Table, settings_class: SettingsClass | None, findings: Findings) -> dict[str, Any]:
    """Those of the node first: they say which plugin it is."""
    others = tuple(entry for entry in table.entries if entry.name != "plugin")
    values = read_keys(Config, evolve(table, entries=others), "", findings)
    known = _with_defaults(values)
    check: Check = FreeForm()
    unknown = any(mistake.key.partition(".")[0] in ("adapter", "system") for mistake in findings.mistakes)
    if settings_class is not None and not unknown:
        try:
            cls = settings_class(known["adapter"], known["system"])
            check = SettingsOf(cls) if cls is not None else check
        except StartupError:
            if not findings.mistakes:
                raise
    entry = table.get("plugin")
    values["plugin"] = read_value(check, entry.node if entry else Table(table.line), "plugin", findings)
    return values


def _with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    defaults = Config()
    return {name: values.get(name, getattr(defaults, name)) for name in keys_of(Config)}


def _read_trpc(path: str, environ: Mapping[str, str], findings: Findings) -> TrpcSettings:
    inside = Findings(path)
    try:
        return read_trpc(path, environ, inside)
    except ConfigError as error:
        inside.mistakes.extend(error.mistakes)
        return TrpcSettings()
    finally:
        findings.mistakes.extend(inside.mistakes)
        findings.warnings.extend(inside.warnings)


def _apply_trpc(values: dict[str, Any], trpc: TrpcSettings, table: Table) -> None:
    """Take what the config itself does not say."""
    gateway, heartbeat = values["gateway"], values["heartbeat"]
    if trpc.listen is not None and gateway is not WRONG and not _says(table, "gateway", "listen"):
        values["gateway"] = evolve(gateway or GatewaySettings(), listen=trpc.listen)
    if trpc.interval is not None and heartbeat is not WRONG and not _says(table, "heartbeat", "interval"):
        values["heartbeat"] = evolve(heartbeat, interval=trpc.interval)


def _says(table: Table, section: str, name: str) -> bool:
    entry = table.get(section)
    return entry is not None and isinstance(entry.node, Table) and entry.node.get(name) is not None


def _apply_port(values: dict[str, Any], environ: Mapping[str, str], findings: Findings) -> None:
    gateway, text = values["gateway"], environ.get("PORT")
    if not isinstance(gateway, GatewaySettings) or not text:
        return
    try:
        port = PORT.parse(Scalar(0, text, text))
    except ValueError:
        text = f"its value is not accepted; expected {PORT.accepted}"
        findings.mistakes.append(Mistake("environment variable PORT", 0, "", text))
    else:
        values["gateway"] = evolve(gateway, listen=Address(gateway.listen.host, port))


def default_state_dir(environ: Mapping[str, str]) -> str:
    """
    The folder that the platform has for what outlives a restart.

    :returns: ``$STATE_DIRECTORY`` (systemd), ``$XDG_STATE_HOME/scfd`` or ``~/.local/state/scfd``; where none
        of these can be written, as on SCF, ``/tmp/scfd-UID``.
    """
    candidates = []
    if environ.get("STATE_DIRECTORY"):
        # With DynamicUser= it is a link that systemd has made, to a folder of this user alone.
        candidates.append(os.path.realpath(environ["STATE_DIRECTORY"].partition(":")[0]))
    if environ.get("XDG_STATE_HOME"):
        candidates.append(os.path.join(environ["XDG_STATE_HOME"], "scfd"))
    if environ.get("HOME") and environ.get("TENCENTCLOUD_RUNENV") != "SCF":
        candidates.append(os.path.join(environ["HOME"], ".local/state/scfd"))
    for path in candidates:
        if os.path.isabs(path) and _can_be_made(path):
            return path
    return f"/tmp/scfd-{os.geteuid()}"


def _can_be_made(path: str) -> bool:
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)


def _finish(config: Config) -> Config:
    """Settle what one key takes from another."""
    if config.admin is not None and config.admin.listen is None:
        config = evolve(config, admin=None)
    http = config.adapter.http
    if http is not None and not http.name:
        http = evolve(http, name=config.system.name or DEFAULT_HTTP_NAME)
        config = evolve(config, adapter=evolve(config.adapter, http=http))
    return config
