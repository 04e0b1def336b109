"""Parses cron expressions (five fields as in crontab(5)) and computes when they fire in a time
zone.

This module itself decides what happens on days when the clock changes. APScheduler's cron trigger
ignores such changes: it fires 02:30 twice in autumn, and it skips or doubles firings if a zone
changes by half an hour. It also counts weekdays from Monday.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

#: How far into the future the next firing of a schedule is searched. Five years are enough in most
#: cases, because a leap day usually occurs every four years (around 2100, after eight).
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
    #: Names of months or weekdays that may be written instead of numbers. They are in the order of
    #: the numbers, beginning with `lowest`.
    names: tuple[str, ...] = ()

    def read(self, text: str) -> frozenset[int]:
        """Parse one field of a cron expression into the set of its values. Raises ValueError with
        the broken rule.
        """
        return frozenset(value for part in text.lower().split(",") for value in self._read_part(part))

    def _ends(self, first: str | None, last: str | None) -> tuple[int, int]:
        """The lowest and the highest value of one part of a field, such as `1-5/2`, ignoring its
        step.
        """
        if first is None:
            return self.lowest, self.highest
        low = self._value(first)
        high = low if last is None else self._value(last)
        # In the range fri-sun, Sunday counts as day 7, because it follows Friday. The ranges
        # sun-sun and 0-sun contain one day only.
        return low, 7 if last == "sun" and high < low else high

    def _read_part(self, part: str) -> range:
        found = _PART.fullmatch(part)
        if found is None:
            raise ValueError(
                f"{self.name} {part!r} must be *, a value, a range such as 1-5, or * or a range with /step"
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
    """One cron expression.

    If both the day of the month and the day of the week are restricted (neither begins with *), a
    day that matches one of them is enough, as crontab(5) defines.
    """

    def __init__(self, expression: str) -> None:
        """Parse a cron expression. Raises ValueError with the broken rule."""
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
        #: True if the expression fires in every hour. When the clock changes, such an expression
        #: keeps its interval of elapsed time; all others fire at a time of day.
        self.hourly = len(hour) == 24

    def local_times(self, after: datetime) -> Iterator[datetime]:
        """Yield the firings later than `after` as local times without a zone, up to LOOK_AHEAD
        after it.
        """
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
            # APScheduler's trigger may return the very time that it is given, so the search starts
            # one tick (1 µs) later.
            found = [trigger.get_next_fire_time(None, now + _TICK) for trigger in triggers]
            times = [time for time in found if time is not None]
            if not times:
                return
            now = min(times)
            yield now.replace(tzinfo=None)

    def instants(self, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
        """Yield the firings later than `after` as UTC times, strictly increasing, up to LOOK_AHEAD
        after it.

        A time of day fires once a day, even if the clock changes: if the clock skips that time, it
        fires when the skip ends, and if the clock shows the time twice, it fires the first time. An
        hourly expression fires whenever the clock shows its minute.
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
    """The first moment after `start`, up to `end`, at which the zone's UTC offset differs from the
    one at `start`. None if it does not change.
    """
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
    """The latest local time that the clock of a zone has shown so far. It is later than the current
    local time if the clock was set back today.
    """
    yesterday = instant - _DAY
    change = _change(zone, yesterday, instant)
    if change is None:
        return _local(instant, zone)
    shown_before = _naive(change) + _offset(yesterday, zone) - _TICK
    return max(_local(instant, zone), shown_before)
