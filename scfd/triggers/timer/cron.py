"""Cron expressions: seven, six or five fields, read once and asked for their next moment."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any

from attrs import field, frozen
from croniter import CroniterBadDateError, CroniterError, croniter

FIELDS = ("second", "minute", "hour", "day-of-month", "month", "day-of-week", "year")
FIRST_YEAR, LAST_YEAR = 1970, 2099

_RANGES = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L, 15W, ?",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 (0 and 7 are Sunday) or SUN-SAT, 5L, 5#2, ?",
    "year": f"{FIRST_YEAR}-{LAST_YEAR}",
}
_YEAR_PART = re.compile(r"(?:\*|(?P<first>\d{4})(?:-(?P<last>\d{4}))?)(?:/(?P<step>\d+))?")
#: "last Friday": written 5L or FRIL here as in Quartz, L5 in croniter.
_LAST_WEEKDAY = re.compile(r"(?P<day>[0-7]|SUN|MON|TUE|WED|THU|FRI|SAT)L", re.IGNORECASE)
#: A range of one value, such as 5-5, which croniter takes for every value.
_ONE_VALUE = re.compile(r"(?P<value>\w+)-(?P=value)(?:/0*[1-9][0-9]*)?", re.ASCII | re.IGNORECASE)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_TICK = timedelta(microseconds=1)
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_NAMES = re.compile("|".join(_MONTHS + _WEEKDAYS))
_DIALECT = re.compile(r"[0-9*,/?#\-LW]+")


@frozen
class Cron:
    """
    A valid cron expression that fires at least once from now on.

    Two that were written alike are equal, so they share their moments.

    :ivar expression: as the user wrote it, white space folded.
    :ivar granularity: ``second``, ``minute`` or ``hour``: the finest field that is not one fixed value.
    """

    expression: str
    granularity: str = field(eq=False)
    _fields: tuple[str, ...] = field(eq=False, repr=False)
    _years: tuple[int, ...] = field(eq=False, repr=False)

    @classmethod
    @lru_cache(maxsize=10_000)  # thousands of triggers share a handful of expressions
    def parse(cls, text: str) -> Cron:
        """
        :param text: seven fields (second first, year last), six (second first) or five (classic
            cron, second 0).
        :raises ValueError: with a text for the user, which names the field at fault.
        """
        given = text.split()
        if len(given) not in (5, 6, 7):
            raise ValueError(
                f"cron {text!r} has {len(given)} fields; expected 7 ({' '.join(FIELDS)}), 6 or 5"
            )
        parts = ["0", *given] if len(given) == 5 else given
        years = _years(parts[6]) if len(parts) == 7 else range(FIRST_YEAR, LAST_YEAR + 1)
        six = [",".join(_one_value(part) for part in field.split(",")) for field in parts[:6]]
        six[5] = ",".join(_last_weekday(part) for part in six[5].split(","))
        _check(six, parts, text)
        cron = cls(" ".join(given), _granularity(parts), _either_day(six), tuple(years))
        if cron.next_after(datetime.now(timezone.utc)) is None:
            raise ValueError(f"cron {text!r} never fires again")
        return cron

    def next_after(self, moment: datetime) -> datetime | None:
        """
        The first moment of the expression after ``moment``.

        :param moment: aware; its zone is the one the fields are read in.
        :returns: aware, in the same zone; None when there is none before the end of 2099.
        """
        return next(self.moments_after(moment), None)

    def moments_after(self, moment: datetime) -> Iterator[datetime]:
        """
        Every moment of the expression after ``moment``, one after another: see `next_after`.

        Where clocks are set forward, what falls into the hour that is left out comes once, at its
        end. Where they are set back, what falls into the hour that comes twice comes the first time
        only, unless every second or minute is meant (a ``*`` in one of these fields).
        """
        zone, instant, offset = moment.tzinfo, moment.astimezone(timezone.utc), _offset(moment)
        local = self._local_after(moment.replace(tzinfo=None))
        while (there := next(local, None)) is not None:
            found = (there - offset).replace(tzinfo=timezone.utc)
            if _offset(found.astimezone(zone)) == offset:
                if found > instant:
                    instant = found
                    yield found.astimezone(zone)
                continue
            change = _change(instant, found, offset, zone)
            before = (change + offset).replace(tzinfo=None)
            offset = _offset(change.astimezone(zone))
            after = (change + offset).replace(tzinfo=None)
            if before < after and there < after:  # in the skipped hour
                instant = change
                yield change.astimezone(zone)
                local = self._local_after(after)
            elif before < after or not self._repeats:
                local = self._local_after(max(there, before) - _TICK)
            else:
                local = self._local_after(after - _TICK)

    def _local_after(self, base: datetime) -> Iterator[datetime]:
        """The moments in local time, as if clocks were never changed: naive datetimes."""
        last = None
        for moment in heapq.merge(*(self._moments(fields, base) for fields in self._fields)):
            if moment != last:
                yield moment
            last = moment

    def _moments(self, fields: str, base: datetime) -> Iterator[datetime]:
        while (year := next((year for year in self._years if year >= base.year), None)) is not None:
            if year > base.year:
                base = datetime(year, 1, 1) - _TICK
            iterator = _iterator(fields, base)
            try:
                while (base := iterator.get_next()).year in self._years:
                    yield base
            except CroniterBadDateError:
                return

    @property
    def _repeats(self) -> bool:
        return "*" in "".join(self._fields[0].split()[:2])


def _iterator(fields: str, base: datetime) -> Any:
    return croniter(
        fields,
        base,
        ret_type=datetime,
        second_at_beginning=True,
        max_years_between_matches=LAST_YEAR - FIRST_YEAR,
    )


def _either_day(six: list[str]) -> tuple[str, ...]:
    """
    Split an expression that restricts both days of the month and of the week, which means either of them:
    croniter reads it so for plain numbers only, not for W, L and #.
    """
    day, weekday = six[3], six[5]
    if day[0] in "*?" or weekday[0] in "*?":
        return (" ".join(six),)
    return " ".join([*six[:5], "*"]), " ".join([*six[:3], "*", *six[4:]])


def _offset(moment: datetime) -> timedelta:
    offset = moment.utcoffset()
    assert offset is not None, "only aware moments come here"
    return offset


def _change(first: datetime, last: datetime, offset: timedelta, zone: tzinfo | None) -> datetime:
    """The second at which a zone's offset changes between two instants, found by bisection."""
    low, high = int(first.timestamp()), int(last.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(datetime.fromtimestamp(middle, zone)) == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, timezone.utc)


