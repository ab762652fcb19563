"""Cron expressions: seven, six or five fields, read once and asked for their next moment."""

from __future__ import annotations

import re
from bisect import bisect_left
from calendar import monthrange
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from itertools import islice

from attrs import field, frozen

from scfd.triggers.timer.fields import FIELDS, LAST_YEAR, DayRule, month_days, values, week_days

_TICK = timedelta(microseconds=1)
_END = datetime(LAST_YEAR + 1, 1, 1, tzinfo=timezone.utc)
_SHORTCUTS = {
    "@hourly": "0 0 * * * ? *",
    "@daily": "0 0 0 * * ? *",
    "@midnight": "0 0 0 * * ? *",
    "@weekly": "0 0 0 ? * SUN *",
    "@monthly": "0 0 0 1 * ? *",
    "@yearly": "0 0 0 1 JAN ? *",
    "@annually": "0 0 0 1 JAN ? *",
}
_UNITS = {"h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:[0-9]{1,9}[hms])+")


@frozen
class _Calendar:
    """The moments of an expression on a clock on the wall that nobody ever sets."""

    times: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    months: tuple[int, ...]
    years: tuple[int, ...]
    days: tuple[DayRule, ...]

    def after(self, base: datetime) -> Iterator[datetime]:
        """:param base: naive, as the moments are."""
        for year in self.years[bisect_left(self.years, base.year) :]:
            for month in self.months:
                if (year, month) < (base.year, base.month):
                    continue
                days = set().union(*(rule(year, month) for rule in self.days))
                for day in sorted(days.intersection(range(1, monthrange(year, month)[1] + 1))):
                    if (year, month, day) == (base.year, base.month, base.day):
                        yield from self._of_day(year, month, day, (base.hour, base.minute, base.second))
                    elif (year, month, day) > (base.year, base.month, base.day):
                        yield from self._of_day(year, month, day, (-1, -1, -1))

    def _of_day(self, year: int, month: int, day: int, passed: tuple[int, int, int]) -> Iterator[datetime]:
        hours, minutes, seconds = self.times
        for hour in hours[bisect_left(hours, passed[0]) :]:
            for minute in minutes if hour > passed[0] else minutes[bisect_left(minutes, passed[1]) :]:
                for second in seconds:
                    if (hour, minute, second) > passed:
                        yield datetime(year, month, day, hour, minute, second)


#: How many of a timer's next moments people are shown.
NEXT_FIRES = 5


@frozen
class Cron:
    """
    A cron expression that is known to be right and to fire at least once from now on.

    Two are equal, and so share their work, when they were written alike.

    :ivar expression: as the user wrote it, white space folded.
    :ivar granularity: ``second``, ``minute`` or ``hour``: the finest field that is not one fixed value.
    """

    expression: str
    granularity: str = field(eq=False)
    _calendar: _Calendar | None = field(eq=False, repr=False)
    _repeats: bool = field(eq=False, repr=False)
    #: Seconds, of ``@every``; else 0.
    _period: int = field(default=0, eq=False, repr=False)

    @classmethod
    @lru_cache(maxsize=10_000)  # thousands of triggers share a handful of expressions
    def parse(cls, text: str) -> Cron:
        """
        :param text: seven fields (second first, year last), six (second first), five (classic cron,
            second 0), a name such as ``@daily``, or ``@every 90s``.
        :raises ValueError: with a text for the user, which names the field at fault.
        """
        given = text.split()
        if given[:1] == ["@every"]:
            cron = cls._every(text, given)
        else:
            name = given[0].lower() if len(given) == 1 else ""
            cron = cls._of_fields(
                text, " ".join(given), _SHORTCUTS[name].split() if name in _SHORTCUTS else given
            )
        if cron.next_after(datetime.now(timezone.utc)) is None:
            raise ValueError(f"cron {text!r} never fires again; expected a moment that is still to come")
        return cron

    @classmethod
    def _every(cls, text: str, given: list[str]) -> Cron:
        if len(given) != 2 or not _DURATION.fullmatch(given[1]):
            raise ValueError(
                f"cron {text!r} is not accepted; expected whole seconds, such as @every 1h30m or @every 5s"
            )
        period = sum(int(number) * _UNITS[unit] for number, unit in re.findall("([0-9]+)([hms])", given[1]))
        if not period:
            raise ValueError(f"cron {text!r} is not accepted; expected a second at least")
        granularity = "second" if period % 60 else "minute" if period % 3600 else "hour"
        return cls(" ".join(given), granularity, None, True, period)

    @classmethod
    def _of_fields(cls, text: str, expression: str, given: list[str]) -> Cron:
        if len(given) not in (5, 6, 7) and text.strip().startswith("@"):
            raise ValueError(
                f"cron {text!r} is not accepted; expected {', '.join(_SHORTCUTS)}, or such as @every 5s"
            )
        if len(given) not in (5, 6, 7):
            raise ValueError(
                f"cron {text!r} has {len(given)} fields; expected 7 ({' '.join(FIELDS)}), 6 or 5"
            )
        parts = ["0", *given] if len(given) == 5 else given
        second, minute, hour = (values(name, part) for name, part in zip(FIELDS, parts[:3], strict=False))
        by_month, months, by_week = month_days(parts[3]), values("month", parts[4]), week_days(parts[5])
        years = values("year", parts[6] if len(parts) == 7 else "*")
        # Both restricted mean either.
        restricted = [
            rule for rule, part in ((by_month, parts[3]), (by_week, parts[5])) if part not in ("*", "?")
        ]
        calendar = _Calendar((hour, minute, second), months, years, tuple(restricted or [by_month]))
        return cls(expression, _granularity(parts), calendar, "*" in parts[0] + parts[1])

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
        if self._calendar is None:
            yield from self._each_period(moment)
            return
        zone, instant, offset = moment.tzinfo, moment.astimezone(timezone.utc), _offset(moment)
        local = self._calendar.after(moment.replace(tzinfo=None))
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
                local = self._calendar.after(after)
            elif before < after or not self._repeats:
                local = self._calendar.after(max(there, before) - _TICK)
            else:
                local = self._calendar.after(after - _TICK)

    def _each_period(self, moment: datetime) -> Iterator[datetime]:
        """Whole multiples of the period since the epoch, in every zone."""
        number = int(moment.timestamp() // self._period)
        while (number := number + 1) * self._period < _END.timestamp():
            yield datetime.fromtimestamp(number * self._period, moment.tzinfo)


def next_fires(cron: Cron, now: datetime) -> list[str]:
    """The next moments, for people."""
    return [moment.isoformat(timespec="seconds") for moment in islice(cron.moments_after(now), NEXT_FIRES)]


def next_in_go(six: str, now: datetime) -> list[str]:
    """The next moments of six fields as the Go framework reads them: minute to year."""
    try:
        return next_fires(Cron.parse(f"0 {six}"), now)
    except ValueError as error:
        return [f"none: {error}"]


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


def _granularity(fields: list[str]) -> str:
    if any(sign in fields[0] for sign in "*/,-"):
        return "second"
    return "minute" if fields[1] != "0" else "hour"
