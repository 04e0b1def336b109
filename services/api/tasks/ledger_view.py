"""Reads tasks in the form that the API returns, limited to what the caller's rights allow."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from services.api.http import paging
from services.api.http.refusals import TaskNotFinished
from services.api.identity.rights import Reader
from services.api.reads import Reads
from services.api.tasks import params_filter, wait_reason
from services.api.tasks.schemas import TaskAnswer, TaskPage, TaskResult
from services.api.tasks.search import Search
from shared.contracts.catalogue import Catalogue
from shared.errors import TaskNotFound
from shared.ledger import task_filter
from shared.ledger.database import Database
from shared.ledger.ids import moment_of
from shared.ledger.lifecycle import FINAL, Status
from shared.ledger.statement import Statement
from shared.ledger.task_filter import TaskFilter
from shared.ledger.task_tables import Task
from shared.vault import Vault, params_row

#: Columns that a list of tasks shows. Tracebacks are left out: those of 100 tasks would be 250 kB.
_LISTED = (
    Task.id,
    Task.name,
    Task.type,
    Task.status,
    Task.queue,
    Task.priority,
    Task.owner,
    Task.params,
    Task.result,
    Task.progress_current,
    Task.progress_total,
    Task.progress_message,
    Task.claim,
    Task.attempt,
    Task.max_attempts,
    Task.failures,
    Task.crashes,
    Task.interruptions,
    Task.error_kind,
    Task.error_message,
    Task.error_fingerprint,
    Task.created_at,
    Task.started_at,
    Task.completed_at,
    Task.execution_time_seconds,
    Task.send_at,
    Task.expires_at,
    Task.worker,
    Task.wait_reason,
    Task.cancel_requested_at,
    Task.revision,
    Task.workflow,
    Task.step,
    Task.member,
)
_COLUMNS = (*_LISTED, Task.error_traceback, Task.parent, Task.schedule, Task.fire_time, Task.trace_context)

#: Reads one task, and the reason why it waits if its queue is paused or no worker serves it. If
#: `owner` is null, the task may belong to any account. This is plain SQL, because building the
#: query with Piccolo would take three times as long as running it.
_ONE = Statement(f"""
    SELECT {", ".join(f't."{column._meta.db_column_name}"' for column in _COLUMNS)},
        {wait_reason.WHY} AS why
    FROM task AS t WHERE t.id = :id AND (:owner::bigint IS NULL OR t.owner = :owner::bigint)
