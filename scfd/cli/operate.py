"""The commands that speak to a running node: see `scfd.admin.methods` for what each asks for."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scfd.cli.remote import Node, add_options
from scfd.cli.table import ago, duration, table
from scfd.errors import StartupError

Commands = Any  # argparse has no public name for it

#: Exit status when the node is not ready, an event failed, or the node refuses.
EXIT_FAILED = 1
#: Seconds between two looks of ``--follow`` and of ``top``.
FOLLOW_INTERVAL, TOP_INTERVAL = 0.5, 1.0


def add_commands(commands: Commands) -> None:
    """Add them all to the command line."""
    _add(commands, "status", _status, "how the node is doing; exit status 1 when it is not ready")
    _add(commands, "triggers", _triggers, "triggers, what comes next, how their events ended", _match)
    _add(commands, "fire", _fire, "run a trigger now, and show what became of it", _fire_options)
    _add(commands, "pause", _pause, "stop a trigger from making events", _name)
    _add(commands, "resume", _resume, "have a paused trigger make events again", _name)
    _add(commands, "events", _events, "the last events", _events_options)
    _add(commands, "event", _event, "one event with its error, traceback and results", _event_options)
    _add(commands, "tasks", _tasks, "the task list, with the last result of each", _tasks_options)
    _add(commands, "reports", _reports, "task results that the control plane has not taken", _reports_options)
    _add(
        commands,
        "dead-letters",
        _dead_letters,
        "messages that failed at their last delivery",
        _letters_options,
    )
    _add(commands, "restart", _restart, "end the plugin's process and start it again")
    _add(commands, "drain", _drain, "finish what is under way and end the node, as SIGTERM does")
    _add(commands, "top", _top, "status and triggers, each second until Ctrl-C", _match)


def _add(
    commands: Commands,
    name: str,
    run: Callable[[Node, argparse.Namespace], int],
    text: str,
    options: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> None:
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    options(parser)
    add_options(parser)
    parser.set_defaults(run=lambda given: run(Node.of(given), given))


def _show(options: argparse.Namespace, value: Any, lines: Iterator[str] | list[str]) -> None:
    """Print for a program or for a person."""
    if options.json:
        print(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        for line in lines:
            print(line)


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="TRIGGER", help="of the trigger")


def _match(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("match", metavar="TEXT", nargs="?", default="", help="a part of the name")
    parser.add_argument("--limit", type=int, default=100, help="how many at the most")


def _status(node: Node, options: argparse.Namespace) -> int:
    status = node.call("node.status")
    _show(options, status, _status_lines(status))
    return 0 if status["ready"] else EXIT_FAILED


def _status_lines(status: dict[str, Any]) -> Iterator[str]:
    events, reports = status["events"], status["reports"]
    protocol = f", generation {status['protocol']}" if status["protocol"] else ""
    facts = {
        "node": f"{status['name'] or '(no name)'} {status['version']}, id {status['node_id'] or 'none yet'}",
        "state": f"{status['phase']}, {'ready' if status['ready'] else 'not ready'}",
        "up for": f"{duration(status['uptime'])}, process {status['pid']}, scfd {status['scfd']}",
        "plugin": status["plugin"],
        "control plane": (status["control_plane"] or "none yet") + protocol,
        "tasks": f"{status['tasks']} (digest {status['tasks_md5']})",
        "triggers": status["triggers"],
        "events": f"{events['running']} running, {events['succeeded']} succeeded, {events['failed']} failed",
        "results": f"{reports['pending']} to deliver, {reports['delivered']} delivered",
    }
    for name, text in facts.items():
        yield f"{name:<14} {text}"
    for problem in status["problems"]:
        yield ""
        yield f"{problem['severity']}: {problem['component']}: {problem['reason']}, since {problem['since']}"
        if problem["advice"]:
            yield f"  to do: {problem['advice']}"


def _triggers(node: Node, options: argparse.Namespace) -> int:
    found = node.call("trigger.list", match=options.match, limit=options.limit)
    _show(options, found, _trigger_lines(found))
    return 0


_MARKS = {"succeeded": ".", "failed": "F", "tasks failed": "f", "not sent": "-", "cancelled": "c"}


def _trigger_lines(triggers: list[dict[str, Any]]) -> list[str]:
    headings = ("NAME", "TYPE", "NEXT", "SUCCEEDED", "FAILED", "LAST", "OUTCOMES (newest at the right)")
    return table(headings, [_trigger_row(one) for one in triggers]) or ["no triggers"]


def _trigger_row(one: dict[str, Any]) -> tuple[object, ...]:
    events, last = one["events"], one["last"]
    return (
        one["name"],
        one["type"],
        "paused" if one["paused"] else ago(one.get("next")) if one["type"] == "timer" else _lag(one),
        events["succeeded"],
        events["failed"],
        f"{last['outcome']} {ago(last['at'])}" if last else "",
        "".join(_MARKS.get(outcome, "?") for outcome in one["outcomes"]),
    )


def _lag(one: dict[str, Any]) -> str:
    return f"{one['pending']} waiting" if one.get("pending") is not None else "unknown"


def _fire_options(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument(
        "--payload", metavar="JSON", help="in place of the event's own; @FILE reads a file, - standard input"
    )
    parser.add_argument("--task", metavar="ID", action="append", help="only this task, or several of them")
    parser.add_argument("--timeout", type=float, help="seconds to wait; by default until the event has ended")


def _fire(node: Node, options: argparse.Namespace) -> int:
    payload = None if options.payload is None else _payload(options.payload)
    if not options.json and sys.stderr.isatty():
        print(f"{options.name}: waiting for the plugin …", file=sys.stderr)
    fired = node.call(
        "trigger.fire", timeout=options.timeout, name=options.name, payload=payload, tasks=options.task
    )
    return _show_event(options, fired)


def _payload(given: str) -> Any:
    """:raises StartupError: it can't be read, or is no JSON."""
    try:
        text = (
            sys.stdin.read() if given == "-" else Path(given[1:]).read_text() if given[:1] == "@" else given
        )
        return json.loads(text)
    except OSError as error:
        raise StartupError(f"--payload: {given[1:]}: {error.strerror}") from None
    except ValueError as error:
        raise StartupError(
            f"--payload: expected JSON, such as '{{\"a\": 1}}' or '\"text\"': {error}"
        ) from None


