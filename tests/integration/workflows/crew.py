"""Simulates workers by running the platform's statements on a real ledger, and checks after each
statement what must always hold.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec

from services.api.workflows.retries import Retries
from services.api.workflows.schemas import RetryBody
from services.scheduler.rescuer import VERDICT
from services.worker.recording.record import Row, columns
from shared.contracts.catalogue import Catalogue
from shared.ledger.database import Database
from shared.ledger.lifecycle import FINAL
from shared.ledger.transitions import expire, operate, record, rescue, send
from shared.ledger.transitions import workflow as transitions
from shared.vault import Vault
from shared.workflows import advance as advancing
from shared.workflows.refusals import RetryRefused
from shared.workflows.retry import Handlers
from shared.workflows.states import Step
from tests.sample_tasks import TASKS

WORKER = """
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key, protocol)
    VALUES ({}, 'test', 1, '{{default}}', 8, {}, 1)
"""
WAITING = "num_nonnulls(send_at, sent_at) > 0"
#: For each workflow step, compares its stored counts plus the events that are not applied yet with
#: its tasks by status. The tasks of a step that was reset by a retry do not count.
COUNTS = """
    SELECT s.workflow, s.name, s.size, s.started_at IS NOT NULL AS begun,
        ARRAY[s.succeeded + coalesce(e.succeeded, 0), s.failed + coalesce(e.failed, 0),
              s.revoked + coalesce(e.revoked, 0)] AS counted,
        ARRAY[count(t.id) FILTER (WHERE t.status = 'success' AND s.state NOT IN ('waiting', 'skipped')),
              count(t.id) FILTER (WHERE t.status = 'failure' AND s.state NOT IN ('waiting', 'skipped')),
              count(t.id) FILTER (WHERE t.status = 'revoked' AND s.state NOT IN ('waiting', 'skipped'))]
        AS found,
        count(t.id) FILTER (WHERE t.completed_at IS NULL AND s.state IN ('waiting', 'skipped')) AS too_early,
        count(t.id) AS tasks, count(DISTINCT coalesce(t.member, 0)) FILTER (WHERE t.id IS NOT NULL) AS members
    FROM workflow_step AS s LEFT JOIN task AS t ON t.workflow = s.workflow AND t.step = s.name LEFT JOIN (
        SELECT workflow, step, sum(succeeded) AS succeeded, sum(failed) AS failed, sum(revoked) AS revoked
        FROM workflow_event GROUP BY workflow, step
    ) AS e ON e.workflow = s.workflow AND e.step = s.name
    GROUP BY s.workflow, s.name, e.succeeded, e.failed, e.revoked
"""
#: Selects workflows for which a retry was accepted but not carried out yet.
ABOUT_TO_RUN = "SELECT workflow FROM workflow_event WHERE kind IN ('repeat', 'mend', 'reopened')"
#: Selects failed tasks without a row in `task_failure`, and rows in it without a failed task. There
#: must be none.
WRONG_FAILURES = """
    SELECT 1 FROM (SELECT id FROM task WHERE status = 'failure') AS t
    FULL JOIN task_failure AS f ON f.task_id = t.id
    WHERE t.id IS NULL OR f.task_id IS NULL
"""
#: Selects workflows whose status does not fit the tasks that they have, although no events are
#: waiting to be applied. There must be none.
WRONG_ENDS = """
    SELECT w.id, w.status, count(t.id) FILTER (WHERE t.completed_at IS NULL) AS open_tasks
    FROM workflow AS w LEFT JOIN task AS t ON t.workflow = w.id
    WHERE NOT EXISTS (SELECT 1 FROM workflow_event AS e WHERE e.workflow = w.id)
    GROUP BY w.id
    HAVING (w.completed_at IS NULL) <> (count(t.id) FILTER (WHERE t.completed_at IS NULL) > 0)
"""


class Died(Exception):
    """Raised in place of the death of a process."""


class Dying:
    """A database connection of a process that dies before the commit, after it has written all that
    the advance decided.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def run(self, sql: Any, *values: Any, **named: Any) -> list[dict[str, Any]]:
        rows = await self._database.run(sql, *values, **named)
        if sql is transitions.APPLY:
            raise Died
        return rows


