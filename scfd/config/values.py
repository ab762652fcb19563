"""
The config as values. The classes are the schema as well: every key, its check and its default stand here.

Durations are in seconds, sizes in bytes.
"""
# ruff: noqa: RUF009 - key() is the field() of attrs, and the checks it is given never change.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic
from zoneinfo import ZoneInfo

from attrs import field, frozen
from typing_extensions import TypeVar

from scfd.config.checks import (
    ACCESS_KEY,
    ADDRESS,
    ADDRESS_OR_OFF,
    CRON,
    DURATION,
    FILLED_TEXT,
    HOST,
    HOST_OR_EMPTY,
    HTTP_URL,
    HTTP_URL_OR_EMPTY,
    LEVEL,
    NATS_NAME,
    PATH_PREFIX,
    PORT,
    POSITIVE_DURATION,
    SERVERS,
    SIZE,
    SIZE_OR_ZERO,
    SUBJECT,
    SWITCH,
    TEXT,
    TIMEZONE,
    VARIABLES,
    Address,
    at_least,
    choice,
    whole,
)
from scfd.config.findings import without_credentials
from scfd.config.nats import NatsSettings
from scfd.config.origin import Origin
from scfd.config.schema import FreeForm, ListOf, MapOf, OneOf, Section, key
from scfd.triggers.timer.cron import Cron

#: What `Config.plugin` is: a plugin's settings class, or a mapping as the file has it.
P = TypeVar("P", default=Mapping[str, Any])

#: Seconds. Below this, heartbeats or health checks are a busy loop.
SHORTEST_INTERVAL = 0.1


def _url_repr(url: str) -> str:
    return repr(without_credentials(url))


@frozen
class SystemSettings:
    """
    What runs here.

    :ivar name: the function; also the native plugin, where ``adapter`` names none. Empty by default.
    :ivar version: of the business code; the control plane compares it. Empty by default.
    :ivar env: the environment it is deployed to, for people. Empty by default.
    :ivar storage_url: the storage server, handed to plugins until a probe names another. Empty by default.
    :ivar node_id: who the node is where the platform does not say. Empty by default.
    :ivar state_dir: a folder for what outlives a restart; empty, the default, leaves it to the platform, see
        `scfd.config.load.default_state_dir`.
    :ivar outbox_limit: bytes of task results that may wait for delivery; 64 MiB by default.
    :ivar report_tries: how often the control plane must have responded without taking a result, before the
        result is put aside; 20 by default.
    :ivar report_patience: seconds that must have passed as well since the first of these responses; an hour
        by default.
    """

    name: str = key(TEXT, "")
    version: str = key(TEXT, "")
    env: str = key(TEXT, "")
    storage_url: str = key(TEXT, "", repr=_url_repr)
    node_id: str = key(TEXT, "")
    state_dir: str = key(TEXT, "")
    outbox_limit: int = key(SIZE, 64 * 1024 * 1024)
    report_tries: int = key(whole(1), 20)
    report_patience: float = key(DURATION, 3600.0)


@frozen
class AuthSettings:
    """
    What signs heartbeats and reports for a control plane that asks for it.

    :ivar access_key: names the signer.
    :ivar secret_key: makes the signature.
    """

    access_key: str = key(ACCESS_KEY)
    secret_key: str = key(FILLED_TEXT, repr=False)


@frozen
class HeartbeatSettings:
    """
    Where the control plane is until a probe says so, and how often it hears from the node.

    :ivar server_ip: host name or IP address; needs ``server_port``. Empty by default.
    :ivar server_port: 1 to 65535; 0, the default, is none.
    :ivar server_url: http or https, in place of the two; without a trailing slash. Empty by default.
    :ivar interval: seconds from one heartbeat to the next, 0.1 or more; 9 by default.
    :ivar protocol: the control plane's generation, ``1``, ``2`` or ``3``; ``auto``, the default, is to learn
        it from the responses.
    :ivar on_version_mismatch: what to do when the control plane names another version: ``exit``, the
        default, or ``log``.
    :ivar api_prefix: the first part of the paths of heartbeats and reports. /gateway, the default, and
        /api/service are those of the generations, which the node then chooses between.
    :ivar auth: None, the default, signs nothing.
    :ivar allowed_servers: host names, IP addresses and CIDR ranges that a probe may name as the control
        plane, and ``first`` for the one that accepts the first heartbeat; none, the default, is all.
    """

    server_ip: str = key(HOST_OR_EMPTY, "")
    server_port: int = key(whole(0, 65535), 0)
    server_url: str = key(HTTP_URL_OR_EMPTY, "", repr=_url_repr)
    interval: float = key(at_least(SHORTEST_INTERVAL), 9.0)
    protocol: str = key(choice("auto", "1", "2", "3"), "auto")
    on_version_mismatch: str = key(choice("exit", "log"), "exit")
    api_prefix: str = key(PATH_PREFIX, "/gateway")
    auth: AuthSettings | None = key(Section(AuthSettings), None)
    allowed_servers: tuple[str, ...] = key(ListOf(SERVERS, or_one=True), ())


