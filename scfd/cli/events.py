"""``scfd events`` and ``scfd event``: what happened."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NoReturn

from scfd.cli.remote import EXIT_FAILED, Node, show
from scfd.cli.table import duration, table

#: Seconds between two looks of ``--follow``.
FOLLOW_INTERVAL = 0.5


def events_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trigger", metavar="TRIGGER", default="", help="of this one only")
    parser.add_argument("--failed", action="store_true", help="without those that succeeded")
    parser.add_argument("--follow", action="store_true", help="go on with new ones until Ctrl-C")
    parser.add_argument("--limit", type=int, default=20, help="how many at the most")


_EVENT_HEADINGS = ("AT", "ID", "TRIGGER", "TOOK", "LATE", "OUTCOME", "RESULTS", "ERROR")


def events(node: Node, options: argparse.Namespace) -> int:
    asked = {"trigger": options.trigger, "failed": options.failed, "limit": options.limit}
    found = node.call("event.list", **asked)
    if options.follow:
        with suppress(KeyboardInterrupt):
            _follow(node, options, found, asked)
    else:
        show(options, found, table(_EVENT_HEADINGS, map(_event_row, found)) or ["no events"])
    return 0


def _follow(
    node: Node, options: argparse.Namespace, found: list[dict[str, Any]], asked: dict[str, Any]
) -> NoReturn:
    number = 0
    while True:
        number = max([number, *(one["number"] for one in found)])
        for one in reversed(found):
            if one["number"]:
                print(
                    json.dumps(one) if options.json else table(_EVENT_HEADINGS, [_event_row(one)])[1],
                    flush=True,
                )
        time.sleep(FOLLOW_INTERVAL)
        found = node.call("event.list", **{**asked, "limit": 10_000}, after=number)


def _event_row(one: dict[str, Any]) -> tuple[object, ...]:
    statuses = ", ".join(f"{count} of status {status}" for status, count in one["statuses"].items())
    return (
        one["at"],
        one["id"],
        one["trigger"],
        duration(one["seconds"]),
        duration(one["lateness"]),
        one["outcome"] + (f", delivery {one['delivery']}" if one["delivery"] > 1 else ""),
        statuses,
        one["error"],
    )


def event_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="of the event, as `scfd events` shows it")
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--replay", action="store_true", help="have the plugin handle it once more")
    act.add_argument("--cancel", action="store_true", help="end it, where it is under way")


def event(node: Node, options: argparse.Namespace) -> int:
    if options.cancel:
        show(options, node.call("event.cancel", id=options.id), ["cancelled"])
        return 0
    if options.replay:
        return show_event(options, node.call("event.replay", timeout=None, id=options.id))
    found = node.call("event.get", id=options.id)
    show(options, found, _event_lines(found))
    return 0


def show_event(options: argparse.Namespace, event: dict[str, Any]) -> int:
    show(options, event, _event_lines(event))
    return 0 if event["outcome"] == "succeeded" else EXIT_FAILED


def _event_lines(event: dict[str, Any]) -> Iterator[str]:
    yield f"event {event['id']} of {event['trigger']}: {event['outcome']} after {duration(event['seconds'])}"
    if event["error"]:
        yield f"error: {event['error']}"
    results = event.get("task_results", [])
    yield from table(
        ("TASK", "STATUS", "RESULT"), [(one["task_id"], one["status"], one["result"]) for one in results]
    )
    if event["results"] > len(results):
        yield f"… and {event['results'] - len(results)} results more"
    for name, value in sorted(event.get("metadata", {}).items()):
        yield f"{name}: {value}"
    if event.get("traceback"):
        yield from ("", *event["traceback"].splitlines())
