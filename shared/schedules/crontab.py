"""Cron expressions: five fields as in crontab(5), and the instants at which their local times come round.

APScheduler's trigger walks the local clock (as if it never changed); how a local time becomes an instant on
the days when the clock does change is decided here, because the trigger fires 02:30 twice in autumn, skips or
doubles starts where a zone changes by half an hour, and counts weekdays from Monday.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

#: Further ahead nothing is looked for; a leap day comes at least every eight years, around 2100.
LOOK_AHEAD = timedelta(days=5 * 366)

_DAY, _SECOND, _TICK = timedelta(days=1), timedelta(seconds=1), timedelta(microseconds=1)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?")


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    lowest: int
    highest: int
    #: Names of the values from `lowest` on.
    names: tuple[str, ...] = ()

    def read(self, text: str) -> frozenset[int]:
        """The values that the text means. Raises ValueError with the rule that it breaks."""
        return frozenset(value for part in text.lower().split(",") for value in self._read_part(part))

    def _ends(self, first: str | None, last: str | None) -> tuple[int, int]:
        """The lowest and highest value of a part without its step."""
        if first is None:
            return self.lowest, self.highest
        low = self._value(first)
        high = low if last is None else self._value(last)
        # In fri-sun the end is the week's second Sunday; sun-sun and 0-sun are one day.
        return low, 7 if last == "sun" and high < low else high

    def _read_part(self, part: str) -> range:
        found = _PART.fullmatch(part)
        if found is None:
            raise ValueError(
                f"{self.name} {part!r} must be *, a value, a range 1-5 or one of them with /step"
            )
        first, last, step = found["first"], found["last"], int(found["step"] or 1)
        low, high = self._ends(first, last)
        if found["step"] and first is not None and last is None:
            raise ValueError(f"{self.name} {part!r} must give a range before the step: {low}-{self.highest}")
        if low > high:
            raise ValueError(f"{self.name} {part!r} must not run backwards; write two ranges with a comma")
        if step < 1:
            raise ValueError(f"{self.name} {part!r} must have a step of at least 1")
        return range(low, high + 1, step)

    def _value(self, text: str) -> int:
        if text in self.names:
            return self.names.index(text) + self.lowest
        if not (text.isascii() and text.isdigit() and self.lowest <= int(text) <= self.highest):
            names = f" or one of {', '.join(self.names)}" if self.names else ""
            raise ValueError(f"{self.name} {text!r} must be from {self.lowest} to {self.highest}{names}")
        return int(text)


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _WEEKDAYS),
)


class Crontab:
    """One expression.

    Where day of month and day of week are both restricted (neither begins with *), a day that fits one of
    them is enough, as crontab(5) has it.
    """

    def __init__(self, expression: str) -> None:
        """Raises ValueError with the rule that the expression breaks."""
        texts = expression.split()
        if len(texts) != len(_FIELDS):
            raise ValueError(f"must have 5 fields (minute hour day month weekday), but has {len(texts)}")
        minute, hour, day, month, weekday = (
            field.read(text) for field, text in zip(_FIELDS, texts, strict=True)
        )
        self._minute, self._hour, self._month = _listed(minute, 60), _listed(hour, 24), _listed(month, 12)
        days = _listed(day, 31)
        named = {_WEEKDAYS[number % 7] for number in weekday}
        weekdays = "*" if len(named) == len(_WEEKDAYS) else ",".join(sorted(named))
        either = not texts[2].startswith("*") and not texts[4].startswith("*")
        self._days = [(days, "*"), ("*", weekdays)] if either else [(days, weekdays)]
        #: It runs through all hours: it follows the clock's real course. Others mean a time of the day.
        self.hourly = len(hour) == 24

    def local_times(self, after: datetime) -> Iterator[datetime]:
        """Local times later than `after`, without zone, for LOOK_AHEAD."""
        end = after.replace(tzinfo=UTC) + LOOK_AHEAD
        triggers = [
            CronTrigger(
                minute=self._minute,
                hour=self._hour,
                day=days,
                month=self._month,
                day_of_week=weekdays,
                timezone=UTC,
                end_date=end,
            )
            for days, weekdays in self._days
        ]
        now = after.replace(tzinfo=UTC)
        while True:
            # The trigger includes the time that it is given.
            found = [trigger.get_next_fire_time(None, now + _TICK) for trigger in triggers]
            times = [time for time in found if time is not None]
            if not times:
                return
            now = min(times)
            yield now.replace(tzinfo=None)

    def instants(self, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
        """Instants (UTC) later than `after`, strictly rising, for LOOK_AHEAD.

        A time of the day comes once a day: one that the clock jumps over fires when the jump ends, one that
        comes twice fires the first time. An hourly expression fires whenever the clock shows it.
        """
        start = after.astimezone(UTC)
        horizon = start + LOOK_AHEAD
        passed = _local(start, zone) if self.hourly else _furthest(start, zone)
        local_times = self.local_times(passed)
        while (local := next(local_times, None)) is not None:
            offset = _offset(start, zone)
            instant = (local - offset).replace(tzinfo=UTC)
            if instant > horizon:
                return
            change = _change(zone, start, instant)
            if change is None:
                start = instant
                yield instant
                continue
            start = change
            before, behind = _naive(change) + offset, _local(change, zone)
            if before <= local < behind and not self.hourly:
                yield change
                passed = behind
            else:
                passed = (behind if self.hourly else max(before, behind)) - _TICK
            local_times = self.local_times(passed)


def _listed(values: frozenset[int], count: int) -> str:
    return "*" if len(values) == count else ",".join(map(str, sorted(values)))


def _naive(instant: datetime) -> datetime:
    return instant.replace(tzinfo=None)


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta(0)


def _local(instant: datetime, zone: ZoneInfo) -> datetime:
    return _naive(instant.astimezone(zone))


def _change(zone: ZoneInfo, start: datetime, end: datetime) -> datetime | None:
    """The first instant in (start, end] at which the zone's offset is another one than at `start`."""
    before = _offset(start, zone)
    low = start
    while low < end:
        high = min(low + _DAY, end)
        if _offset(high, zone) != before:
            break
        low = high
    else:
        return None
    while high - low > _SECOND:
        middle = low + (high - low) / 2
        low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
    return high.replace(microsecond=0)


def _furthest(instant: datetime, zone: ZoneInfo) -> datetime:
    """The latest local time that the clock has shown up to now: it may have been put back today."""
    yesterday = instant - _DAY
    change = _change(zone, yesterday, instant)
    if change is None:
        return _local(instant, zone)
    shown_before = _naive(change) + _offset(yesterday, zone) - _TICK
    return max(_local(instant, zone), shown_before)