@frozen
class TlsSettings:
    """
    What the gateway shows to its callers.

    :ivar cert: a PEM file with the certificate and those between it and its root.
    :ivar key: a PEM file with its key, without a password.
    """

    cert: str = key(FILLED_TEXT)
    key: str = key(FILLED_TEXT)


@frozen
class GatewaySettings:
    """
    The front door.

    :ivar listen: 0.0.0.0:9000 by default; the environment variable ``PORT`` overrides the port.
    :ivar max_body: bytes that a request may have; 6 MiB by default, as on SCF.
    :ivar forward_timeout: seconds until the plugin has to respond to a forwarded request; 30 by default.
    :ivar request_buffer: bytes up to which a chunked request is kept until it is whole, to be forwarded with
        a Content-Length; 1 MiB by default, 0 forwards all chunks as they come.
    :ivar preserve_host: whether an HTTP plugin gets the caller's Host, not its own address; off by default.
    :ivar forward_events: whether ``POST /on-trigger`` of callers is forwarded; off by default.
    :ivar health_details: whether ``/-/live``, ``/-/ready`` and ``/-/startup`` say to callers what the admin
        endpoint says of the node's health; off by default.
    :ivar probe_token: what probes must show as Bearer token; empty, the default, is nothing.
    :ivar max_header: bytes of request line and headers; 16 KiB by default.
    :ivar header_timeout: seconds in which they have to arrive; 10 by default.
    :ivar body_timeout: seconds without a byte after which a body, or a connection that was upgraded, is
        given up; 60 by default.
    :ivar idle_timeout: seconds that a connection is kept between requests; 75 by default.
    :ivar max_connections: of callers; 1000 by default.
    :ivar pool_size: connections to the plugin; 256 by default.
    :ivar pool_idle: seconds that one is kept without a request; 1.5 by default.
    :ivar access_log: the same as ``log.access``.
    :ivar tls: None, the default, for plain HTTP.
    """

    listen: Address = key(ADDRESS, Address("0.0.0.0", 9000))
    max_body: int = key(SIZE, 6 * 1024 * 1024)
    forward_timeout: float = key(POSITIVE_DURATION, 30.0)
    request_buffer: int = key(SIZE_OR_ZERO, 1024 * 1024)
    preserve_host: bool = key(SWITCH, False)
    forward_events: bool = key(SWITCH, False)
    health_details: bool = key(SWITCH, False)
    probe_token: str = key(TEXT, "", repr=False)
    max_header: int = key(SIZE, 16 * 1024)
    header_timeout: float = key(POSITIVE_DURATION, 10.0)
    body_timeout: float = key(POSITIVE_DURATION, 60.0)
    idle_timeout: float = key(POSITIVE_DURATION, 75.0)
    max_connections: int = key(whole(1), 1000)
    pool_size: int = key(whole(1), 256)
    pool_idle: float = key(POSITIVE_DURATION, 1.5)
    access_log: bool = key(SWITCH, False)
    tls: TlsSettings | None = key(Section(TlsSettings), None)


_ENVIRONMENT = "a mapping of environment variables to text, such as {LANG: C.UTF-8}"


