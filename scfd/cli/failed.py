"""``scfd reports`` and ``scfd dead-letters``: what has failed for good."""

from __future__ import annotations

import argparse

from scfd.cli.remote import EXIT_FAILED, Node, show
from scfd.cli.table import ago, duration, table
from scfd.errors import StartupError


def reports_options(parser: argparse.ArgumentParser) -> None:
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--retry", metavar="SEQ", nargs="+", help="deliver these after all; or all")
    act.add_argument("--discard", metavar="SEQ", nargs="+", help="forget these for good; or all")
    parser.add_argument("--limit", type=int, default=100, help="how many at the most")


def reports(node: Node, options: argparse.Namespace) -> int:
    found = node.call("report.list", limit=10_000 if options.retry or options.discard else options.limit)
    for method, given in (("retry", options.retry), ("discard", options.discard)):
        if given:
            seqs = [one["seq"] for one in found] if given == ["all"] else _numbers(given)
            count = node.call(f"report.{method}", seqs=seqs)
            show(options, count, [f"{count} of {len(seqs)}"])
            return 0 if count == len(seqs) else EXIT_FAILED
    rows = [
        (
            one["seq"],
            one["state"],
            one["task_id"],
            one["status"],
            duration(one["age"]),
            one["tries"],
            one["words"],
        )
        for one in found
    ]
    headings = ("SEQ", "STATE", "TASK", "STATUS", "AGE", "TRIES", "THE CONTROL PLANE SAID")
    show(options, found, table(headings, rows) or ["every result is delivered"])
    return 0


def _numbers(given: list[str]) -> list[int]:
    """:raises StartupError: one is no number."""
    for text in given:
        if not text.isdecimal():
            raise StartupError(f"found {text!r}; expected numbers as the list shows them, or all alone")
    return [int(text) for text in given]


def letters_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trigger", metavar="TRIGGER", nargs="?", default="", help="of this one only")
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--show", metavar="SEQ", type=int, help="one letter with headers and message")
    act.add_argument("--replay", metavar="SEQ", nargs="+", help="have the plugin handle these; or all")
    act.add_argument("--discard", metavar="SEQ", nargs="+", help="delete these; or all")
    parser.add_argument("--limit", type=int, default=100, help="how many at the most")


def dead_letters(node: Node, options: argparse.Namespace) -> int:
    trigger, acting = options.trigger, options.replay or options.discard
    if not trigger and (acting or options.show is not None):
        raise StartupError("expected the TRIGGER whose letters these are: scfd dead-letters TRIGGER ...")
    if options.show is not None:
        letter = node.call("dead_letter.show", trigger=trigger, sequence=options.show)
        lines = [
            *(f"{name}: {value}" for name, value in letter["headers"].items()),
            "",
            str(letter["payload"]),
        ]
        show(options, letter, lines)
        return 0
    found = node.call("dead_letter.list", trigger=trigger, limit=10_000 if acting else options.limit)
    if acting:
        return _act_on_letters(node, options, [one["sequence"] for one in found])
    rows = [(one["trigger"], one["sequence"], ago(one["at"]), one["reason"], one["preview"]) for one in found]
    show(options, found, table(("TRIGGER", "SEQ", "AGE", "WHY", "MESSAGE"), rows) or ["there are none"])
    return 0


def _act_on_letters(node: Node, options: argparse.Namespace, letters: list[int]) -> int:
    """One by one, with a line for each."""
    given = options.replay or options.discard
    ended = []
    for sequence in letters if given == ["all"] else _numbers(given):
        which = {"trigger": options.trigger, "sequence": sequence}
        if options.discard:
            outcome = node.call("dead_letter.discard", **which)
        else:
            event = node.call("dead_letter.replay", timeout=None, **which)
            outcome = event["outcome"] + (f": {event['error']}" if event["error"] else "")
        ended.append({"sequence": sequence, "outcome": outcome})
        if not options.json:
            print(f"{sequence}: {outcome}", flush=True)
    show(options, ended, [])
    well = ("succeeded", "tasks failed", "discarded")
    return 0 if all(one["outcome"] in well for one in ended) else EXIT_FAILED
