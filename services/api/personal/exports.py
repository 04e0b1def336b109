"""Exports everything that is stored about an account as one JSON document, which is read and sent
page by page.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from services.api.http.export_streams import ExportStreams
from services.api.identity.account_schemas import Account
from services.api.identity.rights import Reader
from services.api.reads import Reads
from services.api.schedules.schedule_view import ScheduleView
from services.api.tasks.ledger_view import LedgerView
from shared.ledger.statement import Statement
from shared.ledger.transitions import erase
from shared.personal.data import Rows
from shared.personal.directory import Directory

#: Maximum number of simultaneous exports in one process. Each export reads the whole ledger of
#: tasks once, and the pool has only four connections.
MAX_EXPORTS = 2
#: Number of rows that one statement of an export reads.
PAGE = 100
#: Number of tasks that one statement searches for places that contain the account's id.
STRETCH = 5_000

#: Reads attempts without their tracebacks, which show code and no personal data.
_ATTEMPTS = Statement("""
    SELECT task_id, claim, attempt, started_at, ended_at, outcome, execution_time_seconds, error_kind,
           error_message
    FROM task_attempt WHERE task_id = ANY(:ids::uuid[]) AND (task_id, claim) > (:task, :claim)
    ORDER BY task_id, claim LIMIT :limit
""")
_LINES = Statement("""
    SELECT task_id, claim, ordinal, logged_at, level, message
    FROM task_log WHERE task_id = ANY(:ids::uuid[]) AND (task_id, claim, ordinal) > (:task, :claim, :ordinal)
    ORDER BY task_id, claim, ordinal LIMIT :limit
""")

Pages = AsyncIterator[Sequence[Any]]


class Exports:
    """Exports everything that is stored about an account."""

    def __init__(
        self, reads: Reads, ledger: LedgerView, schedules: ScheduleView, directory: Directory
    ) -> None:
        self._reads = reads
        self._ledger = ledger
        self._schedules = schedules
        self._directory = directory
        self._streams = ExportStreams()

    async def open(self, account: Account, reader: Reader) -> AsyncIterator[bytes]:
        """Return the pieces of the export, after the first piece has been read. Raises
        TooManyExports or ReadTooSlow.
        """
        return await self._streams.begin(self._document(account, reader), limit=MAX_EXPORTS)

    async def _document(self, account: Account, reader: Reader) -> AsyncIterator[bytes]:
        yield b'{"account":%b' % _encoded(account)
        for name, pages in self._sections(account.id, reader):
            yield b",%b:[" % _encoded(name)
            separator = b""
            async for page in pages:
                if page:
                    yield separator + b",".join(map(_encoded, page))
                    separator = b","
            yield b"]"
        yield b"}"

    def _sections(self, account: int, reader: Reader) -> Sequence[tuple[str, Pages]]:
        received: list[UUID] = []
        return [
            *((rows.table, self._rows(rows, account)) for rows in self._directory.rows if rows.is_exported),
            ("schedules", self._schedules_of(reader)),
            ("tasks", self._tasks(account, reader, received)),
            ("attempts", self._of_tasks(_ATTEMPTS, account, received, ("task", "claim"))),
            ("log_lines", self._of_tasks(_LINES, account, received, ("task", "claim", "ordinal"))),
        ]

    async def _rows(self, rows: Rows, account: int) -> Pages:
        after: dict[str, Any] = {}
        while page := await self._reads.run(
            rows.page(is_first=not after), account=account, limit=PAGE, **after
        ):
            after = {f"after_{number}": page[-1][column] for number, column in enumerate(rows.key)}
            yield [_shown(rows, row) for row in page]

    async def _schedules_of(self, reader: Reader) -> Pages:
        yield await self._schedules.owned(reader)

    async def _tasks(self, account: int, reader: Reader, received: list[UUID]) -> Pages:
        """Yield the tasks that the account owns, then tasks of other owners that name the account.

        The ids of the tasks of other owners are added to `received`.
        """
        async for ids in self._owned(account):
            yield await self._ledger.answers(ids, reader)
        async for ids in self._naming(account):
            page = [task for task in await self._ledger.answers(ids, reader) if task.owner != account]
            received += [task.id for task in page]
            yield page

    async def _owned(self, account: int) -> AsyncIterator[Sequence[UUID]]:
        after = UUID(int=0)
        while rows := await self._reads.run(erase.OWNED, account=account, after=after, limit=PAGE):
            after = rows[-1]["id"]
            yield [row["id"] for row in rows]

    async def _naming(self, account: int) -> AsyncIterator[Sequence[UUID]]:
        values = {"account": account, "fields": self._directory.fields_json, "limit": STRETCH}
        after: UUID | None = UUID(int=0) if self._directory.fields else None
        while after is not None:
            (row,) = await self._reads.run(erase.NAMING, **values, after=after)
            after = row["last"]
            for first in range(0, len(row["ids"]), PAGE):
                yield row["ids"][first : first + PAGE]

    async def _of_tasks(
        self, statement: Statement, account: int, received: Sequence[UUID], key: Sequence[str]
    ) -> Pages:
        """Yield the rows that belong to the exported tasks. The set `received` is complete by then,
        because tasks are read first.
        """
        async for ids in self._owned(account):
            async for page in self._of_some(statement, ids, key):
                yield page
        for first in range(0, len(received), PAGE):
            async for page in self._of_some(statement, received[first : first + PAGE], key):
                yield page

    async def _of_some(self, statement: Statement, ids: Sequence[UUID], key: Sequence[str]) -> Pages:
        after: dict[str, Any] = {"task": UUID(int=0), **dict.fromkeys(key[1:], -1)}
        while page := await self._reads.run(statement, ids=ids, limit=PAGE, **after):
            last = page[-1] | {"task": page[-1]["task_id"]}
            after = {name: last[name] for name in key}
            yield page


def _shown(rows: Rows, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: msgspec.Raw(value.encode()) if name in rows.documents and value is not None else value
        for name, value in row.items()
        if name not in rows.withheld
    }


def _encoded(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)
