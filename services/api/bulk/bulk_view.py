"""Reads bulk operations from Postgres in the form in which the API shows them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from services.api.bulk.refusals import BulkNotFound
from services.api.bulk.schemas import BulkAnswer, BulkPage
from services.api.http import paging
from services.api.identity.rights import Reader
from shared.bulk.act import State
from shared.ledger.database import Database
from shared.ledger.ids import LAST_ID, moment_of
from shared.ledger.lifecycle import FINAL, Status
from shared.ledger.statement import Statement

_COLUMNS = """
    b.id, b.task AS task_id, b.kind, b.action, b.given::text AS filter, b.changes::text AS changes, b.actor,
    b.reason, b.rate, b.expected, b.exact, b.done, b.skipped, b.refused, b.refusals::text AS refusals,
    b.until, b.cursor, b.created_at, b.ended_at, b.stopped_at, b.outcome, t.status,
    t.completed_at
"""
_FROM = "bulk_act AS b LEFT JOIN task AS t ON t.id = b.task"
_VISIBLE = "(:owner::bigint IS NULL OR b.actor = :owner::bigint)"
FIND = Statement(f"SELECT {_COLUMNS} FROM {_FROM} WHERE b.id = :id AND {_VISIBLE}")
PAGE = Statement(f"""
    SELECT {_COLUMNS} FROM {_FROM} WHERE {_VISIBLE} AND b.id < :before ORDER BY b.id DESC LIMIT :limit
""")

#: Columns that the query reads only to compute other fields of the answer. The answer does not
#: contain them.
_INNER = ("cursor", "stopped_at", "outcome", "status", "completed_at")


class BulkView:
    """Reads bulk operations for the API."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, bulk_id: UUID, reader: Reader) -> BulkAnswer:
        """Find one bulk operation. Raises BulkNotFound if it does not exist or the caller may not
        see it.
        """
        rows = await self._database.run(FIND, id=bulk_id, owner=reader.owned_by)
        if not rows:
            raise BulkNotFound(bulk_id)
        return _answer(rows[0])

    async def page(self, owner: int | None, *, limit: int, cursor: str | None) -> BulkPage:
        """One page of bulk operations, newest first: those of one account, or all if `owner` is
        None.
        """
        before = LAST_ID if cursor is None else UUID(bytes=paging.decode(cursor, 16))
        rows = await self._database.run(PAGE, owner=owner, before=before, limit=limit + 1)
        items = [_answer(row) for row in rows[:limit]]
        return BulkPage(items, paging.encode(items[-1].id.bytes) if len(rows) > limit else None)


def state_of(row: Mapping[str, Any]) -> State:
    """Derive the state of a bulk operation from its row and from the status of its task."""
    if row["outcome"] is not None:
        return State(row["outcome"])
    if row["status"] in (Status.REVOKED, None) or (row["stopped_at"] and row["status"] in FINAL):
        return State.STOPPED
    if row["status"] == Status.FAILURE:
        return State.FAILED
    if row["stopped_at"] is not None:
        return State.STOPPING
    return State.RUNNING if row["status"] == Status.STARTED else State.WAITING


def _answer(row: Mapping[str, Any]) -> BulkAnswer:
    shown = {name: value for name, value in row.items() if name not in _INNER}
    has_ended = row["status"] in FINAL
    return BulkAnswer(
        **{
            **shown,
            "filter": _given(msgspec.json.decode(row["filter"])),
            "changes": None if row["changes"] is None else msgspec.json.decode(row["changes"]),
            "refusals": msgspec.json.decode(row["refusals"]),
            "state": state_of(row),
            "until": moment_of(row["until"]),
            "reached": moment_of(row["until"] if row["outcome"] == State.COMPLETED else row["cursor"]),
            "ended_at": row["ended_at"] or (row["completed_at"] if has_ended else None),
        }
    )


def _given(filter: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a bulk operation's filter that are set."""
    return {name: value for name, value in filter.items() if value not in (None, {})}
