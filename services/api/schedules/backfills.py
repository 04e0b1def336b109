"""Backfills a schedule: submits the tasks for nominal times that were missed, once for each time.

A nominal time is a time at which the schedule is due. Each firing has a record, which prevents
duplicates: the scheduler and a backfill both insert the record in the transaction that submits the
task. Whichever inserts it first submits the task, and the other one does nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Any
from uuid import UUID

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.trail import Target
from services.api.identity.rights import Reader
from services.api.schedules.refusals import ScheduleRunsAlone, ScheduleStillRunning
from services.api.schedules.schedules import Schedules
from services.api.schedules.schemas import Backfill, BackfillBody, BackfillTime
from shared.errors import FieldProblem, InvalidFields
from shared.ledger.database import Database
from shared.schedules import firing as scheduling
from shared.schedules import statements
from shared.schedules.firing import TaskToFire
from shared.submission import Submitter

#: Maximum number of nominal times that one backfill of a task schedule may cover. One statement
#: stores all their tasks.
MAX_TIMES = 1_000
#: Maximum number of nominal times that one backfill of a workflow schedule may cover. The limit is
#: lower because starting a workflow takes several statements.
MAX_WORKFLOWS = 50
#: Maximum age of a nominal time that can be backfilled. Records of firings are deleted after 30
#: days, so for earlier times it is unknown whether something was submitted.
MAX_AGE = timedelta(days=29)

_TICK = timedelta(microseconds=1)
#: Nominal times before this one are not computed: no schedule was ever due then, and at the beginning
#: of the year 1 the calculation would fail.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Backfills:
    """Previews and submits backfills for the backfill route."""

    def __init__(self, database: Database, submitter: Submitter, schedules: Schedules) -> None:
        self._database = database
        self._submitter = submitter
        self._schedules = schedules

    async def preview(self, name: str, body: BackfillBody) -> Backfill:
        """List the nominal times in the requested time span without submitting anything.

        Raises ScheduleNotFound or InvalidFields.
        """
        async with self._database.short_transaction():
            row = await self._schedules.locked(name)
            times = _times(row, body)
            fired = await self._fired(name, body)
        missing = len(times) - len(fired.keys() & set(times))
        return _answer(times, fired, {}, missing, "Nothing was submitted.")

    async def submit(self, name: str, body: BackfillBody, reader: Reader) -> Backfill:
        """Submit the tasks that are missing in the requested time span.

        Raises the same errors as `preview`, and ScheduleRunsAlone, ScheduleStillRunning, NotAllowed
        and UnknownAccount.
        """
        async with self._submitter.short_transaction():
            row = await self._schedules.locked(name)
            times = _times(row, body)
            fired = await self._fired(name, body)
            missing = [time for time in times if time not in fired]
            work = self._schedules.work_of(row)
            if isinstance(work, TaskToFire):
                await self._schedules.check_recipient(work.contract, work.params, reader)
            await self._check_overlap(row, missing)
            new = await self._schedules.firing.backfill(row, work, missing, by=reader.id)
            after = {"from": body.start, "to": body.end, "submitted": len(new)}
            after |= {"task_name": row["task_name"], "workflow": row["workflow"]}
            target = Target("schedule", name)
            await trail.record(
                self._database,
                reader.describe(),
                Action.SCHEDULE_BACKFILLED,
                target,
                after=after,
                reason=body.reason,
            )
        return _answer(
            times, fired, _linked(row, new), len(new), f"GET /api/v1/schedules/{name}/firings shows them."
        )

    async def _fired(self, name: str, body: BackfillBody) -> dict[datetime, Mapping[str, Any]]:
        """Read the recorded firings within the requested time span that submitted a task or
        workflow.
        """
        rows = await self._database.run(statements.FIRED, schedule=name, first=body.start, last=body.end)
        return {row["fire_time"]: row for row in rows}

    async def _check_overlap(self, row: Mapping[str, Any], missing: Sequence[datetime]) -> None:
        if row["overlap"] != "skip" or not missing:
            return
        if len(missing) > 1:
            raise ScheduleRunsAlone(row["name"], len(missing))
        if running := await self._schedules.firing.unfinished(row):
            raise ScheduleStillRunning(running.kind, running.id)


def _times(row: Mapping[str, Any], body: BackfillBody) -> list[datetime]:
    """Compute the schedule's nominal times within the requested time span. Raises InvalidFields."""
    if problems := [*_broken(body, row["now"])]:
        raise InvalidFields(problems)
    most = MAX_TIMES if row["workflow"] is None else MAX_WORKFLOWS
    firings = scheduling.timing_of(row).firings(max(body.start, _EPOCH) - _TICK, start=row["starts_at"])
    times = list(islice(takewhile(lambda time: time < body.end, firings), most + 1))
    if times and times[0] < row["now"] - MAX_AGE:
        rule = f"must be later: the records of firings are deleted after {MAX_AGE.days} days"
        raise InvalidFields([FieldProblem("from", rule)])
    if len(times) > most:
        rule = f"must end earlier: the span has more than {most} times; {times[most].isoformat()} is the next"
        raise InvalidFields([FieldProblem("to", rule)])
    return times


def _broken(body: BackfillBody, now: datetime) -> list[FieldProblem]:
    problems = []
    if body.end > now:
        problems.append(FieldProblem("to", "must not be in the future"))
    if body.end <= body.start:
        problems.append(FieldProblem("to", "must be later than from"))
    return problems


def _linked(row: Mapping[str, Any], new: Mapping[datetime, UUID]) -> dict[datetime, Mapping[str, Any]]:
    column, other = "task_id", "workflow_id"
    if row["workflow"] is not None:
        column, other = other, column
    return {time: {column: work_id, other: None} for time, work_id in new.items()}


def _answer(
    times: Sequence[datetime],
    fired: Mapping[datetime, Mapping[str, Any]],
    new: Mapping[datetime, Mapping[str, Any]],
    number: int,
    message: str,
) -> Backfill:
    nothing = {"task_id": None, "workflow_id": None}
    shown = [
        BackfillTime(time, time in fired, linked["task_id"], linked["workflow_id"])
        for time in times
        for linked in [fired.get(time) or new.get(time) or nothing]
    ]
    return Backfill(shown, number, message)
