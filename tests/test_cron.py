"""Tests for scfd.triggers.timer.cron, against a matcher that tries every day."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from itertools import islice, pairwise, product, takewhile
from zoneinfo import ZoneInfo

from attrs import frozen
from hypothesis import settings, strategies
from twisted.trial.unittest import SynchronousTestCase

from scfd.triggers.timer.cron import Cron
from tests.cron_oracle import differences
from tests.properties import given

UTC = timezone.utc
BERLIN = ZoneInfo("Europe/Berlin")
#: A Thursday, well in the future: an expression that never fires again is refused.
NEW_YEAR = datetime(2032, 1, 1, tzinfo=UTC)

#: Of second, minute, hour, day-of-month, month, day-of-week; Sunday is 0 and 7.
RANGES = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
YEARS = range(2050, 2059)


@frozen
class Field:
    """One field of an expression: its text, and the values that it allows."""

    text: str
    values: frozenset[int]


def ranges(low: int, high: int) -> strategies.SearchStrategy[Field]:
    """``7``, ``3-9`` and ``3-9/2``."""
    number = strategies.integers(low, high)
    ends = strategies.tuples(number, number).map(sorted)
    return strategies.one_of(
        number.map(lambda value: Field(str(value), frozenset([value]))),
        ends.map(lambda ends: Field(f"{ends[0]}-{ends[1]}", frozenset(range(ends[0], ends[1] + 1)))),
        strategies.builds(
            lambda ends, by: Field(f"{ends[0]}-{ends[1]}/{by}", frozenset(range(ends[0], ends[1] + 1, by))),
            ends,
            strategies.integers(1, high),
        ),
    )


def wildcards(low: int, high: int) -> strategies.SearchStrategy[Field]:
    """``*`` and ``*/5``."""
    return strategies.integers(1, high).map(
        lambda by: Field("*" if by == 1 else f"*/{by}", frozenset(range(low, high + 1, by)))
    )


def listed(part: strategies.SearchStrategy[Field]) -> strategies.SearchStrategy[Field]:
    """One part, or several joined by commas."""
    return strategies.lists(part, min_size=1, max_size=3).map(
        lambda some: Field(
            ",".join(one.text for one in some), frozenset().union(*(one.values for one in some))
        )
    )


@frozen
class Expression:
    """Seven fields, the year last, and what they mean."""

    fields: tuple[Field, ...]

    @property
    def text(self) -> str:
        return " ".join(field.text for field in self.fields)

    def allows_day(self, day: date) -> bool:
        day_of_month, month, day_of_week, year = (field.values for field in self.fields[3:])
        weekdays = {value % 7 for value in day_of_week}
        if day.month not in month or day.year not in year:
            return False
        in_month, in_week = day.day in day_of_month, day.isoweekday() % 7 in weekdays
        if len(day_of_month) < 31 and len(weekdays) < 7:
            return in_month or in_week
        return in_month and in_week

    def next_after(self, moment: datetime) -> datetime | None:
        """By trial of every day, up to the last of `YEARS`."""
        seconds, minutes, hours = (sorted(field.values) for field in self.fields[:3])
        times = list(product(hours, minutes, seconds))
        passed = (moment.hour, moment.minute, moment.second)
        day = moment.date()
        while day.year <= YEARS[-1]:
            left = times if day > moment.date() else [at for at in times if at > passed]
            if left and self.allows_day(day):
                hour, minute, second = left[0]
                return datetime.combine(day, time(hour, minute, second, tzinfo=UTC))
            day += timedelta(days=1)
        return None


def says_what_it_restricts(expression: Expression) -> bool:
    """Leave out days such as ``0-6``, of which it is hard to say whether they restrict anything."""
    days_of_month, _, days_of_week = expression.fields[3:6]
    return (len(days_of_month.values) < 31 or days_of_month.text == "*") and (
        len({value % 7 for value in days_of_week.values}) < 7 or days_of_week.text == "*"
    )


expressions = (
    strategies.tuples(
        *(listed(ranges(*limits) | wildcards(*limits)) for limits in RANGES),
        listed(ranges(YEARS[0], YEARS[-1])),
    )
    .map(Expression)
    .filter(says_what_it_restricts)
)
starts = strategies.datetimes(
    datetime(YEARS[0] - 1, 12, 1), datetime(YEARS[-1], 12, 31), timezones=strategies.just(UTC)
)


def fires(text: str, start: datetime, count: int = 3) -> list[str]:
    moments = Cron.parse(text).moments_after(start)
    return [next(moments).isoformat() for _ in range(count)]


def days(text: str, start: datetime = NEW_YEAR, count: int = 3) -> list[str]:
    return [moment[:10] for moment in fires(text, start, count)]


class AgainstTrialTests(SynchronousTestCase):
    @settings(max_examples=100)
    @given(expressions, starts)
    def test_next_moment(self, expression: Expression, start: datetime) -> None:
        if expression.next_after(datetime(YEARS[0] - 1, 12, 31, 23, 59, 59, tzinfo=UTC)) is None:
            self.assertRaises(ValueError, Cron.parse, expression.text)
        else:
            cron = Cron.parse(expression.text)
            self.assertEqual(cron.next_after(start), expression.next_after(start))

    @settings(max_examples=50)
    @given(expressions, starts)
    def test_moments_are_next_after_next(self, expression: Expression, start: datetime) -> None:
        try:
            cron = Cron.parse(expression.text)
        except ValueError:
            return  # it never fires
        moments = cron.moments_after(start)
        last = start
        for _ in range(20):
            moment = next(moments, None)
            self.assertEqual(moment, cron.next_after(last))
            if moment is None:
                return
            self.assertGreater(moment, last)
            last = moment


class MistakeTests(SynchronousTestCase):
    def mistake(self, text: str) -> str:
        return str(self.assertRaises(ValueError, Cron.parse, text))

    def test_number_of_fields(self) -> None:
        for text, count in (("", 0), ("* * * *", 4), ("* * * * * * * *", 8)):
            self.assertEqual(
                self.mistake(text),
                f"cron {text!r} has {count} fields; expected 7 "
                "(second minute hour day-of-month month day-of-week year), 6 or 5",
            )

    def test_the_field_at_fault_is_named(self) -> None:
        accepted = {
            "second": "0-59, with * , - /",
            "minute": "0-59, with * , - /",
            "hour": "0-23, with * , - /",
            "day-of-month": "1-31, L, 15W, ?, with * , - /",
            "month": "1-12 or JAN-DEC, with * , - /",
            "day-of-week": "0-7 (0 and 7 are Sunday) or SUN-SAT, 5L, 5#2, ?, with * , - /",
        }
        for position, (name, values) in enumerate(accepted.items()):
            for bad in ("61", "-1", "a", "1,", ",", "*/0", "R", "H", "@hourly", "1-", "*-*", "1.5", "٣"):
                given_fields = ["*"] * 7
                given_fields[position] = bad
                with self.subTest(field=name, value=bad):
                    self.assertEqual(
                        self.mistake(" ".join(given_fields)),
                        f"cron field {name}: {bad!r} is not accepted; expected {values}",
                    )

    def test_the_year_at_fault_is_named(self) -> None:
        for bad in ("1969", "2100", "2030-2029", "99", "2026/0", "JAN", "2026-", "*/"):
            with self.subTest(bad):
                self.assertEqual(
                    self.mistake(f"* * * * * * {bad}"),
                    f"cron field year: {bad!r} is not accepted; expected 1970-2099",
                )

    def test_in_five_fields_the_first_is_the_minute(self) -> None:
        self.assertIn("cron field minute: '60'", self.mistake("60 * * * *"))

    def test_names_belong_to_their_field(self) -> None:
        for text in ("0 0 0 * MON *", "0 0 0 * * JAN", "0 0 0 MON * *", "MON * * * * *"):
            self.assertIn("is not accepted", self.mistake(text))

    def test_what_never_fires_again(self) -> None:
        for text in ("0 0 0 30 2 ?", "0 0 0 31 4 ?", "0 0 0 29 2 ? 2099", "* * * * * * 2020"):
            expected = f"cron {text!r} never fires again; expected a moment that is still to come"
            self.assertEqual(self.mistake(text), expected)

    def test_unknown_names(self) -> None:
        for text in ("@reboot", "@dayly", "@daily UTC"):
            self.assertEqual(
                self.mistake(text),
                f"cron {text!r} is not accepted; expected @hourly, @daily, @midnight, @weekly, @monthly, "
                "@yearly, @annually, or such as @every 5s",
            )

    @settings(max_examples=200)
    @given(
        strategies.lists(
            strategies.text("0123456789*,-/?L#W@ RHMONJA", min_size=1, max_size=6)
            | strategies.text(min_size=1, max_size=4),
            min_size=5,
            max_size=7,
        ).map(" ".join)
        | strategies.text()
    )
    def test_raises_nothing_but_value_error(self, text: str) -> None:
        try:
            cron = Cron.parse(text)
        except ValueError as error:
            self.assertTrue(str(error).startswith("cron "), error)
        else:
            self.assertIsNotNone(cron.next_after(datetime.now(UTC)))


class DialectTests(SynchronousTestCase):
    """2032 begins on a Thursday; it is a leap year."""

    def test_five_fields_fire_at_second_0(self) -> None:
        self.assertEqual(
            fires("*/30 8 * * *", NEW_YEAR, 2), ["2032-01-01T08:00:00+00:00", "2032-01-01T08:30:00+00:00"]
        )

    def test_six_fields_begin_with_the_second(self) -> None:
        self.assertEqual(
            fires("*/30 8 * * * *", NEW_YEAR, 2), ["2032-01-01T00:08:00+00:00", "2032-01-01T00:08:30+00:00"]
        )

    def test_seven_fields_end_with_the_year(self) -> None:
        self.assertEqual(days("0 0 0 1 1 ? 2034,2036-2037"), ["2034-01-01", "2036-01-01", "2037-01-01"])
        self.assertEqual(days("0 0 0 1 1 ? 2033/3"), ["2033-01-01", "2036-01-01", "2039-01-01"])
        self.assertEqual(days("0 0 0 1 1 ? 2033-2040/4", count=2), ["2033-01-01", "2037-01-01"])

    def test_a_year_that_begins_in_the_future_begins_with_its_first_second(self) -> None:
        self.assertEqual(fires("* * * * * * 2040", NEW_YEAR, 1), ["2040-01-01T00:00:00+00:00"])

    def test_the_last_moment_of_all(self) -> None:
        cron = Cron.parse("0 0 0 1 * ? *")
        last = datetime(2099, 12, 1, tzinfo=UTC)
        self.assertEqual(cron.next_after(last - timedelta(seconds=1)), last)
        self.assertIsNone(cron.next_after(last))
        self.assertEqual(list(cron.moments_after(last)), [])

    def test_moments_end_with_the_last_year(self) -> None:
        self.assertEqual(
            [moment.year for moment in Cron.parse("0 0 0 1 1 ? 2033,2035").moments_after(NEW_YEAR)],
            [2033, 2035],
        )

    def test_names(self) -> None:
        self.assertEqual(days("0 0 0 ? JAN,feb MON"), ["2032-01-05", "2032-01-12", "2032-01-19"])
        self.assertEqual(days("0 0 0 ? * sat-mon"), ["2032-01-03", "2032-01-04", "2032-01-05"])

    def test_sunday_is_0_and_7(self) -> None:
        for sunday in ("0", "7", "SUN"):
            self.assertEqual(days(f"0 0 0 ? * {sunday}", count=2), ["2032-01-04", "2032-01-11"])
        self.assertEqual(days("0 0 0 ? * 6-7"), ["2032-01-03", "2032-01-04", "2032-01-10"])

    def test_a_range_of_one_value(self) -> None:
        self.assertEqual(days("0 0 0 5-5 feb-FEB ?", count=2), ["2032-02-05", "2033-02-05"])
        self.assertEqual(days("0 0 0 ? * 1-1/2", count=2), ["2032-01-05", "2032-01-12"])

    def test_both_days_restricted_mean_either(self) -> None:
        self.assertEqual(
            days("0 0 0 3 * MON", count=4), ["2032-01-03", "2032-01-05", "2032-01-12", "2032-01-19"]
        )

    def test_one_day_restricted(self) -> None:
        for unrestricted in ("?", "*"):
            self.assertEqual(days(f"0 0 0 15 * {unrestricted}", count=2), ["2032-01-15", "2032-02-15"])
            self.assertEqual(days(f"0 0 0 {unrestricted} * 5", count=2), ["2032-01-02", "2032-01-09"])

    def test_last_day_of_the_month(self) -> None:
        self.assertEqual(days("0 0 0 L * ?"), ["2032-01-31", "2032-02-29", "2032-03-31"])

    def test_last_weekday_of_the_month(self) -> None:
        for last_friday in ("5L", "FRIL", "L5"):
            self.assertEqual(days(f"0 0 0 ? * {last_friday}", count=2), ["2032-01-30", "2032-02-27"])
        for last_sunday in ("0L", "7L", "SUNL"):
            self.assertEqual(days(f"0 0 0 ? * {last_sunday}", count=2), ["2032-01-25", "2032-02-29"])

    def test_numbered_weekday_of_the_month(self) -> None:
        for second_monday in ("1#2", "MON#2"):
            self.assertEqual(days(f"0 0 0 ? * {second_monday}", count=2), ["2032-01-12", "2032-02-09"])
        self.assertEqual(days("0 0 0 ? * 4#5", count=2), ["2032-01-29", "2032-04-29"])

    def test_nearest_working_day(self) -> None:
        # 2032-05-15 is a Saturday, 2032-08-15 a Sunday, 2032-05-01 a Saturday.
        self.assertEqual(days("0 0 0 15W 5,8 ?", count=2), ["2032-05-14", "2032-08-16"])
        self.assertEqual(days("0 0 0 1W 5 ?", count=1), ["2032-05-03"])

    def test_white_space_is_folded(self) -> None:
        self.assertEqual(Cron.parse("  0  0\t* * * *\n"), Cron.parse("0 0 * * * *"))
        self.assertEqual(Cron.parse("  0  0\t* * * *\n").expression, "0 0 * * * *")

    def test_granularity(self) -> None:
        for text, granularity in (
            ("* * * * * * *", "second"),
            ("*/9 * * * * *", "second"),
            ("1,2 0 * * * *", "second"),
            ("1-2 0 0 * * *", "second"),
            ("1-1 0 0 * * *", "second"),
            ("0/5 0 0 * * *", "second"),
            ("0 * * * * *", "minute"),
            ("30 */5 * * * *", "minute"),
            ("0 30 * * * *", "minute"),
            ("* * * * *", "minute"),
            ("15 * * * *", "minute"),
            ("0 0 * * * *", "hour"),
            ("59 0 12 1 1 ? *", "hour"),
            ("0 8 * * *", "hour"),
        ):
            with self.subTest(text):
                self.assertEqual(Cron.parse(text).granularity, granularity)

    def hours(self, field: str) -> set[str]:
        return {moment[11:13] for moment in fires(f"0 0 {field} * * *", NEW_YEAR, 24)}

    def test_a_step_goes_on_over_the_end(self) -> None:
        self.assertEqual(self.hours("22-6/3"), {"22", "01", "04"})
        self.assertEqual(self.hours("22-2/2"), {"22", "00", "02"})
        months = [day[5:7] for day in days("0 0 0 1 11-2/3 ?", count=4)]
        self.assertEqual(months, ["02", "11", "02", "11"])
        self.assertEqual(
            days("0 0 0 28-4/3 1-2 ?", count=5)[:4],
            [f"2032-01-{n}" for n in ("03", "28", "31")] + ["2032-02-03"],
        )
        self.assertEqual(days("0 0 0 ? * 6-2/2"), ["2032-01-03", "2032-01-05", "2032-01-10"])
        self.assertEqual(days("0 0 0 ? * FRI-7/2"), ["2032-01-02", "2032-01-04", "2032-01-09"])

    def test_a_range_of_one_value_in_two_spellings(self) -> None:
        for sunday in ("7-0", "SUN-0", "0-sunday", "7-7", "7-0/3"):
            self.assertEqual(days(f"0 0 0 ? * {sunday}", count=2), ["2032-01-04", "2032-01-11"], sunday)
        self.assertEqual(days("0 0 0 ? * FRI-5", count=2), ["2032-01-02", "2032-01-09"])
        self.assertEqual(days("0 0 0 05-5 JAN-1 ?", count=2), ["2032-01-05", "2033-01-05"])
        self.assertEqual(self.hours("09-9"), {"09"})

    def test_full_names(self) -> None:
        self.assertEqual(days("0 0 0 ? january,FEBRUARY Sunday", count=2), ["2032-01-04", "2032-01-11"])
        self.assertEqual(days("0 0 0 ? * fridayL", count=1), ["2032-01-30"])
        self.assertEqual(days("0 0 0 ? * Monday#2", count=1), ["2032-01-12"])

    def test_numbers_after_a_numbered_weekday(self) -> None:
        self.assertEqual(days("0 0 0 ? * MON#1,3"), ["2032-01-05", "2032-01-19", "2032-02-02"])
        for bad in ("MON#1,FRI", "MON#1,6", "MON#0", "MON#6", "5L,3", "FRI,MON#1", "MON#1-3"):
            error = str(self.assertRaises(ValueError, Cron.parse, f"0 0 0 ? * {bad}"))
            self.assertTrue(error.startswith(f"cron field day-of-week: {bad!r} is not accepted"), error)

    def test_last_working_day(self) -> None:
        self.assertEqual(days("0 0 0 LW * ?"), ["2032-01-30", "2032-02-27", "2032-03-31"])
        self.assertEqual(days("0 0 0 1W,LW * ?"), ["2032-01-30", "2032-02-02", "2032-02-27"])

    def test_any_with_a_step(self) -> None:
        self.assertEqual(days("0 0 0 ?/2 * ?"), days("0 0 0 */2 * *"))
        self.assertEqual(days("0 0 0 ? * ?/2"), days("0 0 0 ? * */2"))

    def test_a_step_longer_than_the_field(self) -> None:
        for field, text, size in (
            ("second", "*/61 * * * * *", 60),
            ("minute", "0 */90 * * * *", 60),
            ("hour", "0 0 1-4/25 * * *", 24),
            ("day-of-month", "0 0 0 1/32 * *", 31),
            ("month", "0 0 0 1 */13 *", 12),
            ("day-of-week", "0 0 0 ? * */8", 7),
        ):
            error = str(self.assertRaises(ValueError, Cron.parse, text))
            self.assertTrue(error.startswith(f"cron field {field}: "), error)
            self.assertTrue(error.endswith(f"is longer than the field; expected 1 to {size}"), error)
        self.assertEqual(self.hours("*/24"), {"00"})

    def test_names_of_whole_expressions(self) -> None:
        for name, same, granularity in (
            ("@hourly", "0 * * * *", "hour"),
            ("@daily", "0 0 * * *", "hour"),
            ("@Midnight", "0 0 * * *", "hour"),
            ("@weekly", "0 0 * * 0", "hour"),
            ("@monthly", "0 0 1 * *", "hour"),
            ("@yearly", "0 0 1 1 *", "hour"),
            ("@ANNUALLY", "0 0 1 1 *", "hour"),
        ):
            cron = Cron.parse(name)
            self.assertEqual((cron.expression, cron.granularity), (name, granularity))
            self.assertEqual(fires(name, NEW_YEAR), fires(same, NEW_YEAR))
        self.assertRaises(ValueError, Cron.parse, "@reboot")

    def test_every(self) -> None:
        start = datetime(2032, 1, 1, 0, 0, 3, tzinfo=BERLIN)
        for text, first, granularity in (
            ("@every 5s", "2032-01-01T00:00:05+01:00", "second"),
            ("@every 90s", "2032-01-01T00:01:30+01:00", "second"),
            ("@every 5m", "2032-01-01T00:05:00+01:00", "minute"),
            ("@every 1h30m", "2032-01-01T01:00:00+01:00", "minute"),
            ("@every 24h", "2032-01-01T01:00:00+01:00", "hour"),
        ):
            cron = Cron.parse(text)
            moment = cron.next_after(start)
            assert moment is not None
            self.assertEqual((moment.isoformat(), cron.granularity), (first, granularity))
        for bad in (
            "@every",
            "@every 0s",
            "@every 1.5s",
            "@every 5",
            "@every -1s",
            "@every 5s 5s",
            "@every 1d",
        ):
            self.assertIn("cron ", str(self.assertRaises(ValueError, Cron.parse, bad)))

    def test_every_takes_the_change_of_clocks_as_it_is(self) -> None:
        start = datetime(2032, 10, 31, 1, 30, tzinfo=BERLIN)
        moments = list(islice(Cron.parse("@every 1h").moments_after(start), 4))
        stamps = [moment.timestamp() for moment in moments]
        self.assertEqual([b - a for a, b in pairwise(stamps)], [3600.0] * 3)


class OracleTests(SynchronousTestCase):
    """``python -m tests.cron_oracle 5000`` compares more of them."""

    def test_random_expressions(self) -> None:
        self.assertEqual(differences(300, seed=2), [])


class EitherDayTests(SynchronousTestCase):
    """Both days restricted mean either, whatever the fields are made of."""

    def test_either(self) -> None:
        start = datetime(2032, 3, 1, tzinfo=UTC)
        for text, days in (
            ("0 0 0 15W * MON", [8, 15, 22, 29]),
            ("0 0 0 13 * FRI#2", [12, 13]),
            ("0 0 0 20 * 5L", [20, 26]),
            ("0 0 0 L * 5#2", [12, 31]),
            ("0 0 0 2,9 * TUE", [2, 9, 16, 23, 30]),
            ("0 0 0 ? * TUE", [2, 9, 16, 23, 30]),
            ("0 0 0 9 * ?", [9]),
            ("0 0 0 */15 * FRI#2", [12, 16, 31]),
            ("0 0 0 1W * */7", [7, 14, 21, 28]),
            ("0 0 0 ?/10 * 5L", [11, 21, 26, 31]),
            ("0 0 0 9 * */1", list(range(2, 32))),
        ):
            with self.subTest(text=text):
                moments = takewhile(lambda m: m.month == 3, Cron.parse(text).moments_after(start))
                self.assertEqual([moment.day for moment in moments], days)


class ClockTests(SynchronousTestCase):
    def test_strictly_later(self) -> None:
        cron = Cron.parse("* * * * * *")
        second = timedelta(seconds=1)
        self.assertEqual(cron.next_after(NEW_YEAR), NEW_YEAR + second)
        self.assertEqual(cron.next_after(NEW_YEAR + timedelta(microseconds=1)), NEW_YEAR + second)
        self.assertEqual(cron.next_after(NEW_YEAR + timedelta(microseconds=999_999)), NEW_YEAR + second)

    def test_fields_are_read_in_the_zone_of_the_moment(self) -> None:
        start = NEW_YEAR.astimezone(BERLIN)
        self.assertEqual(fires("0 0 12 * * *", start, 1), ["2032-01-01T12:00:00+01:00"])

    def test_an_hour_that_is_left_out(self) -> None:
        # On 2032-03-28 the clock goes from 02:00 to 03:00: what is due in between is due then.
        start = datetime(2032, 3, 27, 12, tzinfo=BERLIN)
        self.assertEqual(
            fires("0 30 2 * * *", start, 2), ["2032-03-28T03:00:00+02:00", "2032-03-29T02:30:00+02:00"]
        )
        self.assertEqual(
            fires("0 */30 * * * *", datetime(2032, 3, 28, 1, 15, tzinfo=BERLIN)),
            ["2032-03-28T01:30:00+01:00", "2032-03-28T03:00:00+02:00", "2032-03-28T03:30:00+02:00"],
        )

    def test_an_hour_that_comes_twice(self) -> None:
        # On 2032-10-31 the clock goes from 03:00 back to 02:00.
        start = datetime(2032, 10, 31, 1, 45, tzinfo=BERLIN)
        self.assertEqual(
            fires("0 30 2 * * *", start),
            ["2032-10-31T02:30:00+02:00", "2032-11-01T02:30:00+01:00", "2032-11-02T02:30:00+01:00"],
        )
        self.assertEqual(
            fires("0 30 * * * *", start),
            ["2032-10-31T02:30:00+02:00", "2032-10-31T03:30:00+01:00", "2032-10-31T04:30:00+01:00"],
        )
        self.assertEqual(
            fires("0 */30 * * * *", start)[:2] + fires("0 */30 2 * * *", start)[2:],
            [
                "2032-10-31T02:00:00+02:00",
                "2032-10-31T02:30:00+02:00",
                "2032-10-31T02:00:00+01:00",
            ],
        )

    def test_every_minute_of_the_days_that_change(self) -> None:
        """Each instant whose local time matches, none twice, none left out: also in the hours that change."""
        for day in (datetime(2032, 3, 28, tzinfo=BERLIN), datetime(2032, 10, 31, tzinfo=BERLIN)):
            moments = list(islice(Cron.parse("0 * * * * *").moments_after(day), 600))
            stamps = [moment.timestamp() for moment in moments]
            self.assertEqual(stamps, [day.timestamp() + 60 * (i + 1) for i in range(600)])

    @settings(max_examples=100)
    @given(
        strategies.sampled_from(("*/10 * * * * *", "0 */7 * * * *", "0 30 2 * * *", "0 0 * ? * 0")),
        strategies.datetimes(datetime(2032, 1, 1), datetime(2033, 1, 1), timezones=strategies.just(BERLIN)),
    )
    def test_time_never_goes_back(self, text: str, start: datetime) -> None:
        moments = Cron.parse(text).moments_after(start)
        last = start.timestamp()
        for _ in range(10):
            moment = next(moments).timestamp()
            self.assertGreater(moment, last)
            last = moment
