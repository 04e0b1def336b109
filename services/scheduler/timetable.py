"""Submits tasks and workflows by the clock: fires what is due, and says what became of each nominal time.

`shared.schedules.timetable` decides which times are due. Everything about one schedule happens in one
transaction under its row's lock: two leaders fire once, and a leader that dies in between has done nothing.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from services.scheduler import declarations
from shared.contracts.catalogue import Catalogue
from shared.errors import OftenError, ServerUnavailable
from shared.ledger.database import Database
from shared.schedules import statements as schedules
from shared.schedules.firing import Firing, policy_of, timing_of
from shared.schedules.timetable import Due, due
from shared.submission import Submitter
from shared.telemetry import metrics
from shared.vault import Vault
from shared.workflows.scheduled import Schedules

log = logging.getLogger(__name__)

EVERY_S = 0.5
#: Schedules per round.
BATCH = 500
NO_WORKFLOWS: Schedules = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of nominal times; counted once it is committed."""

    outcome: str
    times: Sequence[datetime]
    #: Of the database.
    now: datetime


class Timetable:
    """The leader's clock."""

    def __init__(
        self,
        database: Database,
        submitter: Submitter,
        vault: Vault,
        catalogue: Catalogue,
        workflows: Schedules = NO_WORKFLOWS,
    ) -> None:
        self._database = database
        self._submitter = submitter
        self._vault = vault
        self._catalogue = catalogue
        self._workflows = workflows
        self._firing = Firing(database, submitter, vault, catalogue, workflows)
        self._aligned = False

    def restart(self) -> None:
        """This process leads from now on: contracts may have changed since it last looked."""
        self._aligned = False

    async def run_once(self) -> bool:
        """Fire what is due; True when there may be more."""
        if not self._aligned:
            await declarations.align(self._database, self._catalogue, self._vault, self._workflows)
            self._aligned = True
        rows = await self._database.run(schedules.DUE, limit=BATCH)
        for row in rows:
            await self._settle(row["name"])
        if rows:
            await self._submitter.mark()
        return len(rows) == BATCH

    async def _settle(self, name: str) -> None:
        """Decide about one schedule; one that breaks must not stop the others."""
        try:
            async with self._database.translated(), self._submitter.transaction():
                verdicts = await self._decide(name)
        except ServerUnavailable:
            raise
        except Exception as error:
            log.exception("schedule %s could not be fired", name)
            async with self._database.translated(), self._database.transaction():
                verdicts = await self._note_failure(name, error)
        _count(name, verdicts)

    async def _decide(self, name: str) -> list[Verdict]:
        rows = await self._database.run(schedules.LOCK_DUE, name=name)
        if not rows:
            return []
        (row,) = rows
        found = _due(row)
        verdicts = await self._fire(row, found.times) if found.times else []
        verdicts += await self._give_up(row, found)
        fired = [time for outcome, times in verdicts if outcome == "submitted" for time in times]
        await self._advance(name, found, max(fired, default=None))
        return [Verdict(outcome, times, row["now"]) for outcome, times in verdicts]

    async def _fire(
        self, row: Mapping[str, Any], times: Sequence[datetime]
    ) -> list[tuple[str, Sequence[datetime]]]:
        """What became of the times; a contract that refuses the schedule does not stop it."""
        try:
            work = self._firing.work_of(row)
        except OftenError as error:
            log.error("schedule %s can't be fired: %s", row["name"], error)
            return [("failed", await self._record(row["name"], "failed", times, str(error)))]
        skipped: Sequence[datetime] = []
        if row["overlap"] == "skip":
            earlier = await self._firing.unfinished(row)
            times, skipped = ([], times) if earlier else (times[:1], times[1:])
            detail = "an earlier time fires"
            if earlier:
                detail = f"{earlier.kind} {earlier.id} of an earlier time is not final"
            skipped = await self._record(row["name"], "skipped_overlap", skipped, detail)
        fired = await self._firing.fire(row, work, times)
        return [("submitted", list(fired)), ("skipped_overlap", skipped)]

    async def _note_failure(self, name: str, error: Exception) -> list[Verdict]:
        """Record why, and go on with the next time; a timing that can't be read has none."""
        rows = await self._database.run(schedules.LOCK_DUE, name=name)
        if not rows:
            return []
        (row,) = rows
        detail = f"{type(error).__name__}: {error}"
        try:
            found = _due(row)
        except OftenError:
            await self._record(name, "failed", [row["next_fire_time"]], f"{detail}; it is off until changed")
            await self._database.run(schedules.STOP, name=name)
            return [Verdict("failed", [row["next_fire_time"]], row["now"])]
        times = found.times or [row["next_fire_time"]]
        await self._record(name, "failed", times, detail)
        await self._advance(name, found, None)
        return [Verdict("failed", times, row["now"])]

    async def _give_up(self, row: Mapping[str, Any], found: Due) -> list[tuple[str, Sequence[datetime]]]:
        if found.given_up is None:
            return []
        until = found.times[0] if found.times else found.following
        end = f"to before {until.isoformat()}" if until else "on"
        detail = f"missed from {found.given_up.isoformat()} {end}; misfire policy {row['misfire']}"
        times = await self._record(row["name"], "skipped_misfire", [found.given_up], detail)
        return [("skipped_misfire", times)]

    async def _record(
        self, name: str, outcome: str, times: Sequence[datetime], detail: str
    ) -> Sequence[datetime]:
        return await schedules.record(self._database, name, outcome, times, detail)

    async def _advance(self, name: str, found: Due, fired: datetime | None) -> None:
        await self._database.run(
            schedules.ADVANCE, name=name, next_fire_time=found.following, last_fire_time=fired
        )


def _due(row: Mapping[str, Any]) -> Due:
    return due(
        timing_of(row), row["next_fire_time"], row["now"], start=row["starts_at"], policy=policy_of(row)
    )


def _count(name: str, verdicts: Iterable[Verdict]) -> None:
    for verdict in verdicts:
        if verdict.times:
            metrics.SCHEDULE_FIRED.labels(name, verdict.outcome).inc(len(verdict.times))
        if verdict.outcome == "submitted":
            for nominal in verdict.times:
                metrics.SCHEDULE_LAG_SECONDS.observe((verdict.now - nominal).total_seconds())
