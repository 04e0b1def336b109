"""Fires schedules: reads rows of the table `schedule` and submits their tasks or workflows, for the
scheduler and the API.

A nominal time is a time at which a schedule should fire.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Contract, P, Params
from shared.errors import FieldProblem, InvalidFields
from shared.ledger.database import Database
from shared.new_task import NewTask
from shared.schedules import statements as schedules
from shared.schedules.timetable import Misfire, Policy, Timing
from shared.submission import Submitter
from shared.vault import Vault
from shared.workflows.scheduled import Schedules, WorkflowSchedule
from shared.workflows.submission import Origin, WorkflowSubmitter

#: Columns of `schedule` that determine its nominal times.
TIMING = frozenset({"kind", "expression", "time_zone", "jitter_s"})


@dataclass(frozen=True, slots=True)
class TaskToFire:
    """A task that a schedule submits. Its parameters are valid for the current version of its
    contract.
    """

    contract: Contract[Any, Any]
    params: Params


#: What a schedule submits when it fires: a task or a workflow.
Work = TaskToFire | WorkflowSchedule


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A task or workflow that an earlier firing of a schedule has submitted and that has not
    ended.
    """

    #: Either "task" or "workflow".
    kind: str
    id: UUID


def encode_params(
    vault: Vault, contract: Contract[P, Any], params: P, name: str, owner: int | None = None
) -> str:
    """Encode parameters as JSON for `schedule.params`, with sensitive fields encrypted. Raises
    InvalidFields.
    """
    return vault.seal_params(contract, params, name, owner).text


def timing_of(row: Mapping[str, Any]) -> Timing:
    """Parse the timing of a schedule's row. Raises InvalidFields, for example if its time zone is
    no longer in the time zone database.
    """
    return Timing(row["kind"], row["expression"], row["time_zone"], row["jitter_s"])


def policy_of(row: Mapping[str, Any]) -> Policy:
    return Policy(Misfire(row["misfire"]), row["misfire_grace_s"], row["catch_up_s"])


class Firing:
    """Submits the tasks and workflows of schedules. Create one per event loop."""

    def __init__(
        self,
        database: Database,
        submitter: Submitter,
        vault: Vault,
        catalogue: Catalogue,
        workflows: Schedules,
    ) -> None:
        self._database = database
        self._submitter = submitter
        self._vault = vault
        self._catalogue = catalogue
        self._workflows = workflows
        self._workflow_submitter = WorkflowSubmitter(database, submitter, vault)

    def work_of(self, row: Mapping[str, Any]) -> Work:
        """The task or workflow that a schedule's row submits, as the current code defines it.
        Raises InvalidFields, UnknownTask or VaultError.
        """
        if row["workflow"] is None:
            contract = self._catalogue.get_stored(row["task_name"])
            params, _ = self._vault.open_params(contract, row["params"], row["name"], row["owner"])
            return TaskToFire(contract, params)
        if row["name"] not in self._workflows:
            rule = f"no code declares the schedule {row['name']} of the workflow {row['workflow']} any more"
            raise InvalidFields([FieldProblem("workflow", rule)])
        return self._workflows[row["name"]]

    async def unfinished(self, row: Mapping[str, Any]) -> Unfinished | None:
        """The oldest task or workflow of the schedule that has not ended. None if there is none."""
        is_task = row["workflow"] is None
        statement = schedules.UNFINISHED if is_task else schedules.UNFINISHED_WORKFLOW
        rows = await self._database.run(statement, schedule=row["name"])
        return Unfinished("task" if is_task else "workflow", UUID(int=rows[0]["id"].int)) if rows else None

    async def fire(
        self, row: Mapping[str, Any], work: Work, times: Sequence[datetime], *, by: int | None = None
    ) -> dict[datetime, UUID]:
        """Submit the schedule's task or workflow once for each of these nominal times, except times
        that have a firing record already. Returns the submitted times with the ids of their tasks
        or workflows.

        `by` is the account of the operator who fires the schedule by hand; the submission is then
        not delayed by jitter.

        The caller must have locked the schedule's row, and read `now` with it, in a transaction of
        the submitter. The firing records and the tasks are then committed together.
        """
        self._database.note_time(row["now"])
        detail = None if by is None else f"fired by account {by}"
        new = await schedules.record(self._database, row["name"], "submitted", times, detail)
        return await self._submit(row, work, new, jitters=by is None)

    async def backfill(
        self, row: Mapping[str, Any], work: Work, times: Sequence[datetime], *, by: int
    ) -> dict[datetime, UUID]:
        """Submit for these nominal times at an operator's request, including times that were
        skipped or have failed.
        """
        self._database.note_time(row["now"])
        rows = await self._database.run(
            schedules.RECORD_BACKFILL,
            schedule=row["name"],
            fire_time=list(times),
            detail=f"backfilled by account {by}",
        )
        return await self._submit(row, work, [each["fire_time"] for each in rows], jitters=False)

    async def _submit(
        self, row: Mapping[str, Any], work: Work, times: Sequence[datetime], *, jitters: bool
    ) -> dict[datetime, UUID]:
        if isinstance(work, TaskToFire):
            return await self._submit_tasks(row, work, times, jitters=jitters)
        return await self._begin_workflows(row, work, times, jitters=jitters)

    async def _submit_tasks(
        self, row: Mapping[str, Any], work: TaskToFire, times: Sequence[datetime], *, jitters: bool
    ) -> dict[datetime, UUID]:
        name, timing = row["name"], timing_of(row)
        tasks = [
            NewTask(
                contract=work.contract,
                params=work.params,
                owner=row["owner"],
                priority=row["priority"],
                # A task without `run_at` is pushed to its Redis list immediately after the commit.
                # Jitter needs `run_at`.
                run_at=time + timing.jitter(name, time) if timing.jitter_s and jitters else None,
                schedule=name,
                fire_time=time,
            )
            for time in times
        ]
        ids = await self._submitter.submit(tasks) if tasks else []
        await self._database.run(schedules.LINK_TASKS, schedule=name, fire_time=list(times), task_id=ids)
        return dict(zip(times, ids, strict=True))

    async def _begin_workflows(
        self, row: Mapping[str, Any], work: WorkflowSchedule, times: Sequence[datetime], *, jitters: bool
    ) -> dict[datetime, UUID]:
        name, timing = row["name"], timing_of(row)
        ids: list[UUID] = []
        for time in times:
            wait = time + timing.jitter(name, time) - row["now"] if jitters else timedelta(0)
            graph = work.graph(row["priority"], max(wait, timedelta(0)))
            origin = Origin(schedule=name, fire_time=time)
            ids.append(await self._workflow_submitter.submit(graph, origin=origin))
        await self._database.run(
            schedules.LINK_WORKFLOWS, schedule=name, fire_time=list(times), workflow_id=ids
        )
        return dict(zip(times, ids, strict=True))
