"""Workflows as their readers see them, within the limits that rights.py sets."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from services.api.http import paging
from services.api.identity.rights import Reach, Reader
from services.api.reads import Reads
from services.api.tasks.ledger_view import LedgerView
from services.api.tasks.schemas import TaskPage
from services.api.workflows.refusals import WorkflowNotFound
from services.api.workflows.schemas import StepAnswer, WorkflowAnswer, WorkflowGraph, WorkflowPage
from shared.ledger.database import Database
from shared.ledger.statement import Statement

_COLUMNS = """
    id, name, status, owner, on_failure, unique_key AS "unique", open_steps, created_at, completed_at,
    deadline_at, cancel_requested_at, run, parent, schedule, fire_time, revision
"""
_VISIBLE = "(:owner::bigint IS NULL OR owner = :owner::bigint)"
FIND = Statement(f"SELECT {_COLUMNS} FROM workflow WHERE id = :id AND {_VISIBLE}")
PAGE = Statement(f"""
    SELECT {_COLUMNS} FROM workflow
    WHERE {_VISIBLE} AND id < :before AND (:status::text IS NULL OR status = :status::text)
      AND (:name::text IS NULL OR name = :name::text)
    ORDER BY id DESC LIMIT :limit
""")
#: Joined by the id of a single step's task: a search by workflow and step would probe each day's partition.
#: The task of a step that waits again is still as its former run has left it.
STEPS = Statement("""
    SELECT s.name AS step, s.contract AS task, s.needs, s.rule, s.handler, s.state,
           CASE WHEN s.grouped THEN s.size END AS members, s.succeeded, s.failed, s.revoked,
           CASE WHEN s.state NOT IN ('waiting', 'skipped') THEN s.started_at END AS started_at,
           s.completed_at, s.task AS task_id, t.status AS task_status, t.attempt, t.error_kind
    FROM workflow_step AS s LEFT JOIN task AS t ON t.id = s.task
    WHERE s.workflow = :id ORDER BY s.position
""")

LAST_ID = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowFilter:
    """What a reader asks for; None is everything."""

    status: str | None = None
    name: str | None = None


class WorkflowView:
    """Reads workflows for the API."""

    def __init__(self, database: Database, reads: Reads, ledger: LedgerView) -> None:
        self._database = database
        self._reads = reads
        self._ledger = ledger

    async def find(self, workflow_id: UUID, reader: Reader) -> WorkflowAnswer:
        """Raises WorkflowNotFound, also for a workflow that the reader may not see."""
        rows = await self._database.run(FIND, id=workflow_id, owner=_owner(reader))
        if not rows:
            raise WorkflowNotFound(workflow_id)
        return WorkflowAnswer(**rows[0])

    async def graph(self, workflow_id: UUID, reader: Reader) -> WorkflowGraph:
        found = await self.find(workflow_id, reader)
        steps = [StepAnswer(**row) for row in await self._database.run(STEPS, id=workflow_id)]
        return WorkflowGraph(**{name: getattr(found, name) for name in found.__struct_fields__}, steps=steps)

    async def page(
        self, reader: Reader, wanted: WorkflowFilter, *, limit: int, cursor: str | None
    ) -> WorkflowPage:
        """Newest first. Raises ReadTooSlow."""
        before = LAST_ID if cursor is None else UUID(bytes=paging.decode(cursor, 16))
        values: dict[str, Any] = {"owner": _owner(reader), "before": before, "limit": limit + 1}
        rows = await self._reads.run(PAGE, status=wanted.status, name=wanted.name, **values)
        items = [WorkflowAnswer(**row) for row in rows[:limit]]
        return WorkflowPage(items, paging.encode(items[-1].id.bytes) if len(rows) > limit else None)

    async def members(
        self, workflow_id: UUID, step: str, reader: Reader, *, limit: int, cursor: str | None
    ) -> TaskPage:
        """Tasks of a step in their order. Raises WorkflowNotFound."""
        await self.find(workflow_id, reader)
        after = -1 if cursor is None else int.from_bytes(paging.decode(cursor, 4))
        return await self._ledger.members(workflow_id, step, reader, limit=limit, after=after)


def _owner(reader: Reader) -> int | None:
    return None if reader.reach is Reach.ALL else reader.id
