"""Reads pages of the audit log from Postgres."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from piccolo.query.methods.select import Select

from services.api.audit.schemas import AuditEntry, AuditPage
from services.api.http import paging
from services.api.reads import Reads
from shared.identity.tables import Audit
from shared.ledger.ids import first_uuid7


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """The filter of the audit log that a request asks for. A field that is None does not filter."""

    actor: int | None = None
    action: str | None = None
    target_kind: str | None = None
    #: Id of the object that was acted on. Can be set only together with `target_kind`.
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def apply(self, query: Select[Any]) -> Select[Any]:
        """Add the filter's conditions to a database query. Times become bounds of the row's id,
        because the log is sorted by id and ids contain the time.
        """
        equal: list[tuple[Any, Any]] = [
            (Audit.actor, self.actor),
            (Audit.action, self.action),
            (Audit.target_kind, self.target_kind),
            (Audit.target, self.target),
        ]
        for column, value in equal:
            if value is not None:
                query = query.where(column == value)
        if self.since is not None:
            query = query.where(Audit.id >= first_uuid7(self.since))
        if self.until is not None:
            query = query.where(Audit.id < first_uuid7(self.until))
        return query


async def page(reads: Reads, wanted: AuditFilter, *, limit: int, cursor: str | None) -> AuditPage:
    """One page of the audit log, newest entries first. Raises ReadTooSlow."""
    query = wanted.apply(Audit.select())
    if cursor is not None:
        query = query.where(Audit.id < UUID(bytes=paging.decode(cursor, 16)))
    rows = await reads.select(query.order_by(Audit.id, ascending=False).limit(limit + 1))
    items = [_entry(row) for row in rows[:limit]]
    return AuditPage(items, paging.encode(items[-1].id.bytes) if len(rows) > limit else None)


def _entry(row: dict[str, Any]) -> AuditEntry:
    documents = {name: _document(row[name]) for name in ("before", "after")}
    # asyncpg returns UUIDs as objects of its own class, so convert them to the standard class.
    ids = {name: _uuid(row[name]) for name in ("id", "credential_id")}
    return AuditEntry(**{**row, **documents, **ids})


def _document(text: str | None) -> dict[str, Any] | None:
    return None if text is None else msgspec.json.decode(text)


def _uuid(value: UUID | None) -> UUID | None:
    return None if value is None else UUID(int=value.int)
