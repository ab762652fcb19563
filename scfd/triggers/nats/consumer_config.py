"""What a consumer gets from the config, and what of it stays as its operator has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import define

from scfd.config import NatsSettings
from scfd.config.nats import SHORTEST_PULL, subject_matches, subjects_overlap

NANO = 1_000_000_000
#: The server's default for ``max_ack_pending``. All nodes of a consumer share it.
USUAL_MAX_ACK_PENDING = 1000
#: The server's default for ``ack_wait``, in nanoseconds.
USUAL_ACK_WAIT = 30 * NANO
#: Full batches that may wait in a node while the handler is quick. With batches of 10, 2 gave 65,000
#: messages/s, 8 gave 115,000, 32 gave 155,000; two batches of 500 gave 170,000.
BATCHES_AHEAD = 32
#: Upper limit of the messages that may wait in a node, whatever ``batch_size`` is.
MOST_AHEAD = 1000


@define
class Terms:
    """
    The delivery terms of a consumer, whoever set them.

    :ivar ack_wait: seconds of silence after which the server delivers a message again.
    :ivar max_deliver: deliveries of a message at most; -1 is without limit.
    """

    ack_wait: float
    max_deliver: int

    @classmethod
    def of(cls, settings: NatsSettings) -> Terms:
        """The terms of a consumer that the node makes."""
        return cls(settings.ack_wait, settings.max_deliver)

    def update(self, config: Mapping[str, Any]) -> None:
        """:param config: the consumer's, from the server. Its backoff, if any, replaces ack_wait."""
        self.ack_wait = min(config.get("backoff") or [config.get("ack_wait") or USUAL_ACK_WAIT]) / NANO
        self.max_deliver = config.get("max_deliver", -1)


def most_ahead(settings: NatsSettings) -> int:
    """How many messages may wait in one node at most; slow handlers have fewer, see `Deliveries.ahead`."""
    return max(min(BATCHES_AHEAD * settings.batch_size, MOST_AHEAD), settings.concurrency)


def new_consumer(settings: NatsSettings, stream: Mapping[str, Any], floor: int | None) -> dict[str, Any]:
    """
    The config of a consumer that does not exist yet.

    :param stream: the config of its stream.
    :param floor: up to which sequence a deleted consumer of that name was done; None if there was none.
    """
    return {
        "durable_name": settings.consumer_name,
        "ack_policy": "explicit",
        "ack_wait": round(settings.ack_wait * NANO),
        "max_deliver": settings.max_deliver,
        "max_ack_pending": settings.max_ack_pending or _default_max_ack_pending(settings, stream),
        **_filter(settings.filters),
        **_beginning(settings, stream, floor),
    }


def _default_max_ack_pending(settings: NatsSettings, stream: Mapping[str, Any]) -> int:
    """Room for ten nodes that hold as much as they may, within the stream's limit."""
    room = max(USUAL_MAX_ACK_PENDING, 10 * (settings.concurrency + most_ahead(settings)))
    limit = (stream.get("consumer_limits") or {}).get("max_ack_pending", 0)
    return min(room, limit) if limit > 0 else room


def _filter(subjects: tuple[str, ...]) -> dict[str, Any]:
    return {"filter_subject": subjects[0]} if len(subjects) == 1 else {"filter_subjects": list(subjects)}


def _beginning(settings: NatsSettings, stream: Mapping[str, Any], floor: int | None) -> dict[str, Any]:
    deliver = settings.deliver
    work_queue = stream.get("retention") == "workqueue"  # its consumers must begin with the first message
    if floor is not None and not work_queue:
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": floor + 1}
    if deliver.isdigit():
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": int(deliver)}
    if ":" in deliver:
        return {"deliver_policy": "by_start_time", "opt_start_time": deliver}
    return {"deliver_policy": deliver or ("all" if work_queue else "new")}


def changed(
    settings: NatsSettings, config: Mapping[str, Any], stream: Mapping[str, Any]
) -> dict[str, Any] | None:
    """
    What an existing consumer is to become: what the config file sets is applied, all else stays.

    :param config: the consumer's, from the server.
    :param stream: the config of its stream.
    :returns: its whole config with the changes; None where nothing changes.
    """
    wanted: dict[str, Any] = (
        {"ack_wait": round(settings.ack_wait * NANO)} if not config.get("backoff") else {}
    )
    wanted.update(max_deliver=settings.max_deliver, max_ack_pending=settings.max_ack_pending)
    wanted = {name: value for name, value in wanted.items() if name in settings.explicit}
    new = {**config, **wanted}
    if not covered(settings.filters, filters_of(config) or stream.get("subjects") or [">"]):
        new = {
            name: value for name, value in new.items() if name not in ("filter_subject", "filter_subjects")
        }
        new.update(_filter(settings.filters))
    return new if new != config else None


