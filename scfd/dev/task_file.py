"""The task list that a developer keeps in a YAML file."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator
from typing import Any

import yaml

from scfd.config.source import NOT_CONSTRUCTED
from scfd.errors import ConfigError, Mistake
from scfd.events.wire import to_json

Task = dict[str, Any]

#: What the generations of the control plane put into a task.
KNOWN_KEYS = (
    "task_id",
    "task_params",
    "invalid",
    "planned_exec_node",
    "id",
    "rule_id",
    "data_type",
    "symbol",
    "interval",
    "is_deleted",
)


class TaskFile:
    """
    A file with the task list, read again when it changes.

    It holds a list of mappings, or a mapping whose ``tasks`` is one. Each has at least a
    ``task_id``; ``id``, ``rule_id`` and ``invalid`` are filled in where they are missing.
    ``task_params`` may be a mapping: nodes get it as JSON text.

    Both methods read the disk: call them in a thread.

    :param path: the file, as its user names it.
    :ivar warnings: whole lines about what is odd in it; of the last read.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.warnings: tuple[str, ...] = ()
        self._seen: tuple[int, int] | None = None

    def read(self) -> tuple[Task, ...]:
        """
        :returns: the tasks, in the order of the file.
        :raises ConfigError: every mistake in it, each with its line.
        """
        self._seen = self._signature()  # before reading: a change meanwhile is found next time
        try:
            with open(self._path, encoding="utf-8") as file:
                text = file.read()
        except OSError as error:
            text = f"can't be read: {error.strerror}; expected a YAML file with a list of tasks"
            raise ConfigError([Mistake(self._path, 0, "", text)]) from None
        except UnicodeDecodeError:
            raise ConfigError([Mistake(self._path, 0, "", "is not UTF-8 text")]) from None
        tasks = parse_tasks(text, self._path)
        self.warnings = tuple(map(str, odd_keys(text, self._path)))
        return tasks

    def read_if_changed(self) -> tuple[Task, ...] | None:
        """
        :returns: the tasks when the file is another than at the last read, else None.
        :raises ConfigError: it is another, and has mistakes; they are raised once per change.
        """
        return None if self._signature() == self._seen else self.read()

    def _signature(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size


def odd_keys(text: str, path: str) -> Iterator[Mistake]:
    """
    Keys that are there twice, and keys that no control plane knows. A plugin may: they are handed out.

    :param text: what `parse_tasks` takes.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if isinstance(root, yaml.MappingNode):
        for key, _ in root.value:
            if key.value != "tasks":
                yield Mistake(path, key.start_mark.line + 1, key.value, "not used; expected tasks, a list")
    for index, entry in enumerate(_entries(root, path)):
        seen = set()
        for key, _ in entry.value:
            if key.value in seen:
                text = "this key is there already, and the last one counts; expected each key once"
                yield Mistake(path, key.start_mark.line + 1, f"tasks[{index}].{key.value}", text)
            seen.add(key.value)
            if key.value not in KNOWN_KEYS:
                nearest = difflib.get_close_matches(key.value, KNOWN_KEYS, n=1, cutoff=0.5)
                hint = f" did you mean {nearest[0]}?" if nearest else ""
                text = f"unknown key, handed out as it is;{hint} expected {', '.join(KNOWN_KEYS)}"
                yield Mistake(path, key.start_mark.line + 1, f"tasks[{index}].{key.value}", text)


def parse_tasks(text: str, path: str) -> tuple[Task, ...]:
    """
    :param path: for mistakes.
    :returns: task instances as a control plane hands them out.
    :raises ConfigError: every mistake in the text, each with its line.
    """
    loader = yaml.SafeLoader("")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        entries = _entries(root, path)
        tasks = [_constructed(loader, entry, path) for entry in entries]
    except yaml.YAMLError as error:
        raise ConfigError([_yaml_mistake(error, path)]) from None
    except (RecursionError, ValueError, OverflowError) as error:  # ValueError: "\UFFFFFFFF"
        raise ConfigError([Mistake(path, 0, "", f"can't be understood: {error}")]) from None
    return _checked(tasks, entries, path)


def _constructed(loader: yaml.SafeLoader, entry: yaml.Node, path: str) -> Any:
    try:
        return loader.construct_document(entry)
    except NOT_CONSTRUCTED:
        text = "a date, a number or a tagged value in it is none; expected quotes around it, if it is text"
        raise ConfigError([Mistake(path, entry.start_mark.line + 1, "", text)]) from None


def _entries(root: yaml.Node | None, path: str) -> list[yaml.Node]:
    """The nodes of the list; nodes know their lines, values don't."""
    if isinstance(root, yaml.MappingNode):
        root = next((value for key, value in root.value if key.value == "tasks"), None)
    if not isinstance(root, yaml.SequenceNode):
        line = root.start_mark.line + 1 if root is not None else 0
        raise ConfigError([Mistake(path, line, "", "a list of tasks is expected; write [] for none")])
    return list(root.value)


def _yaml_mistake(error: yaml.YAMLError, path: str) -> Mistake:
    mark = getattr(error, "problem_mark", None)
    text = getattr(error, "problem", None) or str(error).partition("\n")[0]
    return Mistake(path, mark.line + 1 if mark is not None else 0, "", f"not valid YAML: {text}")


def _checked(tasks: list[Any], entries: list[yaml.Node], path: str) -> tuple[Task, ...]:
    mistakes = []
    complete = []
    lines: dict[str, int] = {}
    for index, (task, entry) in enumerate(zip(tasks, entries, strict=True)):
        line = entry.start_mark.line + 1
        try:
            complete.append(_complete(task, index + 1))
            first = lines.setdefault(task["task_id"], line)
            if first != line:
                raise _TaskError("task_id", f"{task['task_id']} is on line {first} already")
        except _TaskError as error:
            key = f"tasks[{index}].{error.key}" if error.key else f"tasks[{index}]"
            mistakes.append(Mistake(path, line, key, error.text))
    if mistakes:
        raise ConfigError(mistakes)
    return tuple(complete)


class _TaskError(Exception):
    """A key of a task (empty for the whole task), and what is wrong with it."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(key, text)
        self.key = key
        self.text = text


def _complete(task: Any, number: int) -> Task:
    """
    :param number: counts from 1; what is missing is made from it.
    :raises _TaskError: the first mistake.
    """
    if not isinstance(task, dict):
        raise _TaskError("", "a mapping with a task_id is expected")
    if not isinstance(task.get("task_id"), str) or not task["task_id"]:
        raise _TaskError("task_id", "text is expected, such as task-001")
    complete = {"id": number, "rule_id": f"rule-{number:03}", "invalid": 0, "task_params": "{}", **task}
    for key in ("rule_id", "planned_exec_node"):
        if not isinstance(complete.get(key, ""), str):
            raise _TaskError(key, "text is expected")
    if complete["invalid"] not in (0, 1) or isinstance(complete["invalid"], bool):
        raise _TaskError("invalid", "0 (to be executed) or 1 (not to be) is expected")
    if isinstance(complete["task_params"], dict):
        complete["task_params"] = _as_json(complete["task_params"], "task_params")
    elif not isinstance(complete["task_params"], str):
        raise _TaskError("task_params", "a mapping, or text, is expected")
    _as_json(complete, "")
    return complete


def _as_json(value: object, key: str) -> str:
    try:
        to_json(value)
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise _TaskError(key, "something in it is not JSON; a date, for instance, needs quotes") from None
