"""What the settings of NATS triggers must not say together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scfd.config.checks import WRONG
from scfd.config.findings import Findings
from scfd.config.nats import NatsTrigger
from scfd.config.tree import Entry, Listing, Table

#: Ways to prove who one is; a trigger has one of them.
_LOGINS = ("user", "token", "nkey", "credentials")


def check_nats(triggers: Any, table: Table, findings: Findings) -> None:
    """
    :param triggers: the value of ``triggers``; `WRONG` when it has mistakes of its own.
    :param table: the whole file.
    """
    entry = table.get("triggers")
    if triggers is WRONG or entry is None or not isinstance(entry.node, Listing):
        return
    consumers: dict[tuple[str, str, str], str] = {}
    for index, (trigger, node) in enumerate(zip(triggers, entry.node.items, strict=True)):
        settings = node.get("settings") if isinstance(node, Table) else None
        if not isinstance(trigger, NatsTrigger) or settings is None or not isinstance(settings.node, Table):
            continue
        lines = {entry.name: entry.line for entry in settings.node.entries}
        for name, text in (*_mistakes(trigger, settings), *_shared(trigger, consumers)):
            findings.mistake(lines.get(name, settings.line), f"triggers[{index}].settings.{name}", text)


def _mistakes(trigger: NatsTrigger, settings: Entry) -> Iterator[tuple[str, str]]:
    """:returns: keys and what is wrong with them."""
    yield from _login_mistakes(trigger)
    if trigger.dead_letter:
        if trigger.max_deliver == -1:
            yield (
                "dead_letter",
                "set with max_deliver -1; nothing would ever be its last delivery",
            )
        if subject_matches(trigger.subject, trigger.dead_letter):
            yield (
                "dead_letter",
                f"{trigger.dead_letter} is among the messages of this trigger, {trigger.subject}; "
                "accepted is another subject, or they would come again and again",
            )
    given = isinstance(settings.node, Table) and settings.node.get("backoff") is not None
    again = trigger.max_deliver - 1
    if given and trigger.max_deliver != -1 and len(trigger.backoff) > max(again, 1):
        yield (
            "backoff",
            f"has {len(trigger.backoff)} delays, and max_deliver {trigger.max_deliver} leaves room "
            f"for {again}; accepted are as many or fewer",
        )


def _login_mistakes(trigger: NatsTrigger) -> Iterator[tuple[str, str]]:
    logins = [name for name in _LOGINS if getattr(trigger, name)]
    if len(logins) > 1:
        yield logins[1], f"set beside {logins[0]}; accepted is one of {', '.join(_LOGINS)}"
    if logins and "@" in trigger.url:
        yield logins[0], "set beside credentials in url; accepted is one of the two"
    if bool(trigger.user) != bool(trigger.password):
        there, missing = ("user", "password") if trigger.user else ("password", "user")
        yield there, f"set without {missing}; accepted are both or none"
    if trigger.tls is not None and bool(trigger.tls.cert) != bool(trigger.tls.key):
        yield "tls", "one of cert and key is set without the other; accepted are both or none"


def _shared(trigger: NatsTrigger, consumers: dict[tuple[str, str, str], str]) -> Iterator[tuple[str, str]]:
    consumer = (trigger.url, trigger.stream, trigger.consumer_name)
    other = consumers.setdefault(consumer, trigger.name)
    if other != trigger.name:
        yield (
            "consumer_name",
            f"{trigger.consumer_name} is the consumer of trigger {other} already; accepted is one of its own",
        )


def subject_matches(pattern: str, subject: str) -> bool:
    """
    Whether a subject is among those of a pattern.

    :param pattern: may have ``*`` for one token and ``>`` for all that follow.
    """
    tokens = subject.split(".")
    wanted = pattern.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(tokens) > index
        if index >= len(tokens) or token not in ("*", tokens[index]):
            return False
    return len(tokens) == len(wanted)
