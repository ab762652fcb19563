"""What a plugin's process prints, as events of the log: with their level and fields, a traceback as one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger, LogLevel

from scfd.events.trace import ids
from scfd.log_levels import LEVELS
from scfd.logs.fields import EXTRA

_log = Logger(namespace="scfd.plugin.output")

#: Seconds without a line after which a traceback is over, and those that it may take at the most.
HOLD, LONGEST_HOLD = 0.2, 2.0
#: Lines and characters of one traceback; what is beyond them is another event.
MOST_LINES, MOST_TEXT = 200, 65536

_COLOURS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")

_BY_WORD = {word: LogLevel.levelWithName(name) for word, name in LEVELS.items()}
_WORDS = "|".join(sorted(LEVELS, key=len, reverse=True))
_UPPER = _WORDS.upper()

_DATE = r"\d{4}[-/]\d\d[-/]\d\d[T ,]+"
_TIME = rf"[\[(]?(?:{_DATE})?\d\d:\d\d:\d\d(?:[.,]\d+)?(?:\s?(?:Z|UTC|[+-]\d\d:?\d\d))?[\])]?"
#: ``ERROR …``, ``error: …``, ``[warn] …``, ``<ERROR> …``, perhaps with a time in front.
_LEVELLED = re.compile(
    rf"(?:{_TIME}[\s|:-]*)?(?:[\[(<]\s*(?P<bracketed>(?i:{_WORDS}))\s*[\])>]|(?P<word>{_UPPER})(?![\w-])"
    rf"|(?P<colon>(?i:{_WORDS})):(?=\s|$))"
)
#: Behind a time and a few words such as the logger's name: in capitals or brackets, or else at once.
_BEHIND_TIME = re.compile(
    rf"{_TIME}[\s|:-]+(?:(?P<first>(?i:{_WORDS}))(?=[\s:|\]])|(?:\S+[\s|:-]+){{0,6}}?"
    rf"(?:[\[(<]\s*(?P<bracketed>(?i:{_WORDS}))\s*[\])>]|(?P<word>{_UPPER})(?![\w-])))"
)
#: glog and klog: ``E0101 12:00:00.000000``.
_GLOG = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d")
_GLOG_LEVELS = {"I": LogLevel.info, "W": LogLevel.warn, "E": LogLevel.error, "F": LogLevel.critical}
#: systemd: ``<3>…``.
_SYSLOG = re.compile(r"<([0-7])>")
_SYSLOG_LEVELS = [
    *[LogLevel.critical] * 3,
    LogLevel.error,
    LogLevel.warn,
    LogLevel.info,
    LogLevel.info,
    LogLevel.debug,
]
_PAIR = re.compile(r'([^\s"=]+)=("(?:[^"\\]|\\.)*"|[^\s"]*)(?:\s+|$)')

_LEVEL_KEYS = ("level", "severity", "levelname", "lvl", "log.level", "loglevel", "levelno")
_MESSAGE_KEYS = ("message", "msg", "event", "text", "short_message")
_TRACE_KEYS = (
    "exc_info",
    "exception",
    "stack",
    "stacktrace",
    "stack_trace",
    "traceback",
    "error.stack_trace",
)

#: Where tracebacks begin, and what belongs to them; see `_Traceback`.
#: A SyntaxError of the program itself has no head.
_PYTHON = re.compile(
    r'\s*(?:\+ )?(?:Exception Group )?Traceback \(most recent call last\):|  File "[^"]+", line \d+$'
)
_CHAINED = re.compile(r"The above exception was |During handling of the above exception")
_JAVA = re.compile(r"(?:Exception in thread |Caused by: |[\w$.]*(?:Exception|Error|Throwable)(?::|$))")
_GO = re.compile(r"panic: |fatal error: |goroutine \d+ \[")
_GO_MORE = re.compile(
    r"goroutine \d+ \[|\[signal |created by |exit status \d|panic: |runtime[. ]|\t|$"
    r"|[\w./*(){}\[\]·~$-]+\(.*\)$"
)
_NODE = re.compile(r"(?:file://|node:|/|[A-Za-z]:\\)\S*:\d+(?::\d+)?$")
_MORE = re.compile(r"\s+\S|Caused by: |Suppressed: |\.\.\. \d+ more|[}\]]+$|Node\.js v")


@define
class Line:
    """
    What one line says.

    :ivar level: None where the line names none.
    """

    text: str
    level: Any = None
    fields: Mapping[str, Any] = field(factory=dict)
    traceback: str = ""


def read(line: str) -> Line:
    """A line without colours."""
    if line[:1] == "{" and line[-1:] == "}":
        found = _read_json(line)
        if found is not None:
            return found
    level = _level_of_text(line)
    if level is None and "=" in line:
        return _read_logfmt(line)
    return Line(line, level)


def _level_of_text(line: str) -> Any:
    head = line[:200]
    for pattern in (_LEVELLED, _BEHIND_TIME):
        if match := pattern.match(head):
            return _BY_WORD[next(word for word in match.groups() if word).lower()]
    if match := _GLOG.match(head):
        return _GLOG_LEVELS[match[1]]
    match = _SYSLOG.match(head)
    return _SYSLOG_LEVELS[int(match[1])] if match else None


def _read_json(line: str) -> Line | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return _of_values(values, line) if isinstance(values, dict) else None


def _read_logfmt(line: str) -> Line:
    """Its fields, where all of the line is pairs; else its level alone."""
    pairs, end = {}, 0
    for match in _PAIR.finditer(line):
        if match.start() != end:
            break
        pairs[match[1]] = _unquoted(match[2])
        end = match.end()
    if end == len(line) and pairs:
        return _of_values(pairs, line)
    found = re.search(r'(?:^|\s)(?:level|lvl|severity)="?(\w+)', line[:1000])
    return Line(line, _BY_WORD.get(found[1].lower()) if found else None)


def _unquoted(text: str) -> str:
    if text[:1] != '"':
        return text
    try:
        return str(json.loads(text))
    except ValueError:
        return text[1:-1]


def _of_values(values: dict[str, Any], line: str) -> Line:
    """A line that names no level and no message stays as it is."""
    names = {name.lower(): name for name in reversed(values)}
    level_key = next((names[key] for key in _LEVEL_KEYS if key in names), None)
    level = None if level_key is None else _level_of_value(level_key, values[level_key])
    if level is None:
        return Line(line)
    keys = (names[key] for key in _MESSAGE_KEYS if key in names and isinstance(values[names[key]], str))
    message_key = next(keys, None)
    keys = (names[key] for key in _TRACE_KEYS if key in names and isinstance(values[names[key]], str))
    trace_key = next(keys, None)
    text = line if message_key is None else values[message_key]
    fields = {
        name: value
        for name, value in values.items()
        if name not in (level_key, message_key, trace_key) and message_key is not None
    }
    return Line(text, level, fields, "" if trace_key is None else values[trace_key].rstrip())


def _level_of_value(key: str, value: object) -> Any:
    """A number is one of Python's by its key, else one of pino and bunyan: 30 is info."""
    if isinstance(value, str) and not re.fullmatch("[0-9]{1,3}", value):
        return _BY_WORD.get(_COLOURS.sub("", value).strip().lower())
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    number = (int(value) if isinstance(value, str) else value) + (10 if key.lower() == "levelno" else 0)
    ranks = ((60, LogLevel.critical), (50, LogLevel.error), (40, LogLevel.warn), (30, LogLevel.info))
    return next((level for least, level in ranks if number >= least), LogLevel.debug)


