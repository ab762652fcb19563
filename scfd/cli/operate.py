"""The commands that speak to a running node: see `scfd.admin.methods` for what each asks for."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from scfd.cli import events, failed
from scfd.cli.remote import EXIT_FAILED, Node, NotReachedError, add_options, show
from scfd.cli.table import ago, duration, table
from scfd.errors import StartupError
from scfd.events.wire import from_json
from scfd.log_levels import ACCEPTED, DEFAULT, LEVELS

Commands = Any  # argparse has no public name for it

#: Seconds between two looks.
TOP_INTERVAL, DRAIN_INTERVAL = 1.0, 0.2


def add_commands(commands: Commands) -> None:
    """Add them all to the command line."""
    _add(commands, "status", _status, "how the node is doing; exit status 1 when it is not ready")
    _add(commands, "triggers", _triggers, "triggers, what comes next, how their events ended", _match)
    _add(commands, "fire", _fire, "run a trigger now, and show what became of it", _fire_options)
    _add(commands, "pause", _pause, "stop a trigger from making events", _name)
    _add(commands, "resume", _resume, "have a paused trigger make events again", _name)
    _add(commands, "events", events.events, "the last events", events.events_options)
    _add(commands, "event", events.event, "one event with error, traceback, results", events.event_options)
    _add(commands, "tasks", _tasks, "the task list, with the last result of each", _tasks_options)
    text = "task results that the control plane has not taken"
    _add(commands, "reports", failed.reports, text, failed.reports_options)
    text = "messages that failed at their last delivery"
    _add(commands, "dead-letters", failed.dead_letters, text, failed.letters_options)
    _add(commands, "restart", _restart, "end the plugin's process and start it again")
    _add(commands, "log-level", _log_level, "the log's levels; or set one", _log_level_options)
    text = "finish what is under way and end the node, as SIGTERM does"
    _add(commands, "drain", _drain, text, _drain_options)
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


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="TRIGGER", help="of the trigger")


def _match(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("match", metavar="TEXT", nargs="?", default="", help="a part of the name")
    parser.add_argument("--limit", type=int, default=100, help="how many at the most")


def _status(node: Node, options: argparse.Namespace) -> int:
    status = node.call("node.status")
    show(options, status, _status_lines(status))
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
    show(options, found, _trigger_lines(found))
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
    return events.show_event(options, fired)


def _payload(given: str) -> Any:
    """:raises StartupError: it can't be read, or is no JSON."""
    try:
        text = (
            sys.stdin.read() if given == "-" else Path(given[1:]).read_text() if given[:1] == "@" else given
        )
        return from_json(text.encode())
    except OSError as error:
        raise StartupError(f"--payload: {given[1:]}: {error.strerror}") from None
    except ValueError as error:
        raise StartupError(
            f"--payload: expected JSON, such as '{{\"a\": 1}}' or '\"text\"': {error}"
        ) from None


def _pause(node: Node, options: argparse.Namespace) -> int:
    state = node.call("trigger.pause", name=options.name)
    show(options, state, [f"{options.name} is paused, until: scfd resume {options.name}"])
    return 0


def _resume(node: Node, options: argparse.Namespace) -> int:
    state = node.call("trigger.resume", name=options.name)
    show(options, state, [f"{options.name} makes events again"])
    return 0


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
    show(options, found, table(("TASK", "STATUS", "REPORTED", "RESULT"), rows) or ["no tasks"])
    return 0


def _restart(node: Node, options: argparse.Namespace) -> int:
    show(options, node.call("plugin.restart"), ["the plugin is being restarted"])
    return 0


def _log_level_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "namespace", metavar="NAMESPACE", nargs="?", default="", help="such as nats; all when left out"
    )
    parser.add_argument("level", metavar="LEVEL", nargs="?", help=f"{ACCEPTED}; or {DEFAULT}")


def _log_level(node: Node, options: argparse.Namespace) -> int:
    namespace, level = options.namespace, options.level
    if level is None and namespace.lower() in (DEFAULT, *LEVELS):
        namespace, level = "", namespace
    found = node.call("log.level", namespace=namespace, level=level)
    rows = [("all", found["default"]), *sorted(found["namespaces"].items())]
    show(options, found, table(("NAMESPACE", "LEVEL"), rows))
    return 0


def _drain_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-wait", action="store_true", help="do not wait until the node has ended")


def _drain(node: Node, options: argparse.Namespace) -> int:
    """Say what is under way until the node responds no more, which is the last thing that it stops."""
    show(options, node.call("node.drain"), ["the node finishes its work, and ends"])
    said = None
    while not options.no_wait:
        try:
            running = node.call("node.status")["events"]["running"]
        except NotReachedError:
            return 0
        if running != said and not options.json:
            said = running
            print(f"events under way: {running}", flush=True)
        time.sleep(DRAIN_INTERVAL)
    return 0


def _top(node: Node, options: argparse.Namespace) -> int:
    with suppress(KeyboardInterrupt):
        while True:
            status = node.call("node.status")
            triggers = node.call("trigger.list", match=options.match, limit=options.limit)
            if options.json:
                print(json.dumps({"status": status, "triggers": triggers}), flush=True)
            else:
                lines = [*_status_lines(status), "", *_trigger_lines(triggers)]
                print("\x1b[H\x1b[2J" + "\n".join(lines), flush=True)
            time.sleep(TOP_INTERVAL)
    return 0
