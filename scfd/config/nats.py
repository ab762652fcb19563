"""The settings of a NATS trigger: every key, its check and its default. Durations are in seconds."""
# ruff: noqa: RUF009 - key() is the field() of attrs, and the checks it is given never change.

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen

from scfd.config.checks import (
    DELIVER,
    FILLED_TEXT,
    NATS_NAME,
    NATS_URL,
    PLAIN_SUBJECT_OR_EMPTY,
    POSITIVE_DURATION,
    SIZE,
    SUBJECT,
    SUBJECT_PREFIX,
    SWITCH,
    TEXT,
    at_least,
    choice,
    whole,
)
from scfd.config.findings import without_credentials
from scfd.config.schema import ListOf, Section, key, keys_of

#: Seconds. A message is extended four times in ``ack_wait``; below this, a short standstill of the node or
#: the network already has messages delivered twice.
SHORTEST_ACK_WAIT = 0.5
#: Seconds. Each pull request costs a round trip; shorter ones are a busy loop.
SHORTEST_PULL = 0.1
#: Seconds. A plugin that fails at once would get the same message thousands of times a second.
SHORTEST_BACKOFF = 0.05


def _without_credentials(urls: str) -> str:
    return repr(without_credentials(urls))


@frozen
class NatsTlsSettings:
    """
    TLS to NATS servers.

    :ivar ca: a PEM file with the certificate authorities to trust; by default those of the system.
    :ivar cert: a PEM file with the client certificate; none by default.
    :ivar key: a PEM file with its private key.
    :ivar handshake_first: whether servers expect TLS from the first byte; off by default.
    """

    ca: str = key(FILLED_TEXT, "")
    cert: str = key(FILLED_TEXT, "")
    handshake_first: bool = key(SWITCH, False)
    key: str = key(FILLED_TEXT, "")  # the last one: from here on the name stands for itself