class _Traceback:
    """
    Lines that may be one traceback.

    :ivar said: the line in front of it, where that is an error; else the first line.
    :ivar kind: python, java, go, node; empty while there is none yet.
    """

    def __init__(self, said: Line, line: str, began: float) -> None:
        self.said, self.lines, self.began, self.last = said, [line], began, began
        self.size = len(line)
        self.kind = _kind(line)
        self.is_traceback = bool(self.kind)
        #: Python: its last line has been seen; node: the line with the error has.
        self._named = False

    def takes(self, line: str) -> bool:
        """Whether a line belongs to it."""
        if not line.strip():
            return self.kind != "" and self.lines[-1].strip() != ""
        if not self.kind:
            self.kind = _kind(line)
            if self.kind:
                return self.kind != "node"
            return line[:1].isspace()
        return bool(getattr(self, f"_takes_{self.kind}")(line))

    def _takes_python(self, line: str) -> bool:
        if _CHAINED.match(line):
            self._named = False
            return True
        if _PYTHON.match(line):
            return not self._named
        if line[:1].isspace():
            return True
        # Its last line; what follows is another one's.
        was_named, self._named = self._named, True
        return not was_named

    def _takes_java(self, line: str) -> bool:
        return bool(_MORE.match(line)) and bool(self.lines[-1].strip() or line.startswith("Node.js"))

    def _takes_go(self, line: str) -> bool:
        return bool(_GO_MORE.match(line))

    def _takes_node(self, line: str) -> bool:
        if self._named:
            return self._takes_java(line)
        # Its source line, a line that points into it, a blank one; then the error.
        self._named = bool(_JAVA.match(line) or line.startswith("Uncaught "))
        return self._named or len(self.lines) < 6

    def add(self, line: str, now: float) -> None:
        self.lines.append(line)
        self.size += len(line) + 1
        self.last = now

    def full(self) -> bool:
        return len(self.lines) >= MOST_LINES or self.size >= MOST_TEXT

    def ended(self) -> Line:
        """All of it as one event."""
        lines = self.lines
        while lines and not lines[-1].strip():
            lines.pop()
        if len(lines) == 1 and self.kind != "python":
            return self.said
        if not self.is_traceback:  # a line in front has said what has failed
            level = self.said.level or LogLevel.error
            return Line(self.said.text, level, self.said.fields, "\n".join(lines[1:]))
        text = lines[0]
        if self.kind == "python":
            text = next((one for one in reversed(lines) if not one[:1].isspace() and one), lines[0])
        elif self.kind == "node":
            text = next((one for one in lines if _JAVA.match(one)), lines[0])
        level = LogLevel.critical if self.kind == "go" else LogLevel.error
        return Line(text, level, self.said.fields, "\n".join(lines))


