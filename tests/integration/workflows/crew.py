"""Workers without processes: statements of the book on a real ledger, and what must hold after each."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec

from services.scheduler.rescuer import VERDICT
from services.worker.recording.record import Row, columns
from shared.ledger.database import Database
from shared.ledger.lifecycle import FINAL
from shared.ledger.transitions import expire, operate, record, rescue, send
from shared.ledger.transitions import workflow as transitions
from shared.workflows import advance as advancing
from shared.workflows.reference import PREVIOUS
from shared.workflows.shapes import chord
from shared.workflows.states import Step
from shared.workflows.submission import WorkflowSubmitter
from shared.workflows.workflow import Workflow
from tests.platform import Platform
from tests.sample_tasks import ADD, COUNT, INSTANT, Nothing, Number, Numbers
from tests.workflow_counts import COUNTS, WRONG_ENDS

WORKER = """
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key, protocol)
    VALUES ({}, 'test', 1, '{{default}}', 8, {}, 1)
"""
WAITING = "num_nonnulls(send_at, sent_at) > 0"
MAX_ROUNDS = 100


class Crew:
    """One worker at a time; a dead one is replaced."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.worker = uuid4()

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
        """Record outcomes; `retry` and `pending` go back to Postgres."""
        await self.write([_row(task, status, result) for task, status in zip(tasks, statuses, strict=True)])

    async def write(self, rows: Sequence[Row]) -> None:
        if rows:
            ordered = sorted(rows, key=lambda row: row.id)
            values = {name: record.sparse(column) for name, column in columns(ordered).items()}
            await self.run(record.RECORD, worker=self.worker, **values)

    async def complete(self, task: dict[str, Any]) -> None:
        """`complete_in`, in a transaction of the body."""
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
            )

    async def die(self, *, crash_limit: int) -> None:
        """The worker's tasks are taken back; suspects that ran may have reached the limit."""
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

    async def retry(self, task: dict[str, Any]) -> None:
        await self.run(operate.RETRY, id=task["id"], reason="by hand")

    async def retry_workflow(self, workflow: UUID) -> None:
        await self.run(operate.RETRY_MEMBERS, workflow=workflow, reason="by hand", limit=100)

    async def cancel_workflow(self, workflow: UUID) -> None:
        await self.run(transitions.REQUEST_CANCEL, id=workflow)

    async def pass_deadline(self, workflow: UUID) -> None:
        await self.run("UPDATE workflow SET deadline_at = now() - interval '1 s' WHERE id = {}", workflow)
        await self.run(transitions.NOTE_DEADLINES, limit=10)

    async def advance(self) -> advancing.Advanced:
        """Everything that has events, once."""
        return await advancing.advance(self.database, await self._pending())

    async def advance_cut_off(self) -> None:
        """An advance whose process dies before the commit."""
        ids = await self._pending()
        connection = await self.database.connect()
        try:
            await connection.execute("BEGIN")
            for statement in (transitions.LOCK, transitions.TAKE):
                await connection.fetch(statement.sql, *statement.values({"id": ids}))
        finally:
            await connection.close()

    async def _pending(self) -> list[UUID]:
        (row,) = await self.run(transitions.PENDING, after=0, limit=1_000)
        return list(row["workflows"])

    async def steps(self, workflow: UUID) -> list[Step]:
        (row,) = await self.run(transitions.ALL_STEPS, id=[workflow])
        return msgspec.json.decode(row["steps"], type=list[Step])

    async def check(self) -> None:
        """What holds between any two statements."""
        for row in await self.run(COUNTS):
            assert row["counted"] == row["found"], "counts and open events are the tasks by status"
            assert row["tasks"] == row["members"] == (row["size"] if row["begun"] else 0)
        assert not await self.run(WRONG_ENDS)
        for flow in await self.run("SELECT * FROM workflow"):
            steps = await self.steps(flow["id"])
            assert flow["open_steps"] == sum(step.open for step in steps)
            assert flow["losses"] == sum(step.is_loss for step in steps)
            assert (flow["completed_at"] is None) == (flow["status"] == "running") == (flow["open_steps"] > 0)


def submitter(platform: Platform) -> WorkflowSubmitter:
    return WorkflowSubmitter(platform.database, platform.submitter, platform.vault)


def single(**options: Any) -> Workflow:
    flow = Workflow("single", **options)
    flow.step(INSTANT, Nothing())
    return flow


def chord_of(size: int, **limits: Any) -> Workflow:
    flow = Workflow("chord")
    many = flow.group(COUNT, [Number(value=number) for number in range(size)], name="many", **limits)
    chord(many, flow.step(ADD, Numbers(values=PREVIOUS), name="body"))
    return flow


def steps_of(flow: Workflow, *names: str) -> list[Any]:
    return [flow.step(INSTANT, Nothing(), name=name) for name in names]


async def status(platform: Platform, workflow: UUID) -> str:
    (row,) = await platform.rows("SELECT status FROM workflow WHERE id = {}", workflow)
    return str(row["status"])


async def hold_all(crew: Crew) -> list[dict[str, Any]]:
    """Claim every task that waits. Returns those that are held."""
    await crew.claim(task["id"] for task in await crew.tasks(WAITING))
    return await crew.tasks("holder IS NOT NULL")


async def end_all(crew: Crew, outcome: str = "success") -> None:
    """Every task that waits or is held ends like this."""
    held = await hold_all(crew)
    await crew.end(held, [outcome] * len(held))


async def play(crew: Crew, **outcomes: str) -> None:
    """Until nothing is open: tasks of a step end as `outcomes` says, others succeed."""
    for _ in range(MAX_ROUNDS):
        held = await hold_all(crew)
        await crew.end(held, [outcomes.get(task["step"], "success") for task in held])
        await crew.advance()
        await crew.check()
        if not await crew.run("SELECT 1 FROM workflow WHERE completed_at IS NULL"):
            return
    raise AssertionError("a workflow does not end")


async def states(crew: Crew, workflow: UUID) -> dict[str, str]:
    """The verdicts of its steps."""
    return {step.name: str(step.state) for step in await crew.steps(workflow)}


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
    """No workflow and no task is left of the example before."""
    connection = await asyncpg.connect(url)
    await connection.execute("TRUNCATE task, task_attempt, workflow, workflow_step, workflow_event, worker")
    await connection.close()