@frozen
class HttpAdapterSettings:
    """
    Business logic in a process of its own, spoken to over HTTP.

    :ivar name: of the plugin; by default ``system.name``, else http-plugin.
    :ivar url: http or https, without a trailing slash; http://127.0.0.1:9001 by default.
    :ivar ready_timeout: seconds in which it must become ready; 30 by default.
    :ivar timeout: seconds that an event may take; 30 by default.
    :ivar max_response: bytes that the response to an event may have; 32 MiB by default.
    :ivar max_connections: how many events are sent at once; further ones wait; 128 by default.
    :ivar health_interval: seconds from one health check to the next, 0.1 or more; 5 by default, 0 for none.
    :ivar health_failures: how many checks must fail in a row until it takes no events; 3 by default.
    :ivar mode: what it is sent: ``event``, the default, is whole events; ``task`` is each task and message.
    :ivar event_form: where a timer event has tasks and jobs: ``both``, the default, is ``payload`` and the
        top level.
    :ivar heartbeat_extra: JSON values merged over every heartbeat; none by default.
    :ivar command: the program and its arguments, where the node is to run the plugin; none by default.
    :ivar env: environment variables that the program gets besides those that are passed on; none by default.
    :ivar env_pass: which of the node's own environment variables are passed on, besides a few without which
        programs do not run; None, the default, is all but those from which the node takes a secret.
    :ivar cwd: the folder it starts in, relative to the node's working directory; that one by default.
    """

    name: str = key(TEXT, "")
    url: str = key(HTTP_URL, "http://127.0.0.1:9001", repr=_url_repr)
    ready_timeout: float = key(POSITIVE_DURATION, 30.0)
    timeout: float = key(POSITIVE_DURATION, 30.0)
    max_response: int = key(SIZE, 32 * 1024 * 1024)
    max_connections: int = key(whole(1, 10_000), 128)
    health_interval: float = key(at_least(SHORTEST_INTERVAL, or_zero=True), 5.0)
    health_failures: int = key(whole(1), 3)
    mode: str = key(choice("event", "task"), "event")
    event_form: str = key(choice("both", "payload"), "both")
    heartbeat_extra: Mapping[str, Any] = key(FreeForm(json=True), factory=dict, repr=False)
    command: tuple[str, ...] = key(ListOf(FILLED_TEXT), (), repr=False)
    env: Mapping[str, str] = key(MapOf(_ENVIRONMENT, "[^=\0]+"), factory=dict, repr=False)
    env_pass: tuple[str, ...] | None = key(ListOf(VARIABLES, or_one=True), None)
    cwd: str = key(TEXT, "")


@frozen
class AdapterSettings:
    """
    Where the business logic is: ``native`` or ``http``.

    :ivar native: the name of a native plugin; empty, the default, leaves it to what is installed.
    :ivar path: folders in which native plugins are looked for besides ``sys.path``, relative to the
        working directory; none by default.
    :ivar threads: of a native plugin that blocks: how many of its calls run at once; 10 by default.
    :ivar http: None for a native plugin.
    :ivar task_concurrency: of a task plugin: how many tasks it is given at once; 10 by default.
    :ivar task_timeout: seconds that one attempt at a task or message may take; by default the trigger's
        ``timeout``, else that of ``http``, else 30.
    :ivar task_retries: how often a task or message is tried again that has failed; 0 by default.
    """

    native: str = key(TEXT, "")
    path: tuple[str, ...] = key(ListOf(FILLED_TEXT, or_one=True), ())
    threads: int = key(whole(1, 1000), 10)
    http: HttpAdapterSettings | None = key(Section(HttpAdapterSettings), None)
    task_concurrency: int = key(whole(1, 10_000), 10)
    task_timeout: float | None = key(POSITIVE_DURATION, None)
    task_retries: int = key(whole(0, 100), 0)


@frozen
class TimerSettings:
    """
    Events at moments of the clock.

    :ivar name: unique among the triggers.
    :ivar cron: when.
    :ivar timezone: whose clock it means, by IANA name; by default the process's own.
    :ivar misfire: what becomes of fires that were missed: ``once``, the default (one event for them
        all), ``all`` (an event each) or ``skip``.
    :ivar misfire_grace: seconds after which a missed fire is not made up any more; without limit by default.
    :ivar overlap: what becomes of a fire while the last event is under way: ``skip``, the default,
        ``queue`` or ``allow``.
    :ivar timeout: seconds that the plugin may take; by default as its adapter has it.
    :ivar jobs_only: leave out fires at which no job of a task is due; off by default.
    :ivar task_concurrency: as that of the adapter, for this trigger alone; by default its tasks count there.
    :ivar task_timeout: as that of the adapter, which is the default.
    :ivar task_retries: as that of the adapter, which is the default.
    """

    type: ClassVar[str] = "timer"

    name: str
    cron: Cron = key(CRON)
    timezone: ZoneInfo | None = key(TIMEZONE, None)
    misfire: str = key(choice("once", "all", "skip"), "once")
    misfire_grace: float | None = key(DURATION, None)
    overlap: str = key(choice("skip", "queue", "allow"), "skip")
    timeout: float | None = key(POSITIVE_DURATION, None)
    jobs_only: bool = key(SWITCH, False)
    task_concurrency: int | None = key(whole(1, 10_000), None)
    task_timeout: float | None = key(POSITIVE_DURATION, None)
    task_retries: int | None = key(whole(0, 100), None)

    @property
    def has_six_fields(self) -> bool:
        """Whether the Go framework reads the expression in another way than scfd."""
        return len(self.cron.expression.split()) == 6