def _years(text: str) -> list[int]:
    years: set[int] = set()
    for part in text.split(","):
        match = _YEAR_PART.fullmatch(part)
        first = int(match["first"] or FIRST_YEAR) if match else 0
        last = (
            int(match["last"] or (LAST_YEAR if not match["first"] or match["step"] else first))
            if match
            else 0
        )
        step = int(match["step"] or 1) if match else 0
        if not (FIRST_YEAR <= first <= last <= LAST_YEAR and step > 0):
            raise ValueError(f"cron field year: {part!r} is not accepted; expected {_RANGES['year']}")
        years.update(range(first, last + 1, step))
    return sorted(years)


def _one_value(part: str) -> str:
    match = _ONE_VALUE.fullmatch(part)
    return part if match is None else match["value"]


def _last_weekday(part: str) -> str:
    match = _LAST_WEEKDAY.fullmatch(part)
    if match is None:
        return part
    day = match["day"].upper()
    return f"L{_WEEKDAYS.index(day) if day in _WEEKDAYS else int(day) % 7}"


def _check(fields: list[str], given: list[str], text: str) -> None:
    # croniter would read R and H as random and hashed values, which our dialect does not have.
    if all(_DIALECT.fullmatch(_NAMES.sub("1", value.upper())) for value in fields):
        try:
            croniter.expand(" ".join(fields), second_at_beginning=True)
            return
        except (CroniterError, ValueError, KeyError) as error:
            reason = str(error)
    else:
        reason = "a field is none of cron's"
    for position, name in enumerate(FIELDS[:6]):
        _check_field(position, name, fields[position], given[position])
    raise ValueError(f"cron {text!r} is not accepted: {reason}")


def _check_field(position: int, name: str, value: str, given: str) -> None:
    """Try one field among wildcards, so that a message can name it."""
    alone = ["0", "0", "0", "*", "*", "*"]
    alone[position] = value
    if _DIALECT.fullmatch(_NAMES.sub("1", value.upper())):
        try:
            croniter.expand(" ".join(alone), second_at_beginning=True)
        except (CroniterError, ValueError, KeyError):
            pass
        else:
            return
    raise ValueError(f"cron field {name}: {given!r} is not accepted; expected {_RANGES[name]}, with * , - /")


def _granularity(fields: list[str]) -> str:
    if any(sign in fields[0] for sign in "*/,-"):
        return "second"
    return "minute" if fields[1] != "0" else "hour"
