"""Computes when a schedule fires: its nominal times, and which of them are due. Does no I/O.

Of APScheduler, only the triggers are used, not its scheduler or its job stores.
"""

import difflib
import functools
import hashlib
import importlib.resources
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from shared.errors import FieldProblem, InvalidFields
from shared.schedules.crontab import LOOK_AHEAD, Crontab

#: Maximum number of firings of one schedule in one round of the scheduler. Further firings follow
#: in the next round.
MAX_FIRINGS = 1_000
#: Number of future firings that are examined to find the shortest interval of a cron expression,
#: which limits its jitter.
SAMPLE = 50
MAX_INTERVAL = timedelta(days=366)
#: Latest year of a single moment. Python's years end at 9999, and the jitter of up to 366 days and the
#: offset of a time zone are added to the moment.
LAST_YEAR = 9997

_INTERVAL = re.compile(r"(?P<count>[1-9][0-9]{0,8}) (?P<unit>s|min|h|d)")
_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days"}
_TICK, _SECOND = timedelta(microseconds=1), timedelta(seconds=1)


class Kind(StrEnum):
    """The kind of a schedule, which defines how its `expression` is parsed."""

    #: CRON: `minute hour day month weekday` in the schedule's time zone; see
    #: `shared.schedules.crontab`.
    CRON = "cron"
    #: INTERVAL: a duration such as `90 s`, `15 min`, `6 h` or `1 d`, counted from the schedule's
    #: start.
    INTERVAL = "interval"
    #: ONCE: one moment in ISO 8601 with its UTC offset, such as `2026-12-24T18:00:00+01:00`.
    ONCE = "once"