TriggerSettings = TimerSettings | NatsSettings
TRIGGERS: Mapping[str, type] = {cls.type: cls for cls in (TimerSettings, NatsSettings)}


@frozen
class AdminSettings:
    """
    The endpoint for operators.

    :ivar listen: 127.0.0.1:9002 by default; in the file, ``""`` turns the endpoint off.
    :ivar token: what callers must show; empty, the default, is nothing.
    :ivar hosts: names by which it is reached, besides addresses and localhost; none by default.
    :ivar history: how many events are kept of each trigger: so many that succeeded, and so many
        that failed; 200 by default, 0 for none.
    :ivar failing_after: events of a trigger that have to fail in a row for a warning; 5 by default.
    """

    listen: Address = key(ADDRESS_OR_OFF, Address("127.0.0.1", 9002))
    token: str = key(TEXT, "", repr=False)
    hosts: tuple[str, ...] = key(ListOf(HOST, or_one=True), ())
    history: int = key(whole(0), 200)
    failing_after: int = key(whole(1), 5)


_NAMESPACES = "a mapping of namespaces to levels, such as {nats: debug}"


@frozen
class ClsSettings:
    """
    Tencent CLS, as `scf_log.CLSConfig` has it.

    :ivar topic_id: of the CLS topic.
    :ivar host: such as ap-guangzhou.cls.tencentcs.com; https where it names no scheme.
    :ivar secret_id: with ``secret_key`` the credentials; without both, the default, those that SCF puts into
        the environment.
    :ivar secret_key: see ``secret_id``.
    :ivar secret_token: of temporary credentials; none by default.
    :ivar source: what CLS shows as the machine; by default its own IP address.
    :ivar total_size_ln_bytes: bytes of entries that may wait; further ones are dropped and counted; 100 MiB
        by default.
    :ivar max_send_worker_count: uploads at a time; 4 by default.
    :ivar max_batch_size: bytes of an upload; 5 MiB by default.
    :ivar max_batch_count: entries of an upload; 4096 by default.
    :ivar linger_ms: milliseconds that an entry waits for others to go with it; 2000 by default.
    :ivar retries: tries of an upload after the first one; 10 by default.
    :ivar base_retry_backoff_ms: milliseconds before the second try, doubled before each further one; 100 by
        default.
    :ivar max_retry_backoff_ms: the longest of these; 50000 by default.
    """

    topic_id: str = key(FILLED_TEXT)
    host: str = key(FILLED_TEXT)
    secret_id: str = key(TEXT, "", repr=False)
    secret_key: str = key(TEXT, "", repr=False)
    secret_token: str = key(TEXT, "", repr=False)
    source: str = key(TEXT, "")
    total_size_ln_bytes: int = key(SIZE, 100 * 1024 * 1024)
    max_send_worker_count: int = key(whole(1, 1000), 4)
    max_batch_size: int = key(SIZE, 5 * 1024 * 1024)
    max_batch_count: int = key(whole(1), 4096)
    linger_ms: int = key(whole(0), 2000)
    retries: int = key(whole(0), 10)
    base_retry_backoff_ms: int = key(whole(0), 100)
    max_retry_backoff_ms: int = key(whole(0), 50_000)


