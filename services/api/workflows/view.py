"""Reads workflows in the form that the API returns, limited to what the caller's rights allow."""

from typing import Any
from uuid import UUID

from services.api.http import paging, texts
from services.api.identity.rights import Reader
from services.api.reads import Reads
from services.api.tasks.ledger_view import LedgerView
from services.api.tasks.schemas import TaskPage
from services.api.workflows.refusals import WorkflowNotFound
from services.api.workflows.schemas import StepAnswer, WorkflowAnswer, WorkflowGraph, WorkflowPage
from shared.ledger.database import Database
from shared.ledger.ids import LAST_ID
from shared.ledger.statement import Statement
from shared.ledger.workflow_filter import WorkflowFilter

_COLUMNS = """
    id, name, status, owner, on_failure, unique_key AS "unique", open_steps, created_at, completed_at,
    deadline_at, cancel_requested_at, run, parent, schedule, fire_time, revision
"""
_VISIBLE = "(:owner::bigint IS NULL OR owner = :owner::bigint)"
FIND = Statement(f"SELECT {_COLUMNS} FROM workflow WHERE id = :id AND {_VISIBLE}")
PAGE = Statement(f"""
    SELECT {_COLUMNS} FROM workflow
    WHERE {_VISIBLE} AND id < :before AND (:status::text[] IS NULL OR status = ANY(:status::text[]))
      AND (:name::text[] IS NULL OR name = ANY(:name::text[]))
    ORDER BY id DESC LIMIT :limit
""")
#: Reads the steps of a workflow. A step of a single task also has the task's id and state. If the
#: step waits to run again, the shown task is that of its previous run.
STEPS = Statement("""
    SELECT s.name AS step, s.contract AS task, s.needs, s.rule, s.handler, s.state,
           CASE WHEN s.grouped THEN s.size END AS members, s.succeeded, s.failed, s.revoked,
           CASE WHEN s.state NOT IN ('waiting', 'skipped') THEN s.started_at END AS started_at,
           s.completed_at, CASE WHEN NOT s.grouped THEN s.task END AS task_id, t.status AS task_status,
           t.attempt, t.error_kind
    FROM workflow_step AS s LEFT JOIN task AS t ON t.id = s.task AND NOT s.grouped
    WHERE s.workflow = :id ORDER BY s.position
""")
TRACE_CONTEXT = Statement("SELECT trace_context FROM workflow WHERE id = :id")
#: Reads the ids of the first and the last task of a step, which are null until it has begun.
TASKS_OF_STEP = Statement("""
    SELECT grouped, task, last_task FROM workflow_step WHERE workflow = :id AND name = :step
""")


class WorkflowView:
    """Reads workflows for the API."""

    def __init__(self, database: Database, reads: Reads, ledger: LedgerView) -> None:
        self._database = database
        self._reads = reads
        self._ledger = ledger

    async def find(self, workflow_id: UUID, reader: Reader) -> WorkflowAnswer:
        """Read one workflow.

        Raises WorkflowNotFound if it does not exist or the reader may not see it.
        """
        rows = await self._database.run(FIND, id=workflow_id, owner=reader.owned_by)
        if not rows:
            raise WorkflowNotFound(workflow_id)
        return WorkflowAnswer(**rows[0])

    async def graph(self, workflow_id: UUID, reader: Reader) -> WorkflowGraph:
        found = await self.find(workflow_id, reader)
        steps = [StepAnswer(**row) for row in await self._database.run(STEPS, id=workflow_id)]
        return WorkflowGraph(**{name: getattr(found, name) for name in found.__struct_fields__}, steps=steps)

    async def trace_context(self, workflow_id: UUID) -> str | None:
        """Return the trace span in which a workflow was submitted. None if it is not traced."""
        rows = await self._database.run(TRACE_CONTEXT, id=workflow_id)
        return rows[0]["trace_context"] if rows else None

    async def task_of(self, workflow_id: UUID, step: str) -> UUID | None:
        """Return the task id of a step that is a single task.

        Returns None if the step does not exist, is a group, or has not begun.
        """
        rows = await self._database.run(TASKS_OF_STEP, id=workflow_id, step=step)
        return rows[0]["task"] if rows and not rows[0]["grouped"] else None

    async def page(
        self, reader: Reader, wanted: WorkflowFilter, *, limit: int, cursor: str | None
    ) -> WorkflowPage:
        """Return a page of workflows, newest first. Raises ReadTooSlow."""
        before = LAST_ID if cursor is None else UUID(bytes=paging.decode(cursor, 16))
        values: dict[str, Any] = {"owner": reader.owned_by, "before": before, "limit": limit + 1}
        rows = await self._reads.run(PAGE, status=wanted.status, name=wanted.name, **values)
        items = [WorkflowAnswer(**row) for row in rows[:limit]]
        return WorkflowPage(items, paging.encode(items[-1].id.bytes) if len(rows) > limit else None)

    async def members(
        self, workflow_id: UUID, step: str, reader: Reader, *, limit: int, cursor: str | None
    ) -> TaskPage:
        """Return a page of the tasks of a step, ordered by their position in it. Raises
        WorkflowNotFound or InvalidFields.
        """
        texts.refuse_unstorable(step=step)
        await self.find(workflow_id, reader)
        after = -1 if cursor is None else paging.decode_number(cursor, 4)
        rows = await self._database.run(TASKS_OF_STEP, id=workflow_id, step=step)
        if not rows or rows[0]["last_task"] is None:
            return TaskPage([], None)
        first, last = (UUID(int=rows[0][name].int) for name in ("task", "last_task"))
        return await self._ledger.members(first, last, reader, limit=limit, after=after)