class Paused:
    """A database connection with which an advance of workflows pauses after it has read the
    events.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.taken, self.go_on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def run(self, sql: Any, *values: Any, **named: Any) -> list[dict[str, Any]]:
        rows = await self._database.run(sql, *values, **named)
        if sql is transitions.TAKE:
            self.taken.set()
            await self.go_on.wait()
        return rows


class Crew:
    """One simulated worker at a time. If it dies, another one takes its place."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.worker = uuid4()
        self.retries = Retries(database, Catalogue([task.contract for task in TASKS.values()]), Vault())

    async def run(self, sql: Any, *values: Any, **named: Any) -> list[dict[str, Any]]:
        return await self.database.run(sql, *values, **named)

    async def begin(self) -> None:
        await self.run(WORKER, self.worker, self.worker.int >> 66)

    async def tasks(self, where: str) -> list[dict[str, Any]]:
        return await self.run(f"SELECT * FROM task WHERE {where} ORDER BY workflow, step, member")

    async def claim(self, ids: Iterable[UUID]) -> None:
        await self.run(send.CLAIM, worker=self.worker, id=sorted(ids))

    async def end(
        self, tasks: Sequence[dict[str, Any]], statuses: Sequence[str], *, result: str = "{}"
    ) -> None:
        """Record outcomes of tasks.

        Tasks with the status `retry` or `pending` wait in Postgres again.
        """
        await self.write([_row(task, status, result) for task, status in zip(tasks, statuses, strict=True)])

    async def write(self, rows: Sequence[Row]) -> None:
        if rows:
            ordered = sorted(rows, key=lambda row: row.id)
            values = {name: record.sparse(column) for name, column in columns(ordered).items()}
            await self.run(record.RECORD, worker=self.worker, **values)

    async def complete(self, task: dict[str, Any]) -> None:
        """Complete a task inside a transaction, as a body does that calls `complete_in`."""
        now = datetime.now(UTC)
        async with self.database.transaction():
            await self.run(
                record.COMPLETE,
                id=task["id"],
                claim=task["claim"],
                worker=self.worker,
                attempt=1,
                started_at=now,
                ended_at=now,
                execution_s=0.0,
                result="{}",
                key_id=None,
                trace_context=None,
            )

    async def die(self, *, crash_limit: int) -> None:
        """Let the worker die, and rescue its tasks.

        They count as running suspects (tasks whose worker died), so they may reach the crash limit.
        """
        await self.run("UPDATE task SET status = 'started', suspect = true WHERE holder = {}", self.worker)
        await self.run("UPDATE worker SET dead_at = now() WHERE id = {}", self.worker)
        await self.run(rescue.RESCUE_FROM, workers=[self.worker], **{**VERDICT, "crash_limit": crash_limit})
        self.worker = uuid4()
        await self.begin()

    async def expire(self, task: dict[str, Any]) -> None:
        await self.run("UPDATE task SET expires_at = now() - interval '1 s' WHERE id = {}", task["id"])
        await self.run(expire.EXPIRE, limit=10, error_kind="expired", error_message="late")

    async def cancel(self, task: dict[str, Any]) -> None:
        await self.run(operate.CANCEL, id=task["id"])

    async def retry(self, task: dict[str, Any], handlers: Handlers = Handlers.KEEP) -> bool:
        """Retry a task as the API does. Returns whether the retry was accepted."""
        try:
            async with self.database.short_transaction():
                choice = await self.retries.choose_for_task(task["workflow"], task["step"], handlers)
                if not await self.run(
                    operate.RETRY, id=task["id"], reason="by hand", delay_s=None, **operate.UNEDITED
                ):
                    return False
                await self.retries.note(task["workflow"], choice)
                return True
        except RetryRefused:
            return False

    async def retry_workflow(self, workflow: UUID, body: RetryBody) -> bool:
        """Retry a workflow as the API does. Returns whether the retry was accepted."""
        try:
            async with self.database.short_transaction():
                await self.retries.accept(workflow, body)
                return True
        except RetryRefused:
            return False

    async def cancel_workflow(self, workflow: UUID) -> None:
        await self.run(transitions.REQUEST_CANCEL, id=workflow)

    async def pass_deadline(self, workflow: UUID) -> None:
        await self.run("UPDATE workflow SET deadline_at = now() - interval '1 s' WHERE id = {}", workflow)
        await self.run(transitions.NOTE_DEADLINES, limit=10)

    async def advance(self) -> advancing.Advanced:
        """Advance once each workflow that has events."""
        return await advancing.advance(self.database, await self._pending())

    async def advance_cut_off(self) -> None:
        """Advance the workflows in a process that dies before the commit, so that nothing
        changes.
        """
        ids = await self._pending()
        dying: Any = Dying(self.database)
        with contextlib.suppress(Died):
            await advancing.advance(dying, ids)

    async def _pending(self) -> list[UUID]:
        (row,) = await self.run(transitions.PENDING, after=0, limit=1_000)
        return list(row["workflows"])

    async def steps(self, workflow: UUID) -> list[Step]:
        (row,) = await self.run(transitions.ALL_STEPS, id=[workflow])
        return msgspec.json.decode(row["steps"], type=list[Step])

    async def check(self) -> None:
        """Check what must hold in the ledger after every statement."""
        for row in await self.run(COUNTS):
            assert row["counted"] == row["found"], "counts and open events are the tasks by status"
            assert row["tasks"] == row["members"] == (row["size"] if row["begun"] else 0)
            assert not row["too_early"], "tasks of a step that waits do not run"
        assert not await self.run(WRONG_ENDS)
        assert not await self.run(WRONG_FAILURES), "task_failure has a row for each failed task and no other"
        about_to_run = {row["workflow"] for row in await self.run(ABOUT_TO_RUN)}
        for flow in await self.run("SELECT * FROM workflow"):
            steps = await self.steps(flow["id"])
            assert flow["open_steps"] == sum(step.open for step in steps)
            assert flow["losses"] == sum(step.is_loss for step in steps)
            assert (flow["completed_at"] is None) == (flow["status"] == "running")
            runs = flow["open_steps"] > 0 or flow["id"] in about_to_run
            assert (flow["status"] == "running") == runs


def _row(task: dict[str, Any], status: str, result: str) -> Row:
    now = datetime.now(UTC)
    return Row(
        task["id"],
        task["claim"],
        status,
        True,
        task["attempt"] + 1,
        0,
        started_at=now,
        ended_at=now,
        wait_s=None if status in FINAL else 0.0,
        result=result if status == "success" else None,
    )


async def emptied(url: str) -> None:
    """Delete all workflows and tasks, so that nothing of the previous random example is left."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "TRUNCATE task, task_attempt, task_failure, workflow, workflow_step, workflow_event, worker"
    )
    await connection.close()