def _pause(node: Node, options: argparse.Namespace) -> int:
    state = node.call("trigger.pause", name=options.name)
    _show(options, state, [f"{options.name} is paused, until: scfd resume {options.name}"])
    return 0


def _resume(node: Node, options: argparse.Namespace) -> int:
    state = node.call("trigger.resume", name=options.name)
    _show(options, state, [f"{options.name} makes events again"])
    return 0


def _events_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trigger", metavar="TRIGGER", default="", help="of this one only")
    parser.add_argument("--failed", action="store_true", help="without those that succeeded")
    parser.add_argument("--follow", action="store_true", help="go on with new ones until Ctrl-C")
    parser.add_argument("--limit", type=int, default=20, help="how many at the most")


_EVENT_HEADINGS = ("AT", "ID", "TRIGGER", "TOOK", "LATE", "OUTCOME", "RESULTS", "ERROR")


def _events(node: Node, options: argparse.Namespace) -> int:
    asked = {"trigger": options.trigger, "failed": options.failed, "limit": options.limit}
    found = node.call("event.list", **asked)
    if not options.follow:
        _show(options, found, table(_EVENT_HEADINGS, map(_event_row, found)) or ["no events"])
        return 0
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


def _event_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="of the event, as `scfd events` shows it")
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--replay", action="store_true", help="have the plugin handle it once more")
    act.add_argument("--cancel", action="store_true", help="end it, where it is under way")


def _event(node: Node, options: argparse.Namespace) -> int:
    if options.cancel:
        _show(options, node.call("event.cancel", id=options.id), ["cancelled"])
        return 0
    if options.replay:
        return _show_event(options, node.call("event.replay", timeout=None, id=options.id))
    found = node.call("event.get", id=options.id)
    _show(options, found, _event_lines(found))
    return 0


