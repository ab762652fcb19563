"""The settings of a NATS trigger: every key, its check and its default. Durations are in seconds."""
# ruff: noqa: RUF009 - key() is the field() of attrs, and the checks it is given never change.

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from scfd.config.checks import (
    DURATION,
    FILLED_TEXT,
    NATS_NAME,
    NATS_URL,
    PLAIN_SUBJECT_OR_EMPTY,
    POSITIVE_DURATION,
    SUBJECT,
    SWITCH,
    TEXT,
    choice,
    whole,
)
from scfd.config.findings import without_credentials
from scfd.config.schema import ListOf, Section, key


def _without_credentials(urls: str) -> str:
    return repr(without_credentials(urls))


@frozen
class NatsTlsSettings:
    """
    Encrypted connections to NATS servers.

    :ivar ca: a PEM file with the authorities that sign servers; by default those of the system.
    :ivar cert: a PEM file with the certificate that the node shows; none by default.
    :ivar key: a PEM file with its key.
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
    :ivar stream: where the messages are.
    :ivar subject: which of its messages.
    :ivar consumer_name: of the durable consumer, created or updated at start.
    :ivar batch_size: messages that one pull request asks for at most; 10 by default.
    :ivar ack_wait: seconds after which the server takes a silent node for lost, and delivers a message
        again; 30 by default.
    :ivar max_deliver: how often a message is delivered at most; -1 is without limit; 3 by default.
    :ivar fetch_max_wait: seconds that one pull request stands; 5 by default.
    :ivar user: with ``password``, in place of credentials in ``url``. Empty by default.
    :ivar password: see ``user``.
    :ivar token: the server's token. Empty by default.
    :ivar nkey: the seed of an NKey, or a file with it. Empty by default.
    :ivar credentials: a file with a user JWT and its seed. Empty by default.
    :ivar tls: None, the default, leaves it to the server and to the scheme of ``url``.
    :ivar create_stream: make the stream, with ``subject``, where it is missing; off by default.
    :ivar concurrency: messages that the plugin gets at the same time; 1, the default, is in order.
    :ivar timeout: seconds that the plugin may take; by default as its adapter has it.
    :ivar backoff: seconds before a failed message comes again, by the number of its delivery; the last
        one repeats. 1, 2, 4, 8, 16, 30 by default.
    :ivar dead_letter: the subject to which a message goes when its last delivery has failed; empty, the
        default, is none.
    :ivar ack: ``single``, the default, or ``double``: the server confirms.
    :ivar tasks: what an HTTP plugin gets beside the message: the task ``snapshot``, the default, its
        ``digest`` alone, or ``none`` of it.
    """

    type: ClassVar[str] = "nats"
    #: A cache and a backfill that the Go framework has.
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
    subject: str = key(SUBJECT)
    consumer_name: str = key(NATS_NAME)
    batch_size: int = key(whole(1), 10)
    ack_wait: float = key(POSITIVE_DURATION, 30.0)
    max_deliver: int = key(whole(1, also=-1), 3)
    fetch_max_wait: float = key(POSITIVE_DURATION, 5.0)
    user: str = key(TEXT, "", repr=False)
    password: str = key(TEXT, "", repr=False)
    token: str = key(TEXT, "", repr=False)
    nkey: str = key(TEXT, "", repr=False)
    credentials: str = key(TEXT, "")
    tls: NatsTlsSettings | None = key(Section(NatsTlsSettings), None)
    create_stream: bool = key(SWITCH, False)
    concurrency: int = key(whole(1, 10_000), 1)
    timeout: float | None = key(POSITIVE_DURATION, None)
    backoff: tuple[float, ...] = key(ListOf(DURATION, least=1), (1.0, 2.0, 4.0, 8.0, 16.0, 30.0))
    dead_letter: str = key(PLAIN_SUBJECT_OR_EMPTY, "")
    ack: str = key(choice("single", "double"), "single")
    tasks: str = key(choice("snapshot", "digest", "none"), "snapshot")
