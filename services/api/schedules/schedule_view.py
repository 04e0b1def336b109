"""Reads schedules, and the outcomes of their past nominal times, in the form that the API
returns.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from services.api.http import paging
from services.api.identity.rights import Reader
from services.api.schedules.refusals import ScheduleNotFound
from services.api.schedules.schemas import FiringAnswer, FiringPage, ScheduleAnswer, SchedulePage
from shared.contracts.catalogue import Catalogue
from shared.contracts.schedule import NAME
from shared.errors import FieldProblem, InvalidFields
from shared.ledger.database import Database
from shared.ledger.schedule_tables import Schedule, ScheduleFiring
from shared.schedules import firing as scheduling
from shared.schedules.timetable import Timing
from shared.vault import Vault

#: Number of coming nominal times (times at which the schedule is due) that the API shows.
UPCOMING = 3
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class NextFiring(NamedTuple):
    """A time at which a schedule will fire."""

    at: datetime
    schedule: str


class ScheduleView:
    """Reads schedules for the API."""

    def __init__(self, database: Database, catalogue: Catalogue, vault: Vault) -> None:
        self._database = database
        self._catalogue = catalogue
        self._vault = vault

    async def page(
        self, reader: Reader, *, limit: int, cursor: str | None, enabled: bool | None, task_name: str | None
    ) -> SchedulePage:
        """Return one page of schedules, sorted by name."""
        query = Schedule.select().order_by(Schedule.name).limit(limit + 1)
        if cursor is not None:
            query = query.where(Schedule.name > _checked_cursor(cursor))
        if enabled is not None:
            query = query.where(Schedule.enabled == enabled)
        if task_name is not None:
            query = query.where(Schedule.task_name == task_name)
        rows = await self._database.answered(query)
        items = [self._answer(row, reader) for row in rows[:limit]]
        return SchedulePage(items, items[-1].name if len(rows) > limit else None)

    async def owned(self, reader: Reader) -> list[ScheduleAnswer]:
        """Return all schedules that the signed-in account has created."""
        query = Schedule.select().where(Schedule.owner == reader.id).order_by(Schedule.name)
        return [self._answer(row, reader) for row in await self._database.answered(query)]

    async def next_firings(self, count: int, *, among: int) -> list[NextFiring]:
        """Return the next `count` firings of the first `among` enabled schedules by name, soonest
        first.
        """
        query = Schedule.select().where(Schedule.enabled.eq(True)).order_by(Schedule.name).limit(among)
        found = [
            NextFiring(at, row["name"])
            for row in await self._database.answered(query)
            for at in _upcoming(row)
        ]
        return sorted(found)[:count]

    async def find(self, name: str, reader: Reader) -> ScheduleAnswer:
        """Return one schedule. Raises ScheduleNotFound."""
        return self._answer(await self._row(name), reader)

    async def firings(self, name: str, *, limit: int, cursor: str | None) -> FiringPage:
        """Return one page of a schedule's firings, newest first. Raises ScheduleNotFound."""
        await self._row(name)
        query = ScheduleFiring.select().where(ScheduleFiring.schedule == name)
        if cursor is not None:
            query = query.where(ScheduleFiring.fire_time < _position(cursor))
        query = query.order_by(ScheduleFiring.fire_time, ascending=False).limit(limit + 1)
        rows = await self._database.answered(query)
        items = [FiringAnswer(**{f: row[f] for f in FiringAnswer.__struct_fields__}) for row in rows[:limit]]
        return FiringPage(items, _cursor(items[-1].fire_time) if len(rows) > limit else None)

    async def _row(self, name: str) -> dict[str, Any]:
        """Read the row of a schedule. Raises ScheduleNotFound."""
        query = Schedule.select().where(Schedule.name == name).first()
        row = await self._database.answered(query) if NAME.fullmatch(name) else None
        if row is None:
            raise ScheduleNotFound(name)
        return dict(row)

    def _answer(self, row: Mapping[str, Any], reader: Reader) -> ScheduleAnswer:
        contract = self._catalogue.ever_by_name.get(row["task_name"] or "")
        unmask = reader.may_unmask(row["owner"])
        params = self._vault.read(contract, "params", row["params"], row["name"], row["owner"], unmask=unmask)
        same = {f: row[f] for f in ScheduleAnswer.__struct_fields__ if f in row and f != "params"}
        return ScheduleAnswer(**same, params=params, next_fire_times=_upcoming(row))


def preview(timing: Timing, now: datetime, count: int) -> list[datetime]:
    """Compute the next times at which a schedule with this timing would fire.

    Raises InvalidFields if there are none.
    """
    timing.check(now)
    return list(islice(timing.firings(now, start=now), count))


def _upcoming(row: Mapping[str, Any]) -> list[datetime]:
    first = row["next_fire_time"]
    if first is None:
        return []
    try:
        timing = scheduling.timing_of(row)
    # The time zone of the schedule no longer exists in the time zone database. The leading
    # scheduler reports this; the API shows only the stored next time.
    except InvalidFields:
        return [first]
    return [first, *islice(timing.firings(first, start=row["starts_at"]), UPCOMING - 1)]


def _checked_cursor(cursor: str) -> str:
    if not NAME.fullmatch(cursor):
        raise InvalidFields([FieldProblem("cursor", "must be the next_cursor of an earlier answer")])
    return cursor


def _cursor(moment: datetime) -> str:
    return paging.encode(((moment - EPOCH) // _MICROSECOND).to_bytes(8))


def _position(cursor: str) -> datetime:
    try:
        return EPOCH + int.from_bytes(paging.decode(cursor, 8)) * _MICROSECOND
    except OverflowError:
        raise InvalidFields(
            [FieldProblem("cursor", "must be the next_cursor of an earlier answer")]
        ) from None