def _show_event(options: argparse.Namespace, event: dict[str, Any]) -> int:
    _show(options, event, _event_lines(event))
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


def _tasks_options(parser: argparse.ArgumentParser) -> None:
    _match(parser)
    parser.add_argument("--failed", action="store_true", help="only those whose last result is a failure")


def _tasks(node: Node, options: argparse.Namespace) -> int:
    found = node.call("task.list", match=options.match, failed=options.failed, limit=options.limit)
    rows = [
        (
            one["task_id"] + ("" if one["valid"] else " (not valid)"),
            "none yet" if one["status"] is None else one["status"],
            ago(one["at"]),
            one["result"],
        )
        for one in found
    ]
    _show(options, found, table(("TASK", "STATUS", "REPORTED", "RESULT"), rows) or ["no tasks"])
    return 0


def _reports_options(parser: argparse.ArgumentParser) -> None:
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--retry", metavar="SEQ", nargs="+", help="deliver these after all; or all")
    act.add_argument("--discard", metavar="SEQ", nargs="+", help="forget these for good; or all")
    parser.add_argument("--limit", type=int, default=100, help="how many at the most")


def _reports(node: Node, options: argparse.Namespace) -> int:
    found = node.call("report.list", limit=10_000 if options.retry or options.discard else options.limit)
    for method, given in (("retry", options.retry), ("discard", options.discard)):
        if given:
            seqs = [one["seq"] for one in found] if given == ["all"] else _numbers(given)
            count = node.call(f"report.{method}", seqs=seqs)
            _show(options, count, [f"{count} of {len(seqs)}"])
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
    _show(options, found, table(headings, rows) or ["every result is delivered"])
    return 0


def _numbers(given: list[str]) -> list[int]:
    """:raises StartupError: one is no number."""
    for text in given:
        if not text.isdecimal():
            raise StartupError(f"found {text!r}; expected numbers as the list shows them, or all alone")
    return [int(text) for text in given]


def _letters_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trigger", metavar="TRIGGER", nargs="?", default="", help="of this one only")
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--show", metavar="SEQ", type=int, help="one letter with headers and message")
    act.add_argument("--replay", metavar="SEQ", nargs="+", help="have the plugin handle these; or all")
    act.add_argument("--discard", metavar="SEQ", nargs="+", help="delete these; or all")
    parser.add_argument("--limit", type=int, default=100, help="how many at the most")


def _dead_letters(node: Node, options: argparse.Namespace) -> int:
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
        _show(options, letter, lines)
        return 0
    found = node.call("dead_letter.list", trigger=trigger, limit=10_000 if acting else options.limit)
    if acting:
        return _act_on_letters(node, options, [one["sequence"] for one in found])
    rows = [(one["trigger"], one["sequence"], ago(one["at"]), one["reason"], one["preview"]) for one in found]
    _show(options, found, table(("TRIGGER", "SEQ", "AGE", "WHY", "MESSAGE"), rows) or ["there are none"])
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
    _show(options, ended, [])
    well = ("succeeded", "tasks failed", "discarded")
    return 0 if all(one["outcome"] in well for one in ended) else EXIT_FAILED


def _restart(node: Node, options: argparse.Namespace) -> int:
    _show(options, node.call("plugin.restart"), ["the plugin is being restarted"])
    return 0


def _drain(node: Node, options: argparse.Namespace) -> int:
    _show(options, node.call("node.drain"), ["the node finishes its work, and ends"])
    return 0


def _top(node: Node, options: argparse.Namespace) -> int:
    while True:
        status = node.call("node.status")
        triggers = node.call("trigger.list", match=options.match, limit=options.limit)
        if options.json:
            print(json.dumps({"status": status, "triggers": triggers}), flush=True)
        else:
            lines = [*_status_lines(status), "", *_trigger_lines(triggers)]
            print("\x1b[H\x1b[2J" + "\n".join(lines), flush=True)
        time.sleep(TOP_INTERVAL)