@frozen
class LogSettings:
    """
    The node's log.

    :ivar level: from which on events are shown: ``debug``, ``info``, the default, ``warn``, ``error`` or
        ``critical``.
    :ivar levels: the same for namespaces, such as ``{nats: debug, plugin.output: warn}``; none by default.
    :ivar format: ``text``, the default, for people; ``json`` or ``logfmt`` for programs.
    :ivar file: where the log goes besides standard output; nowhere by default.
    :ivar max_size: bytes at which the file gets a number and a new one begins; 10 MiB by default.
    :ivar max_age: seconds after which the same happens; 0, the default, for never.
    :ivar keep: how many such files are kept; 5 by default.
    :ivar access: a line for each request to the gateway; off by default.
    :ivar cls: None, the default, sends nothing to CLS.
    """

    level: str = key(LEVEL, "info")
    levels: Mapping[str, str] = key(MapOf(_NAMESPACES, r"[^\s:=]+", LEVEL), factory=dict)
    format: str = key(choice("text", "json", "logfmt"), "text")
    file: str = key(TEXT, "")
    max_size: int = key(SIZE, 10 * 1024 * 1024)
    max_age: float = key(DURATION, 0.0)
    keep: int = key(whole(1), 5)
    access: bool = key(SWITCH, False)
    cls: ClsSettings | None = key(Section(ClsSettings), None)


@frozen
class ShutdownSettings:
    """
    Stopping.

    :ivar drain: seconds that running work may still take; 20 by default.
    """

    drain: float = key(DURATION, 20.0)


@frozen
class DevControlPlaneSettings:
    """
    A control plane for development.

    :ivar listen: 127.0.0.1:18202 by default.
    :ivar tasks: a YAML file with the tasks it hands out, relative to the working directory; empty,
        the default, is none.
    :ivar hosts: names by which it is reached, besides addresses and localhost; none by default.
    :ivar protocol: the generation that it speaks: ``1``, the default, ``2`` or ``3``.
    """

    listen: Address = key(ADDRESS, Address("127.0.0.1", 18202))
    tasks: str = key(TEXT, "")
    hosts: tuple[str, ...] = key(ListOf(HOST, or_one=True), ())
    protocol: str = key(choice("1", "2", "3"), "1")


@frozen
class DevStreamSettings:
    """
    A JetStream stream to create.

    :ivar name: of the stream.
    :ivar subjects: what it keeps; at least one.
    """

    name: str = key(NATS_NAME)
    subjects: tuple[str, ...] = key(ListOf(SUBJECT, least=1))


@frozen
class DevNatsSettings:
    """
    A NATS server for development, on 127.0.0.1.

    :ivar port: 14222 by default.
    :ivar streams: none by default.
    """

    port: int = key(PORT, 14222)
    streams: tuple[DevStreamSettings, ...] = key(ListOf(Section(DevStreamSettings)), ())


@frozen
class DevSettings:
    """
    Stand-ins for what is outside; left out in production.

    :ivar control_plane: None, the default, for none.
    :ivar nats: None, the default, for none.
    """

    control_plane: DevControlPlaneSettings | None = key(Section(DevControlPlaneSettings), None)
    nats: DevNatsSettings | None = key(Section(DevNatsSettings), None)


@frozen
class Config(Generic[P]):
    """
    A whole config. ``Config[Settings]`` is one whose plugin has a settings class.

    :ivar gateway: None where the file has no such section.
    :ivar triggers: none by default.
    :ivar plugin: the plugin's own part: a mapping as the file has it, empty by default; or an object of the
        plugin's settings class.
    :ivar admin: None where it is turned off.
    :ivar path: the file.
    :ivar warnings: whole lines about what the file has and scfd does not use, or can't.
    :ivar origin: where the values come from.
    """

    #: Sections of functions that the Go framework has.
    unused_keys: ClassVar[tuple[str, ...]] = ("dns_proxy", "storage")

    system: SystemSettings = key(Section(SystemSettings), factory=SystemSettings)
    heartbeat: HeartbeatSettings = key(Section(HeartbeatSettings), factory=HeartbeatSettings)
    gateway: GatewaySettings | None = key(Section(GatewaySettings, may_be_empty=True), None)
    adapter: AdapterSettings = key(Section(AdapterSettings), factory=AdapterSettings)
    triggers: tuple[TriggerSettings, ...] = key(ListOf(OneOf("trigger", TRIGGERS)), ())
    plugin: P = key(FreeForm(), factory=dict, repr=False)
    admin: AdminSettings | None = key(Section(AdminSettings), factory=AdminSettings)
    log: LogSettings = key(Section(LogSettings), factory=LogSettings)
    shutdown: ShutdownSettings = key(Section(ShutdownSettings), factory=ShutdownSettings)
    dev: DevSettings = key(Section(DevSettings), factory=DevSettings)
    path: str = ""
    warnings: tuple[str, ...] = ()
    origin: Origin = field(factory=Origin, repr=False, eq=False)
