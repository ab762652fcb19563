"""Says what a config means, for a person."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from datetime import datetime

from scfd.cli.advice import NEEDS_ADAPTER, adapter_advice
from scfd.config.findings import Findings, is_secret, without_credentials
from scfd.config.load import default_state_dir
from scfd.config.nats import NatsSettings
from scfd.config.values import Config, HttpAdapterSettings, TimerSettings, TriggerSettings
from scfd.errors import printable
from scfd.identity import NODE_ID_VARIABLES, ServerAddress
from scfd.triggers.timer.cron import next_fires, next_in_go


def explain(
    config: Config, environ: Mapping[str, str], now: datetime, found: Findings | None = None
) -> Iterator[str]:
    """
    :param environ: where the platform says who the node is.
    :param now: aware; timers are shown in its zone.
    :param found: what was found beside the config.
    :returns: lines, without credentials and control characters.
    """
    facts = {
        "system": _system(config),
        "node id": _node_id(config, environ),
        "control plane": _control_plane(config),
        "gateway": _gateway(config),
        "admin": _admin(config),
        "adapter": _adapter(config),
        "drain": f"{config.shutdown.drain:g} s",
        "state dir": config.system.state_dir or default_state_dir(environ),
        "development": _dev(config),
    }
    found = found or Findings(config.path)
    count = len(found.mistakes)
    mistakes = f"{count} mistake{'s' if count > 1 else ''}, see below" if count else "no mistakes"
    yield f"{printable(config.path)}: {mistakes}"
    yield ""
    for name, text in facts.items():
        yield f"{name:<14} {printable(text)}"
    yield f"{'triggers':<14} {len(config.triggers) or 'none'}"
    for trigger in config.triggers:
        yield ""
        yield from map(printable, _trigger(trigger, now))
    if warnings := (*config.warnings, *found.warnings):
        yield ""
        yield from (f"warning: {printable(warning)}" for warning in warnings)
    if any(mistake.text.endswith(NEEDS_ADAPTER) for mistake in found.mistakes):
        yield ""
        yield from map(printable, adapter_advice(config))


def _system(config: Config) -> str:
    system = config.system
    name = " ".join(part for part in (system.name or "(no name)", system.version or "(no version)") if part)
    return f"{name}, {system.env}" if system.env else name


def _node_id(config: Config, environ: Mapping[str, str]) -> str:
    for name in NODE_ID_VARIABLES:
        if environ.get(name):
            return f"{environ[name]}, from the environment variable {name}"
    if config.system.node_id:
        return f"{config.system.node_id}, from system.node_id"
    variables = " or ".join(NODE_ID_VARIABLES)
    return f"none: no heartbeats until a probe finds {variables} set; or set system.node_id"


def _control_plane(config: Config) -> str:
    heartbeat = config.heartbeat
    address = ServerAddress(heartbeat.server_ip, heartbeat.server_port, heartbeat.server_url)
    where = without_credentials(address.base_url) or "named by the first probe"
    return f"{where}, a heartbeat every {heartbeat.interval:g} s"


def _gateway(config: Config) -> str:
    if config.gateway is None:
        return "none: the node serves no callers, no probe"
    return f"{config.gateway.listen}{', HTTPS' if config.gateway.tls else ''}"


def _admin(config: Config) -> str:
    if config.admin is None:
        return "turned off"
    return f"{config.admin.listen}, {'with a token' if config.admin.token else 'no token'}"


def _adapter(config: Config) -> str:
    if config.adapter.http is not None:
        return _http_adapter(config.adapter.http)
    native = config.adapter.native
    if not native and config.system.name:
        native = f"{config.system.name}, else the only one installed"
    path = f"; also looked for in {', '.join(config.adapter.path)}" if config.adapter.path else ""
    return f"native, {native or 'the only one installed'}{path}"


def _http_adapter(http: HttpAdapterSettings) -> str:
    command = f"; started by the node: {_command(http.command)}" if http.command else ""
    if http.cwd:
        command += f", in {http.cwd}"
    if http.env:
        command += f", with {', '.join(http.env)} set"
    if command and http.env_pass is not None:
        command += f", passing on {', '.join(http.env_pass) or 'no more than is always passed on'}"
    return f"HTTP, {http.name} at {without_credentials(http.url)}{command}"


def _command(command: tuple[str, ...]) -> str:
    """The command line, without the values of options such as ``--token``."""
    shown, hide_next = [], False
    for word in command:
        option, equals, _ = word.partition("=")
        secret = is_secret(option)
        shown.append(
            "***" if hide_next else f"{option}=***" if secret and equals else without_credentials(word)
        )
        hide_next = secret and not equals and option.startswith("-")
    return " ".join(map(shlex.quote, shown))


def _dev(config: Config) -> str:
    parts = []
    if (server := config.dev.control_plane) is not None:
        parts.append(f"control plane on {server.listen}, tasks from {server.tasks or 'nowhere'}")
    if (nats := config.dev.nats) is not None:
        streams = ", ".join(stream.name for stream in nats.streams) or "none"
        parts.append(f"NATS server on port {nats.port}, streams: {streams}")
    return "; ".join(parts) or "none"


_MISFIRE = {"once": "one event for them all", "all": "an event each", "skip": "left out"}
_OVERLAP = {"skip": "left out", "queue": "one after another", "allow": "side by side"}


def _trigger(trigger: TriggerSettings, now: datetime) -> Iterator[str]:
    yield f"{trigger.name} ({trigger.type})"
    yield from _timer(trigger, now) if isinstance(trigger, TimerSettings) else _nats(trigger)


def _timer(trigger: TimerSettings, now: datetime) -> Iterator[str]:
    yield f"  cron         {trigger.cron.expression}"
    yield f"  granularity  {trigger.cron.granularity}"
    if trigger.timezone is not None:
        yield f"  zone         {trigger.timezone.key}"
        now = now.astimezone(trigger.timezone)
    grace = "" if trigger.misfire_grace is None else f", up to {trigger.misfire_grace:g} s late"
    yield f"  missed       {_MISFIRE[trigger.misfire]}{grace}"
    yield f"  overlapping  {_OVERLAP[trigger.overlap]}"
    if trigger.jobs_only:
        yield "  only         when a job is due"
    yield from _fires("next", next_fires(trigger.cron, now))
    if trigger.has_six_fields:
        six = trigger.cron.expression
        yield f"  as seven     {six} *"
        yield f"  in Go        0 {six}"
        yield from _fires("next in Go", next_in_go(six, now))


def _fires(name: str, moments: list[str]) -> Iterator[str]:
    for moment in moments:
        yield f"  {name:<12} {moment}"
        name = ""


def _nats(trigger: NatsSettings) -> Iterator[str]:
    limit = "without limit" if trigger.max_deliver == -1 else f"at most {trigger.max_deliver} times"
    made = ", made where it is missing" if trigger.create_stream else ""
    yield f"  url          {without_credentials(trigger.url)}{_login(trigger)}"
    yield f"  stream       {trigger.stream}{made}"
    yield f"  subject      {', '.join(trigger.filters) or 'as the consumer has it'}"
    yield f"  consumer     {trigger.consumer_name}{_consumer(trigger)}"
    if trigger.domain or trigger.api_prefix:
        yield f"  requests     {trigger.api}"
    if trigger.inbox_prefix:
        yield f"  replies      {trigger.inbox_prefix}"
    yield f"  batch        {trigger.batch_size} messages, waiting up to {trigger.fetch_max_wait:g} s"
    yield f"  at a time    {trigger.concurrency}{', in order' if trigger.concurrency == 1 else ''}"
    if not trigger.bind:
        yield f"  delivery     {limit}, again after {trigger.ack_wait:g} s without a sign of life"
        names = ("ack_wait", "max_deliver", "max_ack_pending")
        kept = [name for name in names if name not in trigger.explicit]
        yield f"  kept         {', '.join(kept) or 'nothing'} of a consumer that exists already"
    if trigger.max_ack_pending is not None:
        pending = "without limit" if trigger.max_ack_pending == -1 else f"{trigger.max_ack_pending} at most"
        yield f"  pending      {pending}, at all nodes together"
    yield f"  failed ones  again after {_delays(trigger)}"
    if trigger.dead_letter:
        yield f"  dead letter  {trigger.dead_letter}"
    if trigger.ack == "double":
        yield "  acks         confirmed by the server"


def _consumer(trigger: NatsSettings) -> str:
    if trigger.bind:
        return ", used as it is"
    return f", made where it is missing, to deliver {trigger.deliver or 'new messages (a work queue: all)'}"


def _login(trigger: NatsSettings) -> str:
    """How the node shows who it is: by which setting, and nothing of its value."""
    ways = [
        text
        for given, text in (
            (trigger.user, "a user and a password"),
            (trigger.token, "a token"),
            (trigger.nkey, "an NKey"),
            (trigger.credentials, "a credentials file"),
            (trigger.tls, "TLS settings"),
        )
        if given
    ]
    return f", with {' and '.join(ways)}" if ways else ""


def _delays(trigger: NatsSettings) -> str:
    usable = trigger.backoff if trigger.max_deliver == -1 else trigger.backoff[: trigger.max_deliver - 1]
    return ", ".join(f"{delay:g} s" for delay in usable) or "no more deliveries"