def _kind(line: str) -> str:
    for kind, pattern in (("python", _PYTHON), ("go", _GO), ("java", _JAVA), ("node", _NODE)):
        if pattern.match(line):
            return kind
    return ""


class PluginOutput:
    """
    One of the outputs of one process.

    :param reactor: an `IReactorTime`.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._held: _Traceback | None = None
        self._look: IDelayedCall | None = None

    def line(self, line: str) -> None:
        """Log a line: at once, or once it is clear what belongs to it."""
        plain = _COLOURS.sub("", line) if "\x1b" in line else line
        now = self._reactor.seconds()
        if self._held is not None:
            if self._held.takes(plain):
                self._held.add(plain, now)
                if self._held.full():
                    self._go_on(now)
                return
            self._release()
        said = read(plain)
        if _kind(plain) or said.level in (LogLevel.error, LogLevel.critical):
            self._held = _Traceback(said, plain, now)
            self._wait()
        else:
            _write(said)

    def _go_on(self, now: float) -> None:
        """What comes beyond the limit is another event of the same kind."""
        held = self._held
        assert held is not None
        self._release()
        self._held = _Traceback(Line(held.lines[-1], held.said.level), "(continued)", now)
        self._held.kind, self._held.is_traceback = held.kind, True
        self._wait()

    def _wait(self) -> None:
        if self._look is None:
            self._look = self._reactor.callLater(HOLD, self._looked)

    def _looked(self) -> None:
        self._look = None
        held, now = self._held, self._reactor.seconds()
        if held is None:
            return
        if now - held.last >= HOLD or now - held.began >= LONGEST_HOLD:
            self._release()
        else:
            self._look = self._reactor.callLater(HOLD, self._looked)

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None and held.lines != ["(continued)"]:
            _write(held.ended())

    def end(self) -> None:
        """Log what is held."""
        self._release()
        if self._look is not None:
            self._look.cancel()
            self._look = None


def _write(said: Line) -> None:
    more: dict[str, Any] = {f"{EXTRA}{name}": value for name, value in said.fields.items()}
    parent = said.fields.get("traceparent")
    if isinstance(parent, str) and parent.count("-") == 3:
        more |= ids(parent)
    if said.traceback:
        kind, colon, words = said.traceback.rpartition("\n")[2].partition(": ")
        more["log_traceback"] = said.traceback
        more["error"], more["error_type"] = (words, kind) if colon and " " not in kind else (said.text, "")
    _log.emit(said.level or LogLevel.info, "{line}", line=said.text, **more)
