"""Settings that can never do anything, because of others that are there or missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from scfd.config.checks import Address
from scfd.config.cross import EVERYWHERE, is_loopback
from scfd.config.nats import NatsSettings, subjects_overlap
from scfd.config.values import Config, TimerSettings

_TASK_KEYS = ("task_concurrency", "task_timeout", "task_retries")


def dead_ends(config: Config, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """:returns: keys, and what a person should know about them."""
    if environ.get("PORT") and config.gateway is None:
        text = "the environment variable PORT is set, and has no effect without this section"
        yield "gateway", f"{text}; expected `gateway:`, or PORT not set"
    if not config.triggers and config.gateway is None:
        text = "none, and no gateway: nothing ever calls the plugin"
        yield "triggers", f"{text}; expected at least one, or a section gateway"
    yield from _control_plane(config)
    yield from _dev_control_plane(config)
    yield from _settings_of_others(config)
    for index, trigger in enumerate(config.triggers):
        if isinstance(trigger, NatsSettings):
            found = [*_nats(trigger, config), *_dev_nats(trigger, config)]
        else:
            found = [*_six_fields(trigger), *_timer(trigger, config)]
        for name, text in found:
            yield f"triggers[{index}].settings.{name}", text


def _has_server(config: Config) -> bool:
    """Whether the config says where the control plane is."""
    return bool(config.heartbeat.server_url or config.heartbeat.server_ip)


def _is_found(config: Config) -> bool:
    """Whether a probe may say so at least."""
    return config.gateway is not None or _has_server(config)


def _control_plane(config: Config) -> Iterator[tuple[str, str]]:
    heartbeat = config.heartbeat
    if config.gateway is None and heartbeat.allowed_servers:
        yield "heartbeat.allowed_servers", "has no effect without gateway, where probes arrive"
    elif "heartbeat" in config.origin.lines and not _is_found(config) and config.dev.control_plane is None:
        text = "no heartbeat is ever sent: nobody says where the control plane is"
        yield "heartbeat", f"{text}; expected server_url, or a section gateway, where a probe may say it"
    if heartbeat.server_url and heartbeat.server_ip:
        yield "heartbeat.server_ip", "has no effect beside server_url, which wins; expected one of the two"
    if heartbeat.protocol in ("2", "3") and heartbeat.auth is None:
        text = f"generation {heartbeat.protocol} takes only signed requests"
        yield "heartbeat.protocol", f"{text}; expected heartbeat.auth as well"


def _dev_control_plane(config: Config) -> Iterator[tuple[str, str]]:
    server, heartbeat = config.dev.control_plane, config.heartbeat
    if server is None:
        return
    host = "127.0.0.1" if server.listen.host in EVERYWHERE else server.listen.host
    url = f"heartbeat.server_url: http://{Address(host, server.listen.port)}"
    if not _is_found(config):
        text = "no node will report to it: without gateway it can't probe this one"
        yield "dev.control_plane", f"{text}; expected a section gateway, or {url}"
    elif not _has_server(config) and config.gateway is not None and config.gateway.tls is not None:
        text = "no node will report to it: it does not probe a gateway with tls"
        yield "dev.control_plane", f"{text}; expected {url}"
    if server.protocol != "1" and heartbeat.auth is None:
        text = f"generation {server.protocol} takes only signed requests"
        yield "dev.control_plane.protocol", f"{text}; expected heartbeat.auth as well"
    if heartbeat.protocol not in ("auto", server.protocol):
        text = f"the node speaks generation {heartbeat.protocol} (heartbeat.protocol), and it takes no other"
        yield "dev.control_plane.protocol", f"{text} than {server.protocol}; expected the same"


def _settings_of_others(config: Config) -> Iterator[tuple[str, str]]:
    """Keys that are there, and that something else makes useless."""
    http, native = config.adapter.http, config.adapter.http is None
    without_health = http is not None and http.health_interval == 0
    no_admin = config.admin is None
    generation_1 = config.heartbeat.protocol == "1"
    other_prefix = generation_1 and config.heartbeat.api_prefix == "/api/service"
    switched_off = 'listen "", by which the endpoint is turned off'
    for key, useless, why in (
        ("heartbeat.auth", generation_1, "heartbeat.protocol 1, whose servers look at no signature"),
        ("heartbeat.api_prefix", other_prefix, "heartbeat.protocol 1, whose paths begin with /gateway"),
        ("gateway.forward_events", native, "a native plugin, which has no POST /on-trigger"),
        ("gateway.preserve_host", native, "a native plugin, which gets the caller's Host always"),
        ("gateway.request_buffer", native, "a native plugin, which gets requests as they come"),
        ("adapter.path", not native, "adapter.http; it is where native plugins are looked for"),
        ("adapter.threads", not native, "adapter.http; it is for native plugins"),
        ("adapter.http.event_form", http is not None and http.mode == "task", "mode: task, which sends none"),
        ("adapter.http.health_failures", without_health, "health_interval 0"),
        ("admin.token", no_admin, switched_off),
        ("admin.hosts", no_admin, switched_off),
    ):
        if useless and key in config.origin.lines:
            yield key, f"has no effect beside {why}; expected one of the two"
    if http is not None and http.mode == "event":
        for key in task_keys(config):
            yield key, "has no effect beside adapter.http.mode event; expected mode: task"


def task_keys(config: Config) -> list[str]:
    """The keys of a file that are for task plugins only."""
    return [key for key in config.origin.lines if key.rpartition(".")[2] in _TASK_KEYS]


def _six_fields(trigger: TimerSettings) -> Iterator[tuple[str, str]]:
    six = trigger.cron.expression
    if trigger.has_six_fields:
        yield (
            "cron",
            f"found six fields, {six!r}; scfd reads them as second to day of week, the Go framework as "
            f"minute to year, {f'0 {six}'!r}; expected seven fields, which mean the same to both: "
            f"{f'{six} *'!r}",
        )


def _timer(trigger: TimerSettings, config: Config) -> Iterator[tuple[str, str]]:
    if trigger.misfire == "skip" and trigger.misfire_grace is not None:
        yield "misfire_grace", "has no effect beside misfire: skip; expected one of the two"
    if trigger.jobs_only and not _is_found(config):
        text = "it never fires: no job is ever due, since nobody says where the control plane is"
        yield "jobs_only", f"{text}; expected heartbeat.server_url, or a section gateway"


def _nats(trigger: NatsSettings, config: Config) -> Iterator[tuple[str, str]]:
    if "tasks" in trigger.explicit and config.adapter.http is None:
        yield "tasks", "has no effect beside a native plugin, which asks the node for its tasks"
    if trigger.max_deliver == 1 and "backoff" in trigger.explicit and not trigger.bind:
        yield "backoff", "has no effect beside max_deliver 1: no message is delivered again"


def _dev_nats(trigger: NatsSettings, config: Config) -> Iterator[tuple[str, str]]:
    """What the NATS server for development does not have, though the trigger is to read there."""
    server, url = config.dev.nats, urlsplit(trigger.url)
    if server is None or not is_loopback(url.hostname or "") or url.port != server.port:
        return
    subjects = [s for stream in server.streams if stream.name == trigger.stream for s in stream.subjects]
    if not subjects and not trigger.create_stream:
        text = f"{trigger.stream} is not among dev.nats.streams, which are all that this server has"
        yield "stream", f"{text}; expected it there, or create_stream: true"
    for subject in trigger.filters if subjects else ():
        if not any(subjects_overlap(subject, other) for other in subjects):
            text = f"no message of {trigger.stream} in dev.nats.streams has a subject like {subject}"
            yield "subjects" if trigger.subjects else "subject", f"{text}; expected {', '.join(subjects)}"