@frozen
class NatsSettings:
    """
    Events from messages of a JetStream stream.

    :ivar name: unique among the triggers.
    :ivar url: one server or several joined by commas; may hold credentials.
    :ivar stream: the stream that holds the messages.
    :ivar consumer_name: the durable consumer, which the node makes or updates.
    :ivar subject: which messages of the stream.
    :ivar subjects: the same, for several subjects; in place of ``subject``.
    :ivar deliver: where a consumer begins that the node makes: ``new``, ``all``, ``last``,
        ``last_per_subject``, a stream sequence or a time; empty, the default, is ``all`` for a work queue
        and ``new`` for other streams. Never changes an existing consumer.
    :ivar batch_size: messages that one pull request asks for at most; 10 by default.
    :ivar max_held_bytes: bytes of messages that may be here, or on their way as asked for; 64 MiB by default.
        One message always may, whatever its size.
    :ivar ack_wait: seconds after which the server delivers a message again whose node is silent; 30 by
        default.
    :ivar max_deliver: deliveries of one message at most; -1 is without limit; 3 by default.
    :ivar max_ack_pending: unacknowledged messages at all nodes together at most; -1 is without limit. None,
        the default, is room for ten nodes, within what stream and server allow.
    :ivar bind: use the consumer as it is, never make or change it; off by default.
    :ivar fetch_max_wait: seconds that one pull request stays open; 5 by default.
    :ivar user: with ``password``, in place of credentials in ``url``. Empty by default.
    :ivar password: see ``user``.
    :ivar token: the server's token. Empty by default.
    :ivar nkey: the seed of an NKey, or a file with it. Empty by default.
    :ivar credentials: a file with a user JWT and its seed. Empty by default.
    :ivar tls: None, the default, leaves it to the server and to the scheme of ``url``.
    :ivar domain: the JetStream domain of the stream. Empty by default.
    :ivar api_prefix: in place of ``$JS.API`` in front of JetStream requests. Empty by default.
    :ivar inbox_prefix: in place of ``_INBOX`` in front of reply subjects. Empty by default.
    :ivar create_stream: make the stream, with the trigger's subjects, where it is missing; off by default.
    :ivar concurrency: messages that the plugin handles at the same time; 1, the default, is in order.
    :ivar timeout: seconds that the plugin may take; by default as its adapter has it.
    :ivar backoff: seconds before a failed message is delivered again, by its number of deliveries; the
        last one repeats. 1, 2, 4, 8, 16, 30 by default.
    :ivar dead_letter: the subject that gets messages whose last delivery has failed; empty, the default,
        is none.
    :ivar ack: ``single``, the default, or ``double``: the server confirms each acknowledgement.
    :ivar tasks: what an HTTP plugin gets beside the message: the task ``snapshot``, the default, its
        ``digest`` alone, or ``none`` of it.
    :ivar task_timeout: as that of the adapter, which is the default.
    :ivar task_retries: as that of the adapter, which is the default.
    :ivar explicit: the keys that the file sets. An existing consumer keeps its own values for the others.
    """

    type: ClassVar[str] = "nats"
    #: Keys of the Go framework, for a cache and a backfill.
    unused_keys: ClassVar[tuple[str, ...]] = (
        "cache_enabled",
        "cache_key_prefix",
        "cache_max_items",
        "cache_ttl",
        "backfill_enabled",
        "backfill_dataset_id",
        "backfill_field_keys",
    )

    name: str
    url: str = key(NATS_URL, repr=_without_credentials)
    stream: str = key(NATS_NAME)
    consumer_name: str = key(NATS_NAME)
    subject: str = key(SUBJECT, "")
    subjects: tuple[str, ...] = key(ListOf(SUBJECT, least=1), ())
    deliver: str = key(DELIVER, "")
    batch_size: int = key(whole(1), 10)
    max_held_bytes: int = key(SIZE, 64 * 1024 * 1024)
    ack_wait: float = key(at_least(SHORTEST_ACK_WAIT), 30.0)
    max_deliver: int = key(whole(1, also=-1), 3)
    max_ack_pending: int | None = key(whole(1, also=-1), None)
    bind: bool = key(SWITCH, False)
    fetch_max_wait: float = key(at_least(SHORTEST_PULL), 5.0)
    user: str = key(TEXT, "", repr=False)
    password: str = key(TEXT, "", repr=False)
    token: str = key(TEXT, "", repr=False)
    nkey: str = key(TEXT, "", repr=False)
    credentials: str = key(TEXT, "")
    tls: NatsTlsSettings | None = key(Section(NatsTlsSettings), None)
    domain: str = key(NATS_NAME, "")
    api_prefix: str = key(SUBJECT_PREFIX, "")
    inbox_prefix: str = key(SUBJECT_PREFIX, "")
    create_stream: bool = key(SWITCH, False)
    concurrency: int = key(whole(1, 10_000), 1)
    timeout: float | None = key(POSITIVE_DURATION, None)
    backoff: tuple[float, ...] = key(
        ListOf(at_least(SHORTEST_BACKOFF), least=1), (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
    )
    dead_letter: str = key(PLAIN_SUBJECT_OR_EMPTY, "")
    ack: str = key(choice("single", "double"), "single")
    tasks: str = key(choice("snapshot", "digest", "none"), "snapshot")
    task_timeout: float | None = key(POSITIVE_DURATION, None)
    task_retries: int | None = key(whole(0, 100), None)
    explicit: frozenset[str] = field(repr=False, eq=False)

    @explicit.default
    def _not_default(self) -> frozenset[str]:
        """For settings that come from no file."""
        return frozenset(
            name for name, key in keys_of(type(self)).items() if getattr(self, name) != key.default
        )

    @property
    def filters(self) -> tuple[str, ...]:
        """The trigger's subjects; none only with ``bind``."""
        return self.subjects or ((self.subject,) if self.subject else ())

    @property
    def api(self) -> str:
        """The subject in front of JetStream requests."""
        return self.api_prefix or (f"$JS.{self.domain}.API" if self.domain else "$JS.API")


def subject_matches(pattern: str, subject: str) -> bool:
    """
    Whether ``pattern`` covers all of ``subject``.

    :param pattern: may have ``*`` for one token and ``>`` for one or more at the end; so may ``subject``.
    """
    tokens = subject.split(".")
    wanted = pattern.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(tokens) > index
        if index >= len(tokens) or tokens[index] == ">" or token not in ("*", tokens[index]):
            return False
    return len(tokens) == len(wanted)


def subjects_overlap(one: str, other: str) -> bool:
    """Whether some subject matches both patterns."""
    tokens, others = one.split("."), other.split(".")
    for token, another in zip(tokens, others, strict=False):
        if ">" in (token, another):
            return True
        if token != another and "*" not in (token, another):
            return False
    return len(tokens) == len(others)