class Misfire(StrEnum):
    """Defines what a schedule does about nominal times that it missed, for example during an
    outage.
    """

    #: SKIP: fire only the missed times that are late by less than the grace period.
    SKIP = "skip"
    #: ONCE: fire only the latest missed time.
    ONCE = "once"
    #: ALL: fire all missed times, oldest first.
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of a schedule for missed times. Durations are in seconds."""

    misfire: Misfire = Misfire.ONCE
    grace_s: float = 60
    #: Maximum lateness of a firing. A nominal time that is later than this is never fired.
    catch_up_s: float = 3_600


@dataclass(frozen=True, slots=True)
class Due:
    """The decision of one scheduler round about one schedule."""

    #: Nominal times that are fired now, oldest first.
    times: list[datetime]
    #: The first nominal time that will never be fired. It represents all missed times before the
    #: first of `times`, or before `following` if `times` is empty. None if no time was missed.
    given_up: datetime | None
    #: The next nominal time of the schedule. It may already be in the past if there were more due
    #: times than one round fires. None if there is no further time.
    following: datetime | None


class Timing:
    """The parsed and checked timing of a schedule."""

    def __init__(self, kind: str, expression: str, time_zone: str = "UTC", jitter_s: float = 0) -> None:
        """Parse a schedule's timing. Raises InvalidFields, which names every field that breaks a
        rule.
        """
        problems = []
        if kind not in set(Kind):
            problems.append(FieldProblem("kind", f"must be one of {', '.join(Kind)}"))
        if time_zone not in _zones():
            problems.append(FieldProblem("time_zone", _unknown_zone(time_zone)))
        if not 0 <= jitter_s <= MAX_INTERVAL.total_seconds():
            problems.append(FieldProblem("jitter_s", "must be from 0 to 366 days"))
        if problems:
            raise InvalidFields(problems)
        self.kind = Kind(kind)
        self.expression = expression
        self.zone = ZoneInfo(time_zone)
        self.jitter_s = jitter_s
        try:
            self._when = _READ[self.kind](expression)
        except ValueError as error:
            raise InvalidFields([FieldProblem("expression", str(error))]) from None

    def firings(self, after: datetime, *, start: datetime) -> Iterator[datetime]:
        """Yield the schedule's nominal times (UTC) later than `after`, strictly increasing.

        `start` is the time at which the schedule starts. Intervals are counted from it, after
        cutting off its fraction of a second, so they don't drift.
        """
        match self._when:
            case Crontab():
                yield from self._when.instants(self.zone, after)
            case timedelta():
                yield from _steps(self._when, max(after, start), start.replace(microsecond=0))
            case datetime():
                moment = DateTrigger(self._when, UTC).get_next_fire_time(None, after)
                if moment > after:
                    yield moment

    def following(self, after: datetime, *, start: datetime) -> datetime | None:
        """The next nominal time after `after`. None if there is none within five years."""
        return next(self.firings(after, start=start), None)

    def check(self, now: datetime) -> None:
        """Raise InvalidFields if the schedule would never fire again, or if its jitter is not less
        than the interval between two firings.
        """
        if isinstance(self._when, datetime) and self._when.year > LAST_YEAR:
            raise InvalidFields([FieldProblem("expression", f"must not be later than the year {LAST_YEAR}")])
        sample = list(islice(self.firings(now, start=now), SAMPLE))
        if not sample and self.kind is Kind.ONCE:
            raise InvalidFields([FieldProblem("expression", "must be a time in the future")])
        if not sample:
            years = LOOK_AHEAD.days // 365
            raise InvalidFields([FieldProblem("expression", f"never fires within {years} years")])
        period = min((later - earlier for earlier, later in pairwise(sample)), default=None)
        if period is not None and self.jitter_s >= period.total_seconds():
            rule = f"must be less than the {period.total_seconds():.0f} seconds between two firings"
            raise InvalidFields([FieldProblem("jitter_s", rule)])

    def jitter(self, schedule: str, nominal: datetime) -> timedelta:
        """The delay of a firing after its nominal time, up to `jitter_s`. It is derived from a
        hash, so every process computes the same delay.
        """
        digest = hashlib.sha256(f"{schedule}|{nominal.astimezone(UTC).isoformat()}".encode()).digest()
        return timedelta(seconds=self.jitter_s * int.from_bytes(digest[:8]) / 2**64)


def due(timing: Timing, first: datetime, now: datetime, *, start: datetime, policy: Policy) -> Due:
    """Decide which nominal times from `first` to `now` are fired. `first` is the first one that no
    earlier round has decided about.
    """
    reach_s = policy.catch_up_s
    if policy.misfire is Misfire.SKIP:
        reach_s = min(reach_s, policy.grace_s)
    # A nominal time that is late by exactly the limit is not fired.
    after = max(first - _TICK, now - timedelta(seconds=reach_s))
    if policy.misfire is Misfire.ONCE:
        latest = _latest(timing, after, now, start)
        times = [latest] if latest else []
    else:
        passed = takewhile(lambda time: time <= now, timing.firings(after, start=start))
        times = list(islice(passed, MAX_FIRINGS))
    full = len(times) == MAX_FIRINGS
    return Due(
        times=times,
        given_up=None if times and times[0] == first else first,
        following=timing.following(times[-1] if full else now, start=start),
    )


def _latest(timing: Timing, after: datetime, now: datetime, start: datetime) -> datetime | None:
    """The last nominal time after `after`, up to `now`. The search goes backwards from `now` in
    growing steps.
    """
    back = timedelta(minutes=1)
    while True:
        begin = max(after, now - back)
        *_, latest = [None, *takewhile(lambda time: time <= now, timing.firings(begin, start=start))]
        if latest is not None or begin == after:
            return latest
        back *= 4


def _steps(interval: timedelta, after: datetime, start: datetime) -> Iterator[datetime]:
    trigger = IntervalTrigger(seconds=interval.total_seconds(), start_date=start + interval, timezone=UTC)
    # All nominal times of an interval are full seconds, so the search begins at the next full
    # second.
    moment = trigger.get_next_fire_time(None, after.replace(microsecond=0) + _SECOND)
    while True:
        yield moment
        moment = trigger.get_next_fire_time(moment, moment)


def _read_interval(text: str) -> timedelta:
    found = _INTERVAL.fullmatch(text)
    interval = timedelta(**{_UNITS[found["unit"]]: int(found["count"])}) if found else None
    if interval is None or interval > MAX_INTERVAL:
        raise ValueError("must read like '90 s', '15 min', '6 h' or '1 d', from 1 s to 366 d")
    return interval


def _read_moment(text: str) -> datetime:
    rule = "must be a moment with its offset, for example 2026-12-24T18:00:00+01:00"
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError(rule)
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(rule) from None
    return moment


_READ: dict[Kind, Callable[[str], Crontab | timedelta | datetime]] = {
    Kind.CRON: Crontab,
    Kind.INTERVAL: _read_interval,
    Kind.ONCE: _read_moment,
}


@functools.cache
def _zones() -> frozenset[str]:
    """Names of the time zones that every machine has.

    `localtime`, which differs between machines, and the placeholder `Factory` are left out.
    """
    listed = importlib.resources.files("tzdata").joinpath("zones").read_text()
    return frozenset(listed.split()) - {"Factory"}


def _unknown_zone(name: str) -> str:
    close = difflib.get_close_matches(name, sorted(_zones()), n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"must be a name of the IANA time zone database, for example Europe/Berlin{hint}"
