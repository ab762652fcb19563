"""
Cron expressions by brute force, to compare `scfd.triggers.timer.cron` with.

Written from docs/timers.rst alone, and slow: every day, hour, minute and second is asked whether each field
allows it. ``python -m tests.cron_oracle 5000 [SEED]`` compares so many random expressions.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone

SEED = 1
WEEK = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
YEAR = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
LONG_WEEK = ("SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY")
LIMITS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6), (1970, 2099))
START = datetime(2040, 2, 27, 22, 58, 30)
LAST_YEAR = 2044


def number(text: str) -> int:
    """A number, or a name as its number."""
    name = text.upper()[:3]
    if name in WEEK:
        return WEEK.index(name)
    return YEAR.index(name) + 1 if name in YEAR else int(text)


def allows(part: str, value: int, field: int) -> bool:
    """Whether a part without L, W and # allows a value: walk from the range's start to its end."""
    low, high = LIMITS[field]
    extent, _, step = part.partition("/")
    if extent in ("*", "?"):
        first, last = low, high
    elif "-" in extent:
        first, last = (number(end) for end in extent.split("-"))
        if field == 5 and (first, last) == (0, 7):
            last = 6
    else:
        first = number(extent)
        last = high if step else first
    if field == 5:
        first, last = first % 7, last % 7
    at, walked = first, 0
    while True:
        if at == value and walked % int(step or 1) == 0:
            return True
        if at == last:
            return False
        at, walked = (low if at == high else at + 1), walked + 1


def in_field(text: str, value: int, field: int) -> bool:
    return any(allows(part, value, field) for part in text.split(","))


def last_of_month(day: date) -> date:
    while (day + timedelta(1)).month == day.month:
        day += timedelta(1)
    return day


def nearest_working_day(day: date, wanted: int) -> bool:
    """The candidate is the one with the least distance; equal distances do not happen."""
    first, last = day.replace(day=1), last_of_month(day)
    month = [first + timedelta(n) for n in range(last.day)]
    target = month[min(wanted, last.day) - 1]
    return day == min((d for d in month if d.isoweekday() < 6), key=lambda d: abs((d - target).days))


def in_month(text: str, day: date) -> bool:
    for part in text.upper().split(","):
        if part == "L":
            found = day == last_of_month(day)
        elif part.endswith("W"):
            found = nearest_working_day(day, 31 if part == "LW" else int(part[:-1]))
        else:
            found = allows(part, day.day, 3)
        if found:
            return True
    return False


def in_week(text: str, day: date) -> bool:
    weekday, sharp = day.isoweekday() % 7, ""
    for part in text.upper().split(","):
        if "#" in part:
            sharp, count = part.split("#")
            found = number(sharp) % 7 == weekday and (day.day + 6) // 7 == int(count)
        elif sharp and part.isdigit():
            found = number(sharp) % 7 == weekday and (day.day + 6) // 7 == int(part)
        elif part[0] == "L" or part[-1] == "L":
            found = number(part.strip("L")) % 7 == weekday and (day + timedelta(7)).month != day.month
        else:
            found = allows(part, weekday, 5)
        if found:
            return True
    return False


def on_day(fields: list[str], day: date) -> bool:
    of_month, month, of_week, year = fields[3:]
    if not (in_field(month, day.month, 4) and in_field(year, day.year, 6)):
        return False
    free = [text in ("*", "?") for text in (of_month, of_week)]
    if free == [False, False]:
        return in_month(of_month, day) or in_week(of_week, day)
    return in_month(of_month, day) and in_week(of_week, day)


def moments(text: str, after: datetime) -> Iterator[datetime]:
    """The moments after a naive one, up to the last day of `LAST_YEAR`."""
    fields = text.split()
    fields = ["0", *fields] if len(fields) == 5 else fields
    fields = [*fields, "*"] if len(fields) == 6 else fields
    hours = [n for n in range(24) if in_field(fields[2], n, 2)]
    minutes = [n for n in range(60) if in_field(fields[1], n, 1)]
    seconds = [n for n in range(60) if in_field(fields[0], n, 0)]
    day = after.date()
    while day.year <= LAST_YEAR:
        if on_day(fields, day):
            for hour in hours:
                for minute in minutes:
                    for second in seconds:
                        moment = datetime(day.year, day.month, day.day, hour, minute, second)
                        if moment > after:
                            yield moment
        day += timedelta(1)


def _value(field: int, chance: random.Random) -> str:
    low, high = (2040, 2046) if field == 6 else LIMITS[field]
    value = chance.randint(low, 7 if field == 5 else high)
    names = {
        4: [YEAR[(value - 1) % 12], YEAR[(value - 1) % 12].lower()],
        5: [WEEK[value % 7], LONG_WEEK[value % 7]],
    }
    spellings = [str(value), str(value), f"{value:02}", *names.get(field, [])]
    return chance.choice(spellings).title() if chance.random() < 0.2 else chance.choice(spellings)


def _part(field: int, chance: random.Random) -> str:
    low, high = LIMITS[field]
    step = f"/{chance.randint(1, high - low + 1 if field < 6 else 4)}" if chance.random() < 0.4 else ""
    kind = chance.randrange(4)
    if kind == 0:
        return "*" + step
    if kind == 1:
        ends = [_value(field, chance), _value(field, chance)]
        return "-".join(sorted(ends) if field == 6 else ends) + step
    return _value(field, chance) + step


def _field(field: int, chance: random.Random) -> str:
    if chance.random() < 0.3:
        return chance.choice(["*", "?"]) if field in (3, 5) else "*"
    if field == 3 and chance.random() < 0.4:
        rules = [
            "L",
            "LW",
            f"{chance.randint(1, 31)}W",
            f"?/{chance.randint(1, 31)}",
            f"L,{_part(3, chance)}",
        ]
        return chance.choice(rules)
    if field == 5 and chance.random() < 0.5:
        day = _value(5, chance)
        sharp = f"{day}#{chance.randint(1, 5)}"
        last = day.upper() + "L"
        return chance.choice(
            [sharp, f"{sharp},{chance.randint(1, 5)}", last, f"{last},{sharp}", f"?/{chance.randint(1, 7)}"]
        )
    return ",".join(_part(field, chance) for _ in range(chance.choice([1, 1, 2, 3])))


def expression(chance: random.Random) -> str:
    """Five, six or seven random fields that docs/timers.rst allows."""
    fields = range(7)[slice(*chance.choice([(0, 7), (0, 6), (1, 6)]))]
    return " ".join(_field(field, chance) for field in fields)


def differences(count: int, seed: int) -> list[str]:
    """Compare the first moments of so many random expressions; see `START`."""
    from scfd.triggers.timer.cron import Cron

    chance, found = random.Random(seed), []
    for _ in range(count):
        text = expression(chance)
        expected = [moment for moment, _ in zip(moments(text, START), range(5), strict=False)]
        try:
            fires = Cron.parse(text).moments_after(START.replace(tzinfo=timezone.utc))
            got = [moment.replace(tzinfo=None) for moment, _ in zip(fires, range(5), strict=False)]
        except ValueError as error:
            if expected or "never fires" not in str(error):
                found.append(f"{text}: expected {expected}, got {error}")
            continue
        got = [moment for moment in got if moment.year <= LAST_YEAR]
        if got != expected:
            found.append(f"{text}: expected {expected}, got {got}")
    return found


if __name__ == "__main__":
    how_many = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else SEED
    wrong = differences(how_many, seed)
    print("\n".join(wrong[:20]))
    print(f"{how_many} expressions, seed {seed}: {len(wrong)} differences")
    sys.exit(bool(wrong))
