"""When a schedule fires. Pure: nominal times from a timing, and which of them are due after a pause.

Only APScheduler's triggers are used, never its scheduler or its job stores.
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

#: Firings of one schedule in one round; the rest follows in the next one.
MOST_FIRINGS = 1_000
#: Firings among which the shortest pause is taken for a cron's period.
SAMPLE = 50
LONGEST_INTERVAL = timedelta(days=366)

_INTERVAL = re.compile(r"(?P<count>[1-9][0-9]{0,8}) (?P<unit>s|min|h|d)")
_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days"}
_TICK, _SECOND = timedelta(microseconds=1), timedelta(seconds=1)


class Kind(StrEnum):
    """How `expression` reads."""

    #: `minute hour day month weekday` in the schedule's time zone; see `shared.schedules.crontab`.
    CRON = "cron"
    #: `90 s`, `15 min`, `6 h` or `1 d`, counted from the schedule's start.
    INTERVAL = "interval"
    #: One moment in ISO 8601 with its offset, `2026-12-24T18:00:00+01:00`.
    ONCE = "once"


class Misfire(StrEnum):
    """What happens to times that were missed."""

    #: Only what is less than the grace late fires.
    SKIP = "skip"
    #: The latest of them fires.
    ONCE = "once"
    #: Each of them fires, the oldest first.
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Policy:
    """What is done about times that were missed; all in seconds."""

    misfire: Misfire = Misfire.ONCE
    grace_s: float = 60
    #: What is later than this is never made up for.
    catch_up_s: float = 3_600


@dataclass(frozen=True, slots=True)
class Due:
    """What a round has to do for one schedule."""

    #: Nominal times to fire, the oldest first.
    times: list[datetime]
    #: The first nominal time that is given up, and stands for all that lie before `times` and `following`.
    given_up: datetime | None
    #: The next nominal time; it has passed already when a round could not take all. None: never again.
    following: datetime | None


class Timing:
    """When: parsed and checked."""

    def __init__(self, kind: str, expression: str, time_zone: str = "UTC", jitter_s: float = 0) -> None:
        """Raises InvalidFields, naming every field that breaks a rule."""
        problems = []
        if kind not in set(Kind):
            problems.append(FieldProblem("kind", f"must be one of {', '.join(Kind)}"))
        if time_zone not in _zones():
            problems.append(FieldProblem("time_zone", _unknown_zone(time_zone)))
        if not 0 <= jitter_s <= LONGEST_INTERVAL.total_seconds():
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
        """Nominal times (UTC) later than `after`, strictly rising.

        `start` is the schedule's: intervals are counted from its full second, so that they don't drift.
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
        """The next nominal time; None when there is none within five years."""
        return next(self.firings(after, start=start), None)

    def check(self, now: datetime) -> None:
        """Raises InvalidFields when it would never fire from now on, or when its jitter is too large."""
        sample = list(islice(self.firings(now, start=now), SAMPLE))
        if not sample and self.kind is Kind.ONCE:
            raise InvalidFields([FieldProblem("expression", "must be a moment that has not passed")])
        if not sample:
            years = LOOK_AHEAD.days // 365
            raise InvalidFields([FieldProblem("expression", f"never fires within {years} years")])
        period = min((later - earlier for earlier, later in pairwise(sample)), default=None)
        if period is not None and self.jitter_s >= period.total_seconds():
            rule = f"must be less than the {period.total_seconds():.0f} seconds between two firings"
            raise InvalidFields([FieldProblem("jitter_s", rule)])

    def jitter(self, schedule: str, nominal: datetime) -> timedelta:
        """How much later than its nominal time a firing is sent: the same in every process."""
        digest = hashlib.sha256(f"{schedule}|{nominal.astimezone(UTC).isoformat()}".encode()).digest()
        return timedelta(seconds=self.jitter_s * int.from_bytes(digest[:8]) / 2**64)


def due(timing: Timing, first: datetime, now: datetime, *, start: datetime, policy: Policy) -> Due:
    """Decide about the nominal times from `first` (the next one that is not done) to `now`."""
    reach_s = policy.catch_up_s
    if policy.misfire is Misfire.SKIP:
        reach_s = min(reach_s, policy.grace_s)
    # Exclusive: what is exactly as late as the limit is too late.
    after = max(first - _TICK, now - timedelta(seconds=reach_s))
    if policy.misfire is Misfire.ONCE:
        latest = _latest(timing, after, now, start)
        times = [latest] if latest else []
    else:
        passed = takewhile(lambda time: time <= now, timing.firings(after, start=start))
        times = list(islice(passed, MOST_FIRINGS))
    full = len(times) == MOST_FIRINGS
    return Due(
        times=times,
        given_up=None if times and times[0] == first else first,
        following=timing.following(times[-1] if full else now, start=start),
    )


def _latest(timing: Timing, after: datetime, now: datetime, start: datetime) -> datetime | None:
    """The last nominal time in (after, now], looked for backwards in growing steps."""
    back = timedelta(minutes=1)
    while True:
        begin = max(after, now - back)
        *_, latest = [None, *takewhile(lambda time: time <= now, timing.firings(begin, start=start))]
        if latest is not None or begin == after:
            return latest
        back *= 4


def _steps(interval: timedelta, after: datetime, start: datetime) -> Iterator[datetime]:
    trigger = IntervalTrigger(seconds=interval.total_seconds(), start_date=start + interval, timezone=UTC)
    # All steps are full seconds, so the next full second is the first that may be one.
    moment = trigger.get_next_fire_time(None, after.replace(microsecond=0) + _SECOND)
    while True:
        yield moment
        moment = trigger.get_next_fire_time(moment, moment)


def _read_interval(text: str) -> timedelta:
    found = _INTERVAL.fullmatch(text)
    interval = timedelta(**{_UNITS[found["unit"]]: int(found["count"])}) if found else None
    if interval is None or interval > LONGEST_INTERVAL:
        raise ValueError("must read like '90 s', '15 min', '6 h' or '1 d', from 1 s to 366 d")
    return interval


def _read_moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a moment with its offset, for example 2026-12-24T18:00:00+01:00")


_READ: dict[Kind, Callable[[str], Crontab | timedelta | datetime]] = {
    Kind.CRON: Crontab,
    Kind.INTERVAL: _read_interval,
    Kind.ONCE: _read_moment,
}


@functools.cache
def _zones() -> frozenset[str]:
    """The same names on every machine; `localtime` of the system is none of them, and `Factory` no place."""
    listed = importlib.resources.files("tzdata").joinpath("zones").read_text()
    return frozenset(listed.split()) - {"Factory"}


def _unknown_zone(name: str) -> str:
    close = difflib.get_close_matches(name, sorted(_zones()), n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"must be a name of the IANA time zone database, for example Europe/Berlin{hint}"
