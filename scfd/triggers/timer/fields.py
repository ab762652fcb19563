"""Reads the fields of a cron expression: each becomes the values, or the rule for days, that it allows."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Mapping
from datetime import date

from attrs import field, frozen

FIELDS = ("second", "minute", "hour", "day-of-month", "month", "day-of-week", "year")
FIRST_YEAR, LAST_YEAR = 1970, 2099

#: The days that one part of a day field allows: given the year and the month.
DayRule = Callable[[int, int], set[int]]

_MONTHS = (
    "january february march april may june july august september october november december".split()  # noqa: SIM905
)
_WEEKDAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]
_VALUE = r"[a-z]+|[0-9]{1,4}"
_PART = re.compile(
    rf"(?:(?P<any>[*?])|(?P<first>{_VALUE})(?:-(?P<last>{_VALUE}))?)(?:/(?P<step>[0-9]{{1,4}}))?"
)
_NEAREST = re.compile(r"(?P<day>[0-9]{1,2}|l)w")
_NUMBERED = re.compile(rf"(?P<weekday>{_VALUE})#(?P<number>[1-5])")


@frozen
class _Kind:
    """What may stand in a field: its values, and how its messages call them."""

    low: int
    high: int
    expected: str
    names: Mapping[str, int] = field(factory=dict)

    def value(self, text: str) -> int:
        """:raises ValueError: when it is none of the field's."""
        number = self.names[text] if text in self.names else int(text)
        if not self.low <= number <= self.high:
            raise ValueError
        return number

    @property
    def size(self) -> int:
        """How many values there are: those of the days of the week are 0 to 6, and 7 is 0 again."""
        return 7 if self.high == 7 else self.high - self.low + 1


def _names(names: list[str], first: int) -> dict[str, int]:
    return {text: number for number, name in enumerate(names, first) for text in (name, name[:3])}


_KINDS = {
    "second": _Kind(0, 59, "0-59, with * , - /"),
    "minute": _Kind(0, 59, "0-59, with * , - /"),
    "hour": _Kind(0, 23, "0-23, with * , - /"),
    "day-of-month": _Kind(1, 31, "1-31, L, 15W, ?, with * , - /"),
    "month": _Kind(1, 12, "1-12 or JAN-DEC, with * , - /", _names(_MONTHS, 1)),
    "day-of-week": _Kind(
        0, 7, "0-7 (0 and 7 are Sunday) or SUN-SAT, 5L, 5#2, ?, with * , - /", _names(_WEEKDAYS, 0)
    ),
    "year": _Kind(FIRST_YEAR, LAST_YEAR, f"{FIRST_YEAR}-{LAST_YEAR}"),
}


def values(name: str, text: str) -> tuple[int, ...]:
    """
    The values that a field without rules for days allows, in order.

    :param name: one of `FIELDS`.
    :raises ValueError: with a text for the user.
    """
    try:
        return tuple(sorted({value for part in text.lower().split(",") for value in _part(name, part)}))
    except _StepError as error:
        raise ValueError(f"cron field {name}: {text!r} is not accepted: {error}") from None
    except (ValueError, KeyError):
        raise _refused(name, text) from None


def month_days(text: str) -> DayRule:
    """
    The days that a day-of-month field allows.

    :raises ValueError: as `values` does.
    """
    plain, rules = [], []
    for part in text.lower().split(","):
        nearest = _NEAREST.fullmatch(part)
        if nearest is not None and (nearest["day"] == "l" or 1 <= int(nearest["day"]) <= 31):
            rules.append(_working_day(31 if nearest["day"] == "l" else int(nearest["day"])))
        elif part == "l":
            rules.append(_last_day)
        else:
            plain.append(part)
    if "?" in text and len(plain) + len(rules) > 1:
        raise _refused("day-of-month", text)
    if plain:
        try:
            days = {day for day in values("day-of-month", ",".join(plain))}
        except ValueError as error:
            raise ValueError(str(error).replace(repr(",".join(plain)), repr(text))) from None
        rules.append(lambda year, month: days)
    return _either(rules)


