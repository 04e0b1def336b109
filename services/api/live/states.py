"""Reads the current states of watched tasks and workflows, many of them in one statement."""

import asyncio
from collections.abc import Collection
from typing import Any
from uuid import UUID

from shared.ledger.database import Database, in_fresh_context
from shared.ledger.statement import Statement
from shared.ledger.transitions.changed import CHANGED
from shared.transport.events import TaskChange

TASKS = Statement(f"SELECT {CHANGED} FROM task WHERE id = ANY(:id::uuid[])")
WORKFLOWS = Statement("""
    SELECT id, name, status, revision, open_steps, completed_at, cancel_requested_at FROM workflow
    WHERE id = ANY(:id::uuid[])
""")

Found = TaskChange | Exception | None


class States:
    """Reads the states of tasks and workflows from Postgres. A lone query is sent immediately;
    queries that arrive while one is in progress share the next statement.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[UUID, asyncio.Future[Found]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def of(self, task_id: UUID) -> TaskChange | None:
        """Return the current state of a task, or None if it does not exist. Raises
        ServerUnavailable.
        """
        found = self._waiting.setdefault(task_id, asyncio.get_running_loop().create_future())
        if self._reading is None:
            self._reading = asyncio.create_task(in_fresh_context(self._answer_all()))
        answer = await asyncio.shield(found)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def tasks(self, ids: Collection[UUID]) -> dict[UUID, TaskChange]:
        """Return the current states of several tasks. Raises ServerUnavailable."""
        rows = await self._database.run(TASKS, id=list(ids)) if ids else []
        changes = (TaskChange.from_row(row) for row in rows)
        return {change.id: change for change in changes}

    async def workflows(self, ids: Collection[UUID]) -> dict[UUID, dict[str, Any]]:
        """Return the rows of several workflows. Raises ServerUnavailable."""
        rows = await self._database.run(WORKFLOWS, id=list(ids)) if ids else []
        return {row["id"]: row for row in rows}

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, {}
                await self._answer(waiting)
        finally:
            self._reading = None

    async def _answer(self, waiting: dict[UUID, "asyncio.Future[Found]"]) -> None:
        try:
            found = await self.tasks(waiting)
        except Exception as error:  # noqa: BLE001 - the requests wait for it, whatever it is
            for future in waiting.values():
                future.set_result(error)
        else:
            for task_id, future in waiting.items():
                future.set_result(found.get(task_id))