def filters_of(config: Mapping[str, Any]) -> list[str]:
    """The subjects of a consumer; none is the whole stream."""
    one = config.get("filter_subject")
    return config.get("filter_subjects") or ([one] if one else [])


def covered(patterns: Iterable[str], subjects: Iterable[str]) -> bool:
    """Whether each of the subjects is covered by one of the patterns."""
    patterns = tuple(patterns)
    return all(any(subject_matches(pattern, subject) for pattern in patterns) for subject in subjects)


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The changes from one consumer config to another, for the log."""
    shown = [
        f"{name} {_shown(name, old.get(name))} -> {_shown(name, new.get(name))}"
        for name in ("ack_wait", "max_deliver", "max_ack_pending")
        if old.get(name) != new.get(name)
    ]
    subjects, now = filters_of(old), filters_of(new)
    if subjects != now:
        shown.append(f"subjects {', '.join(subjects) or 'all'} -> {', '.join(now)}")
    return ", ".join(shown)


def _shown(name: str, value: Any) -> str:
    return f"{value / NANO:g} s" if name == "ack_wait" and value else str(value)


def unusable(config: Mapping[str, Any]) -> str | None:
    """Why scfd can't work with a consumer, as a clause; None if it can."""
    if config.get("deliver_subject"):
        return "is a push consumer; expected a pull consumer"
    if config.get("ack_policy") != "explicit":
        return f"has ack_policy {config.get('ack_policy')}; expected explicit"
    if 0 < (expires := config.get("max_expires", 0)) < SHORTEST_PULL * NANO:
        return f"has max_expires {expires / NANO:g} s; expected at least {SHORTEST_PULL:g} s"
    return None


def without_messages(config: Mapping[str, Any], stream: Mapping[str, Any]) -> list[str]:
    """
    :param stream: the config of the consumer's stream.
    :returns: the subjects of the consumer that no message of the stream can have.
    """
    if any(stream.get(name) for name in ("mirror", "sources", "subject_transform")):
        return []  # messages come under other subjects, too
    subjects = stream.get("subjects") or [">"]
    return [
        wanted
        for wanted in filters_of(config)
        if not any(subjects_overlap(wanted, subject) for subject in subjects)
    ]


def remarks(settings: NatsSettings, config: Mapping[str, Any], stream: Mapping[str, Any]) -> Iterator[str]:
    """
    :param stream: the config of the consumer's stream; empty when it is not known.
    :returns: clauses about what the consumer has and the config file sets otherwise.
    """
    explicit = settings.explicit
    for subject in without_messages(config, stream):
        has = ", ".join(stream["subjects"])
        yield f"delivers {subject}, and no message of stream {settings.stream} has it: those are {has}"
    if backoff := config.get("backoff"):
        times = ", ".join(f"{delay / NANO:g} s" for delay in backoff)
        if "ack_wait" in explicit and backoff[0] != round(settings.ack_wait * NANO):
            yield f"has a backoff of its own ({times}), which replaces ack_wait {settings.ack_wait:g} s"
    if threshold := config.get("inactive_threshold"):
        time = f"{threshold / NANO:g} s"
        yield f"has inactive_threshold {time}: the server deletes it when no node pulls for so long"
    filters = filters_of(config)
    if settings.filters and filters and not covered(filters, settings.filters):
        kind = "narrower than" if covered(settings.filters, filters) else "different from"
        wanted = ", ".join(settings.filters)
        yield f"delivers {', '.join(filters)}, {kind} the trigger's {wanted}, and stays like that"
    if settings.dead_letter and config.get("max_deliver", -1) == -1:
        yield "has no max_deliver, so that no message will ever go to dead_letter"
    room = config.get("max_ack_pending", 0)
    if 0 < room < settings.concurrency:
        yield f"has max_ack_pending {room}, which limits concurrency {settings.concurrency}"
    limit = config.get("max_batch", 0)
    if "batch_size" in explicit and 0 < limit < settings.batch_size:
        yield f"has max_batch {limit}, which limits batch_size {settings.batch_size}"
    expires = config.get("max_expires", 0) / NANO
    if "fetch_max_wait" in explicit and 0 < expires < settings.fetch_max_wait:
        yield f"has max_expires {expires:g} s, which limits fetch_max_wait {settings.fetch_max_wait:g} s"