def week_days(text: str) -> DayRule:
    """
    The days that a day-of-week field allows.

    :raises ValueError: as `values` does.
    """
    parts = text.lower().split(",")
    rules: list[DayRule] = []
    numbered = None  # the weekday that a number after a comma belongs to, as in MON#1,3
    try:
        for part in parts:
            match = _NUMBERED.fullmatch(part)
            if match is not None:
                numbered = _KINDS["day-of-week"].value(match["weekday"]) % 7
                rules.append(_numbered(numbered, int(match["number"])))
            elif numbered is not None and part in ("1", "2", "3", "4", "5"):
                rules.append(_numbered(numbered, int(part)))
            elif (last := _last_weekday(part)) is not None:
                numbered = None
                rules.append(last)
            else:
                break
    except (ValueError, KeyError):
        raise _refused("day-of-week", text) from None
    if len(rules) == len(parts):
        return _either(rules)
    if rules or ("?" in text and len(parts) > 1):
        raise _refused("day-of-week", text)
    allowed = frozenset(values("day-of-week", text))
    return lambda year, month: {
        day for day in range(1, monthrange(year, month)[1] + 1) if _weekday(year, month, day) in allowed
    }


class _StepError(Exception):
    """A step is longer than its field."""


def _part(name: str, text: str) -> list[int]:
    """:raises ValueError: or KeyError, when it is not right."""
    kind = _KINDS[name]
    match = _PART.fullmatch(text)
    if match is None or (match["any"] == "?" and name not in ("day-of-month", "day-of-week")):
        raise ValueError
    step = int(match["step"] or 1)
    if step < 1:
        raise ValueError
    if step > kind.size and name != "year":  # years don't begin anew
        raise _StepError(f"a step of {step} is longer than the field; expected 1 to {kind.size}")
    first = kind.low if match["any"] else kind.value(match["first"])
    if match["last"]:
        last = kind.value(match["last"])
    else:
        last = kind.low + kind.size - 1 if match["any"] or match["step"] else first
    if first == 7 == kind.high:  # Sunday is 7 at the end of a range, and 0 anywhere else
        first, last = 0, last % 7
    if first > last and name == "year":
        raise ValueError
    # A range goes on over the end of its field, and so do its steps.
    last += kind.size if first > last else 0
    return [(value - kind.low) % kind.size + kind.low for value in range(first, last + 1, step)]


def _refused(name: str, text: str) -> ValueError:
    return ValueError(f"cron field {name}: {text!r} is not accepted; expected {_KINDS[name].expected}")


def _either(rules: list[DayRule]) -> DayRule:
    if len(rules) == 1:
        return rules[0]
    return lambda year, month: set().union(*(rule(year, month) for rule in rules))


def _weekday(year: int, month: int, day: int) -> int:
    """Sunday is 0."""
    return date(year, month, day).isoweekday() % 7


def _last_day(year: int, month: int) -> set[int]:
    return {monthrange(year, month)[1]}


def _working_day(wanted: int) -> DayRule:
    """Monday to Friday, nearest to a day, in the same month; of a shorter month, to its last day."""

    def rule(year: int, month: int) -> set[int]:
        last = monthrange(year, month)[1]
        day = min(wanted, last)
        weekday = _weekday(year, month, day)
        if weekday == 6:
            day += -1 if day > 1 else 2
        elif weekday == 0:
            day += 1 if day < last else -2
        return {day}

    return rule


def _numbered(weekday: int, number: int) -> DayRule:
    def rule(year: int, month: int) -> set[int]:
        day = 1 + (weekday - _weekday(year, month, 1)) % 7 + 7 * (number - 1)
        return {day} if day <= monthrange(year, month)[1] else set()

    return rule


def _last_weekday(text: str) -> DayRule | None:
    """``5L``, ``FRIL`` or ``L5``; None for anything else."""
    kind = _KINDS["day-of-week"]
    given = text[:-1] if text.endswith("l") else text[1:] if text.startswith("l") else ""
    if given not in kind.names and not re.fullmatch("0*[0-7]", given):
        return None
    weekday = kind.value(given) % 7

    def rule(year: int, month: int) -> set[int]:
        last = monthrange(year, month)[1]
        return {last - (_weekday(year, month, last) - weekday) % 7}

    return rule