""")


class LedgerView:
    """Reads tasks from the ledger (the tables in Postgres) for the API."""

    def __init__(self, database: Database, reads: Reads, catalogue: Catalogue, vault: Vault) -> None:
        self._database = database
        self._reads = reads
        self._catalogue = catalogue
        self._vault = vault

    def now(self) -> datetime:
        """Return the current time by Postgres' clock."""
        return self._database.now()

    async def find(self, task_id: UUID, reader: Reader) -> dict[str, Any]:
        """Read the row of a task.

        Raises TaskNotFound if the task does not exist or the reader may not see it.
        """
        rows = await self._database.run(_ONE, id=task_id, owner=reader.owned_by)
        if not rows:
            raise TaskNotFound(task_id)
        (row,) = rows
        if why := row.pop("why"):
            row["wait_reason"] = wait_reason.reason(why, row["queue"])
        return row

    async def page(self, reader: Reader, wanted: TaskFilter, *, limit: int, cursor: str | None) -> TaskPage:
        """Return a page of tasks, newest first. Raises InvalidFields.

        The search ends when its time limit is reached; the page then says how far back it got.
        """
        params_filter.refuse_sealed(wanted.params, wanted.name or (), self._catalogue)
        search = Search(
            self._reads,
            columns=_LISTED,
            conditions=[*wanted.conditions, *task_filter.owned(reader.owned_by)],
            lookups=wanted.lookups,
            ids=wanted.id_bounds,
            limit=limit + 1,
            below=None if cursor is None else UUID(bytes=paging.decode(cursor, 16)),
            is_filtered=wanted.is_filtered,
            is_indexed=wanted.is_indexed or reader.owned_by is not None,
        )
        if wanted.only_failures:
            found = await search.among_failures(wanted.failures(reader.owned_by))
        else:
            found = await search.everywhere(self._database.now())
        await wait_reason.explain(self._database, found.rows)
        items = [self.answer(row, reader) for row in found.rows[:limit]]
        if len(found.rows) > limit:
            return TaskPage(items, paging.encode(items[-1].id.bytes))
        if found.is_complete:
            return TaskPage(items, None)
        cursor, until = paging.encode(found.until.bytes), moment_of(found.until)
        return TaskPage(items, cursor, complete=False, searched_until=until)

    async def members(self, first: UUID, last: UUID, reader: Reader, *, limit: int, after: int) -> TaskPage:
        """Return a page of the tasks of a workflow step, ordered by their position in the step's
        group, which is also the order of their ids.

        `first` and `last` are the ids of the step's first and last task. The page begins behind the
        member with the number `after`. The caller must have checked that the reader may see the
        workflow. Raises ReadTooSlow.
        """
        start = UUID(int=first.int + max(0, after + 1))
        query = Task.select(*_LISTED).where(Task.id >= start).where(Task.id <= last)
        rows = await self._reads.select(query.order_by(Task.id).limit(limit + 1))
        await wait_reason.explain(self._database, rows)
        items = [self.answer(row, reader) for row in rows[:limit]]
        number = items[-1].member if items else None
        cursor = paging.encode_number(number, 4) if len(rows) > limit and number is not None else None
        return TaskPage(items, cursor)

    async def answers(self, ids: Sequence[UUID], reader: Reader) -> list[TaskAnswer]:
        """Return the tasks with these ids, of any owner, ordered by id. Raises ReadTooSlow."""
        query = Task.select(*_LISTED).where(Task.id.is_in(list(ids))).order_by(Task.id)
        return [self.answer(row, reader) for row in await self._reads.select(query)]

    def answer(self, row: dict[str, Any], reader: Reader) -> TaskAnswer:
        return TaskAnswer(
            id=row["id"],
            task_id=row["id"],
            task_name=row["name"],
            task_type=row["type"],
            params=self._document(row, "params", reader),
            result=self._document(row, "result", reader),
            progress_percentage=percentage(row),
            error_traceback=row.get("error_traceback") if reader.sees_tracebacks else None,
            scheduled_for=row["send_at"],
            **{field: row[field] for field in _SAME},
        )

    def result(self, row: dict[str, Any], reader: Reader) -> TaskResult:
        """Return the result of a task. Raises TaskNotFinished."""
        if row["status"] not in FINAL:
            raise TaskNotFinished(row["id"], row["status"])
        result = self._document(row, "result", reader)
        return TaskResult(row["id"], row["status"], result, row["error_kind"], row["error_message"])

    def _document(self, row: dict[str, Any], root: str, reader: Reader) -> Any:
        if row[root] is None:
            return None
        contract = self._catalogue.ever_by_name.get(row["name"])
        unmask = reader.may_unmask(row["owner"])
        bound_to = row["id"]
        if root == "params":
            bound_to = params_row(row["id"], row["workflow"], row["step"], row["member"])
        return self._vault.read(contract, root, row[root], bound_to, row["owner"], unmask=unmask)


#: Names that are both fields of the response and columns of the table, so their values can be
#: copied.
_SAME = frozenset(TaskAnswer.__struct_fields__) & {column._meta.name for column in _COLUMNS} - {
    "id",
    "params",
    "result",
    "error_traceback",
}


def percentage(row: Mapping[str, Any]) -> int:
    """Compute the progress of a task in percent, from 0 to 100."""
    if row["status"] == Status.SUCCESS:
        return 100
    return int(min(100, 100 * row["progress_current"] // row["progress_total"]))
