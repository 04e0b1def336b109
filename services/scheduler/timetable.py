"""Fires the schedules that are due, and records the outcome of each nominal time.

`shared.schedules.timetable` decides which nominal times are due. Each schedule is handled in one
transaction that locks its row. Two leaders at the same time therefore fire it only once, and if a
leader dies in the middle, nothing of the transaction remains.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.scheduler import declarations
from services.scheduler.slow_items import SlowItems
from shared.contracts.catalogue import Catalogue
from shared.errors import OftenError, Refused, ServerUnavailable
from shared.ledger.database import Database
from shared.schedules import statements as schedules
from shared.schedules.firing import Firing, TaskToFire, Work, policy_of, timing_of
from shared.schedules.timetable import Due, due
from shared.submission import Submitter
from shared.telemetry import metrics, tracing
from shared.vault import Vault
from shared.workflows.scheduled import NO_WORKFLOWS, Schedules

log = logging.getLogger(__name__)

EVERY_S = 0.5
#: Maximum number of schedules that one round handles.
BATCH = 500


@dataclass(frozen=True, slots=True)
class Verdict:
    """Nominal times of a schedule that have the same outcome.

    They are counted in the metrics once the transaction is committed.
    """

    outcome: str
    times: Sequence[datetime]
    #: The current time by the database's clock.
    now: datetime


class Timetable:
    """Background service of the leading scheduler that fires schedules."""

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
        self._slow = SlowItems[str]("schedule")

    def restart(self) -> None:
        """Let the next round compare the stored schedules with the declared ones.

        Called when this process becomes the leader. While another process led, declarations of
        another release may have been stored.
        """
        self._aligned = False

    async def run_once(self) -> bool:
        """Fire the schedules that are due. Returns True if more may be due."""
        if not self._aligned:
            self._aligned = await declarations.align(
                self._database, self._catalogue, self._vault, self._workflows
            )
        rows = await self._database.run(schedules.DUE, limit=BATCH)
        others, slow = self._slow.begin_round(row["name"] for row in rows)
        for name in [*others, *slow]:
            with self._slow.tolerating(name):
                await self._settle(name)
        if rows:
            await self._submitter.mark()
        self._slow.end_round()
        return len(rows) == BATCH

    async def _settle(self, name: str) -> None:
        """Handle one due schedule. An error in it must not stop the other schedules."""
        try:
            with tracing.firing(name):
                async with self._database.translated(), self._submitter.transaction():
                    verdicts = await self._decide(name)
        except ServerUnavailable:
            raise
        except Exception as error:
            log.exception(
                "a schedule failed to fire because of an unexpected error; it continues with its next time",
                extra={"schedule": name},
            )
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
        """Submit the due times of a schedule and return their outcomes.

        If the contract refuses the parameters, the outcome is "failed", and the schedule continues
        with its next time.
        """
        try:
            work = self._firing.work_of(row)
        except OftenError as error:
            return [("failed", await self._refuse(row["name"], times, error))]
        skipped: Sequence[datetime] = []
        if row["overlap"] == "skip":
            earlier = await self._firing.unfinished(row)
            times, skipped = ([], times) if earlier else (times[:1], times[1:])
            detail = "an earlier nominal time fires in the same round"
            if earlier:
                detail = f"{earlier.kind} {earlier.id} of an earlier nominal time has not ended"
            skipped = await self._record(row["name"], "skipped_overlap", skipped, detail)
        return [*await self._submit(row, work, times), ("skipped_overlap", skipped)]

    async def _submit(
        self, row: Mapping[str, Any], work: Work, times: Sequence[datetime]
    ) -> list[tuple[str, Sequence[datetime]]]:
        """Submit the task or workflow for each of these times.

        Tasks are submitted together, because their parameters are the same. Workflows are submitted
        one by one: the first of them may hold the unique key that the others need.
        """
        fired: list[datetime] = []
        refused: list[datetime] = []
        for share in [times] if isinstance(work, TaskToFire) else [[time] for time in times]:
            try:
                async with self._database.all_or_nothing():
                    fired += await self._firing.fire(row, work, share)
            except Refused as error:
                refused += await self._refuse(row["name"], share, error)
        return [("submitted", fired), ("failed", refused)]

    async def _refuse(self, name: str, times: Sequence[datetime], error: OftenError) -> Sequence[datetime]:
        """Record that nothing could be submitted for these times."""
        text = "a schedule could not submit its task or workflow; it continues with its next time: %s"
        log.error(text, error, extra={"schedule": name})
        return await self._record(name, "failed", times, str(error))

    async def _note_failure(self, name: str, error: Exception) -> list[Verdict]:
        """Record an unexpected error as the outcome, and continue with the schedule's next time.

        If the timing of the schedule cannot be read, it has no next time and is switched off.
        """
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
