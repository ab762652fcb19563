"""``scfd migrate DIR``: the config of a Go framework's deployment as one for scfd, and what differs."""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from attrs import frozen

from scfd.cli.go_deployment import GoPlugin, plugin_of
from scfd.cli.start_script import StartScript, start_script_of
from scfd.config import Config, NatsSettings, TimerSettings, load
from scfd.config.findings import Findings
from scfd.config.trpc import TrpcSettings, read_trpc
from scfd.errors import ConfigError, StartupError, printable
from scfd.triggers.timer.cron import Cron

#: Where a deployment has its files, beside what its program names.
_FOLDERS = (".", "configs", "config", "conf")
_HEADER = """\
# Made by `scfd migrate` from {sources}.
# etc/production.yaml in scfd's repository explains every key.
"""
_DIFFERS = """\
overlap: a timer whose last event is still under way leaves a fire out and counts it; the Go framework calls
  the plugin again beside it. For that: overlap: allow
exit status: the node ends with status 3 where the control plane wants another version, 1 where it can't
  start, 0 where it was asked to stop; the platform has to start it again after 3.
  Or: heartbeat.on_version_mismatch: log
jobs: a timer fires also when no job is due; as in the Go framework's later releases: jobs_only: true
limits: the gateway takes bodies of 6 MiB (gateway.max_body), 1000 connections (gateway.max_connections), and
  gives the plugin 30 s (gateway.forward_timeout); an event has 30 s (adapter.http.timeout)
Host: the plugin gets its own address as Host, as from the Go framework; the caller's with
  gateway.preserve_host: true
node id: from the environment variable SCF_FUNCTIONNAME, as there; elsewhere system.node_id
signature: calls of the control plane are not signed; servers of generation 2 and 3 want heartbeat.auth
results: a task result is kept on disk until it is delivered, also across restarts
plugin process: the node starts it (adapter.http.command), again when it ends, and stops it after draining"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = (
        "Read a deployment of the Go framework (config.yaml, trpc_go.yaml, scf_bootstrap, and what its "
        "program gives NewHTTPPluginAdapter), write the config that scfd needs for the same plugin, and say "
        "what differs. Nothing of the deployment is changed."
    )
    command = commands.add_parser("migrate", help="write the config for a Go deployment", description=text)
    command.add_argument("folder", metavar="DIR", help="the deployment, the folder that has scf_bootstrap")
    command.add_argument("--output", metavar="FILE", help="the config to write; by default scfd.yaml in DIR")
    command.set_defaults(run=_migrate)


def _migrate(options: argparse.Namespace) -> int:
    folder = Path(options.folder)
    for line in migrate(folder, Path(options.output) if options.output else folder / "scfd.yaml"):
        print(printable(line))
    return 0


def migrate(folder: Path, output: Path) -> Iterator[str]:
    """
    Write the config.

    :returns: lines for a person.
    :raises StartupError: there is no deployment, the output exists, or a file can't be read.
    """
    if not folder.is_dir():
        raise StartupError(f"scfd migrate: {folder} is no folder; expected that of a Go deployment")
    if os.path.lexists(output):
        raise StartupError(f"scfd migrate: {output} exists already; expected a free name in --output")
    deployment = _read(folder)
    changes = list(_changed(deployment))
    found = deployment
    sources = [
        found.source,
        found.trpc,
        found.script and found.script.path,
        found.plugin and found.plugin.path,
    ]
    header = _HEADER.format(sources=", ".join(str(path) for path in sources if path))
    try:
        with open(output, "x") as file:
            file.write(header + yaml.serialize(deployment.document, allow_unicode=True, width=110))
    except OSError as error:
        raise StartupError(f"scfd migrate: {output} can't be written: {error.strerror}") from None
    return _report(output, changes, deployment)


@frozen
class _Deployment:
    """
    :ivar source: its ``config.yaml``, and ``config`` what that says.
    :ivar document: the YAML of it; values that stay keep the form they were written in.
    :ivar unknown: keys that neither framework reads; they are not in ``document`` any more.
    :ivar trpc: its ``trpc_go.yaml``, if any; ``trpc_says`` is what that says, ``warnings`` what is odd there.
    """

    folder: Path
    source: Path
    document: yaml.MappingNode
    config: Config
    unknown: list[str]
    trpc: Path | None
    trpc_says: TrpcSettings
    warnings: list[str]
    script: StartScript | None
    plugin: GoPlugin | None


def _read(folder: Path) -> _Deployment:
    plugin = plugin_of(folder)
    source = _find(folder, "config.yaml", plugin.config if plugin else "")
    if source is None:
        places = ", ".join(_FOLDERS[1:])
        raise StartupError(f"scfd migrate: {folder} has no config.yaml; expected one there or in {places}")
    document, config, unknown = _read_config(source)
    trpc, script = _find(folder, "trpc_go.yaml", ""), start_script_of(folder)
    findings = Findings(str(trpc))
    says = read_trpc(str(trpc), os.environ, findings) if trpc else TrpcSettings()
    if findings.mistakes:
        raise ConfigError(findings.mistakes)
    warnings = findings.warnings
    return _Deployment(folder, source, document, config, unknown, trpc, says, warnings, script, plugin)


def _find(folder: Path, name: str, named: str) -> Path | None:
    places = [folder / named] if named else []
    places += [folder / place / name for place in _FOLDERS]
    return next((path for path in places if path.is_file()), None)


def _read_config(source: Path) -> tuple[yaml.MappingNode, Config, list[str]]:
    """:returns: its YAML, what it says, and the keys that were left out of both, since nobody reads them."""
    unknown: list[str] = []
    try:
        config = load(str(source), os.environ)
    except ConfigError as error:
        unknown = [mistake.key for mistake in error.mistakes if mistake.text.startswith("unknown key")]
        if len(unknown) < len(error.mistakes):
            raise
    document = cast(yaml.MappingNode, yaml.compose(source.read_text("utf-8-sig"), Loader=yaml.SafeLoader))
    for key in unknown:
        *sections, name = re.findall(r"[^.\[\]]+", key)
        node: yaml.Node | None = document
        for section in sections:
            node = node.value[int(section)] if isinstance(node, yaml.SequenceNode) else _get(node, section)
        _drop(node, name)
    if unknown:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(yaml.serialize(document, allow_unicode=True))
            file.flush()
            config = load(file.name, os.environ)
    return document, config, unknown


def _changed(deployment: _Deployment) -> Iterator[str]:
    """Change the document to what scfd needs, and say what is changed."""
    document, config = deployment.document, deployment.config
    yield from _crons(document, config)
    for key in deployment.unknown:
        yield f"{key}: left out; neither the Go framework nor scfd reads it"
    for key in Config.unused_keys:
        if _drop(document, key):
            yield f"{key}: left out; scfd has no such section"
    for trigger in _triggers(document):
        settings = _get(trigger, "settings")
        for key in NatsSettings.unused_keys:
            if _drop(settings, key):
                where = f"triggers.{_text(trigger, 'name')}.settings.{key}"
                yield f"{where}: left out; scfd has no such key"
    if "adapter" not in dict(_items(document)):
        _add(document, "adapter", {"http": _adapter(deployment)})
        said = deployment.plugin or deployment.script
        usual = "name and url as they usually are"
        yield f"adapter.http: {'what NewHTTPPluginAdapter and scf_bootstrap said' if said else usual}"
    yield from _from_trpc(deployment)
    if "gateway" not in dict(_items(document)):
        port = deployment.script.port if deployment.script and deployment.script.port.isdecimal() else "9000"
        _add(document, "gateway", {"listen": f"0.0.0.0:{port}"})
        yield f"gateway.listen: 0.0.0.0:{port}, where SCF calls"


def _crons(document: yaml.MappingNode, config: Config) -> Iterator[str]:
    """Write six fields as the seven that the Go framework reads in them."""
    timers = {timer.name: timer for timer in config.triggers if isinstance(timer, TimerSettings)}
    for trigger in _triggers(document):
        timer = timers.get(_text(trigger, "name"))
        if timer is None or not timer.has_six_fields:
            continue
        six = timer.cron.expression
        cron = _get(_get(trigger, "settings"), "cron")
        assert isinstance(cron, yaml.ScalarNode)
        try:
            Cron.parse(f"0 {six}")
            seven = f"0 {six}"
            read = f"the Go framework reads six fields as minute to year, so this is {seven!r}"
        except ValueError:
            seven = f"{six} *"
            read = f"the Go framework can't read it; written as {seven!r}, second first"
        cron.value, cron.style = seven, '"'
        yield f"triggers.{timer.name}.settings.cron: {six!r}: {read}; was {six + ' *'!r} meant?"


def _adapter(deployment: _Deployment) -> Mapping[str, Any]:
    config, plugin, script = deployment.config, deployment.plugin, deployment.script
    settings: dict[str, Any] = {"name": config.system.name or "http-plugin", "url": "http://127.0.0.1:9001"}
    if plugin is not None:
        settings.update(plugin.settings)
        extra = dict(plugin.settings.get("heartbeat_extra", {}))
        for key in _taken_from_config(plugin, config.plugin):
            extra[key] = config.plugin[key]
        if extra:
            settings["heartbeat_extra"] = extra
    return {**settings, **(script.settings() if script is not None else {})}


def _taken_from_config(plugin: GoPlugin, own: Any) -> list[str]:
    """Fields of heartbeats that the program fills, most likely with the key of that name of its config."""
    named = [key.partition(".")[2] for key, _ in plugin.unread if key.startswith("heartbeat_extra.")]
    return [key for key in named if isinstance(own, Mapping) and key in own]


def _from_trpc(deployment: _Deployment) -> Iterator[str]:
    document, trpc, says = deployment.document, deployment.trpc, deployment.trpc_says
    if says.listen is not None and deployment.config.gateway is None:
        _add(document, "gateway", {"listen": str(says.listen)})
        yield f"gateway.listen: {says.listen}, from {trpc}"
    heartbeat = _get(document, "heartbeat")
    if says.interval is not None:
        interval = int(says.interval) if says.interval.is_integer() else says.interval
        if own := heartbeat and _text(heartbeat, "interval"):
            if own != str(interval):
                yield f"heartbeat.interval: {own} s stays; {trpc} says {interval} s"
        else:
            if heartbeat is None:
                _add(document, "heartbeat", {"interval": interval})
            else:
                _add(heartbeat, "interval", interval)
            yield f"heartbeat.interval: {interval} s, from {trpc}"
    yield from deployment.warnings


def _report(output: Path, changes: list[str], deployment: _Deployment) -> Iterator[str]:
    folder = deployment.folder
    yield f"wrote {output}"
    yield ""
    yield "What was changed:"
    yield from (f"  {change}" for change in changes)
    todo = [*_left_of_program(deployment), *_left_of_script(deployment), *_left_of_trpc(deployment)]
    todo += _mistakes(output)
    if todo:
        yield ""
        yield "What is left to do:"
        yield from (f"  {each}" for each in todo)
    yield ""
    yield "What differs from the Go framework:"
    yield from (f"  {line}" for line in _DIFFERS.splitlines())
    yield ""
    yield f"Next, in {folder}: scfd check {os.path.relpath(output, folder)}"


def _left_of_program(deployment: _Deployment) -> Iterator[str]:
    plugin, own = deployment.plugin, deployment.config.plugin
    if plugin is None:
        text = f"no Go program in {deployment.folder} calls NewHTTPPluginAdapter"
        yield f"adapter.http: {text}; see that name and url are right, or write a plugin in its place"
        return
    for path in plugin.others:
        yield f"{path}: calls NewHTTPPluginAdapter as well; what {plugin.path} says was taken"
    taken = _taken_from_config(plugin, own)
    for key, text in plugin.unread:
        field = key.partition(".")[2]
        if field in taken:
            where = f"taken from plugin.{field}; see that it is right"
            yield f"adapter.http.{key}: {text} in Go; {where}"
        elif key == "WithHeartbeatExtraFunc":
            expected = "expected fixed ones in adapter.http.heartbeat_extra, or a native plugin"
            yield f"{key}: fields that the Go program makes anew for each heartbeat; {expected}"
        else:
            yield f"adapter.http.{key}: can't be read from {text!r} in {plugin.path}; expected it here"


def _left_of_script(deployment: _Deployment) -> Iterator[str]:
    script, http = deployment.script, deployment.config.adapter.http
    if script is not None:
        for number, line in script.unread:
            yield f"{script.path}:{number}: {line!r} is not carried over; see whether it is needed"
    command = script.command if script is not None and http is None else http and http.command
    if not command:
        text = "no scf_bootstrap starts a plugin in the background"
        yield f"adapter.http.command: {text}; expected its command, or that something else starts it"


def _left_of_trpc(deployment: _Deployment) -> Iterator[str]:
    trpc, says, plugin = deployment.trpc, deployment.trpc_says, deployment.plugin
    if trpc is not None and plugin is not None and plugin.service and plugin.service not in says.services:
        where = f"{trpc}: has no service {plugin.service}, which {plugin.path} names"
        yield f"{where}; see that gateway.listen is right"
    for line, name in says.timers:
        text = "calls the Go program itself; expected a trigger of type timer, if that concerns the plugin"
        yield f"{trpc}:{line}: {name}: {text}"


def _mistakes(output: Path) -> Iterator[str]:
    """What only shows in the whole config, such as a URL of the Go program that is none."""
    try:
        load(str(output), os.environ)
    except ConfigError as error:
        yield from map(str, error.mistakes)


def _items(node: yaml.Node | None) -> list[tuple[str, yaml.Node]]:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return [(key.value, value) for key, value in pairs]


def _get(node: yaml.Node | None, key: str) -> yaml.Node | None:
    return dict(_items(node)).get(key)


def _text(node: yaml.Node, key: str) -> str:
    value = _get(node, key)
    return str(value.value) if isinstance(value, yaml.ScalarNode) else ""


def _triggers(document: yaml.MappingNode) -> list[yaml.Node]:
    triggers = _get(document, "triggers")
    return list(triggers.value) if isinstance(triggers, yaml.SequenceNode) else []


def _drop(node: yaml.Node | None, key: str) -> bool:
    """:returns: whether it was there."""
    if not isinstance(node, yaml.MappingNode):
        return False
    before = len(node.value)
    node.value = [pair for pair in node.value if pair[0].value != key]
    return len(node.value) < before


def _add(node: yaml.Node, key: str, value: Any) -> None:
    text = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True)
    node.value += cast(yaml.Node, yaml.compose(text, Loader=yaml.SafeLoader)).value
