"""Reads error groups, and stores the decisions of operators about them, for the API and the
console.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.trail import Target
from services.api.http import paging
from services.api.identity.rights import Reader
from services.api.operations.error_schemas import (
    Decision,
    ErrorChange,
    ErrorDetail,
    ErrorGroupAnswer,
    ErrorHourAnswer,
    ErrorLinks,
    ErrorPage,
)
from services.api.operations.refusals import ErrorGroupNotFound
from services.api.reads import Reads
from shared.contracts.patterns import whole
from shared.errors import MAX_DELAY, FieldProblem, InvalidFields
from shared.ledger.database import Database
from shared.ledger.error_groups import OTHER, STATE_NOW, State
from shared.ledger.statement import Statement

#: Time limit in seconds of one statement.
LIMIT_S = 0.4
#: Number of hours for which the failures of a group are counted.
HOURS = 24

_FINGERPRINT = re.compile(whole(r"[0-9a-z:_.]{1,120}"))
_COLUMNS = f"""
    SELECT g.fingerprint, g.name AS task_name, g.kind, g.type, g.place, g.message, {STATE_NOW} AS state,
           CASE WHEN g.until > now() THEN g.until END AS until, g.note, g.changed_at, g.changed_by,
           g.first_at AS first_seen_at, g.last_at AS last_seen_at, g.first_release, g.last_release,
           g.sample_task AS sample_task_id, coalesce(h.attempts, 0)::bigint AS attempts_24h,
           coalesce(h.tasks, 0)::bigint AS tasks_24h
"""
#: SQL join that counts the failures of each error group `g` in the shown hours. It is evaluated
#: only for the groups on one page.
_COUNTS = f"""
    LEFT JOIN LATERAL (
        SELECT sum(attempts) AS attempts, sum(tasks) AS tasks FROM error_hour AS h
        WHERE h.fingerprint = g.fingerprint
          AND h.hour >= date_trunc('hour', now(), 'UTC') - make_interval(hours => {HOURS - 1})
    ) AS h ON true
"""
PAGE = Statement(f"""
    {_COLUMNS} FROM (SELECT * FROM error_group AS g
    WHERE (:states::text[] IS NULL OR {STATE_NOW} = ANY(:states))
      AND (:name::text IS NULL OR g.name = :name)
      AND (:since::timestamptz IS NULL OR g.last_at >= :since)
      AND (:before::timestamptz IS NULL OR (g.last_at, g.fingerprint) < (:before, :fingerprint::text))
    ORDER BY g.last_at DESC, g.fingerprint DESC LIMIT :limit) AS g {_COUNTS}
    ORDER BY g.last_at DESC, g.fingerprint DESC
""")
ONE = Statement(f"{_COLUMNS} FROM error_group AS g {_COUNTS} WHERE g.fingerprint = :fingerprint")
BY_HOUR = Statement(f"""
    SELECT at, coalesce(h.attempts, 0)::bigint AS attempts, coalesce(h.tasks, 0)::bigint AS tasks
    FROM generate_series(
        date_trunc('hour', now(), 'UTC') - make_interval(hours => {HOURS - 1}),
        date_trunc('hour', now(), 'UTC'), interval '1 hour'
    ) AS at LEFT JOIN error_hour AS h ON h.fingerprint = :fingerprint AND h.hour = at
    ORDER BY at
""")
#: Stores an operator's decision about an error group, and returns the group's former values.
CHANGE = Statement(f"""
    UPDATE error_group AS g SET state = :state, until = :until,
        note = CASE WHEN :note::text IS NULL THEN g.note ELSE nullif(:note, '') END,
        changed_at = now(), changed_by = :account
    WHERE fingerprint = :fingerprint
    RETURNING {STATE_NOW.replace("g.", "old.")} AS state, old.until, old.note
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorFilter:
    """The filter of the list of error groups. A field that is None does not filter."""

    #: The states of the groups in the list.
    state: Sequence[State] | None = None
    #: The name of the kind of task that failed.
    name: str | None = None
    #: Only groups whose error occurred at or after this time are in the list.
    since: datetime | None = None


class ErrorGroups:
    """Lists, finds and changes error groups for the routes of the API and the pages of the console."""

    def __init__(self, database: Database, reads: Reads) -> None:
        self._database, self._reads = database, reads

    async def page(self, wanted: ErrorFilter, *, limit: int, cursor: str | None) -> ErrorPage:
        """A page of error groups. The group whose error occurred last comes first. Raises
        InvalidFields or ReadTooSlow.
        """
        before, fingerprint = (None, None) if cursor is None else _position(cursor)
        states = [str(state) for state in wanted.state] if wanted.state else None
        rows = await self._reads.run_within(
            LIMIT_S,
            PAGE,
            states=states,
            name=wanted.name,
            since=wanted.since,
            before=before,
            fingerprint=fingerprint,
            limit=limit + 1,
        )
        items = [ErrorGroupAnswer(**_fields(row)) for row in rows[:limit]]
        return ErrorPage(items, _cursor(items[-1]) if len(rows) > limit else None)

    async def find(self, fingerprint: str) -> ErrorDetail:
        """Find one error group. Raises ErrorGroupNotFound or ReadTooSlow."""
        found = await self._reads.run_within(LIMIT_S, ONE, fingerprint=_known(fingerprint))
        if not found:
            raise ErrorGroupNotFound(fingerprint)
        hours = await self._reads.run_within(LIMIT_S, BY_HOUR, fingerprint=fingerprint)
        row = _fields(found[0])
        return ErrorDetail(**row, hours=[ErrorHourAnswer(**hour) for hour in hours], links=_links(row))

    async def change(self, fingerprint: str, wanted: ErrorChange, reader: Reader) -> ErrorDetail:
        """Store an operator's decision about an error group. Raises InvalidFields or
        ErrorGroupNotFound.
        """
        _check(wanted, self._database.now())
        async with self._database.short_transaction():
            rows = await self._database.run(
                CHANGE,
                fingerprint=_known(fingerprint),
                state=wanted.state.value,
                until=wanted.until,
                note=wanted.note,
                account=reader.id,
            )
            if not rows:
                raise ErrorGroupNotFound(fingerprint)
            before = {"state": rows[0]["state"], "until": rows[0]["until"]}
            after = {"state": wanted.state, "until": wanted.until}
            target = Target("error", fingerprint)
            await trail.record(
                self._database,
                reader.describe(),
                Action.ERROR_CHANGED,
                target,
                before=before,
                after=after,
                reason=wanted.note or None,
            )
        return await self.find(fingerprint)


def _known(fingerprint: str) -> str:
    """Check the format of an error group's fingerprint. Raises ErrorGroupNotFound."""
    if not _FINGERPRINT.match(fingerprint):
        raise ErrorGroupNotFound(fingerprint[:120])
    return fingerprint


def _check(wanted: ErrorChange, now: datetime) -> None:
    """Check an operator's decision about an error group. Raises InvalidFields."""
    if wanted.until is None:
        return
    if wanted.state is not Decision.MUTED:
        raise InvalidFields([FieldProblem("until", "can be given with the state muted only")])
    if not now < wanted.until <= now + MAX_DELAY:
        raise InvalidFields([FieldProblem("until", f"must be within the next {MAX_DELAY.days} days")])


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    # asyncpg returns UUIDs as objects of its own class, so convert them to the standard class.
    return {**row, "state": State(row["state"]), "sample_task_id": UUID(int=row["sample_task_id"].int)}


def _links(row: Mapping[str, Any]) -> ErrorLinks:
    fingerprint, name = row["fingerprint"], row["task_name"]
    by = {"name": name} if fingerprint.startswith(OTHER) else {"fingerprint": fingerprint}
    query = urlencode({"status": "failure", **by}, safe=":")
    return ErrorLinks(f"/api/v1/tasks/{row['sample_task_id']}", f"/api/v1/tasks?{query}")


_EPOCH = datetime.fromtimestamp(0, UTC)
_MICROSECOND = timedelta(microseconds=1)


def _cursor(last: ErrorGroupAnswer) -> str:
    moment = (last.last_seen_at - _EPOCH) // _MICROSECOND
    return paging.encode(moment.to_bytes(8) + last.fingerprint.encode())


def _position(cursor: str) -> tuple[datetime, str]:
    """Decode a cursor into the time and the fingerprint of the last group on the previous page.
    Raises InvalidFields.
    """
    try:
        position = paging.decode_any(cursor)
        moment = _EPOCH + int.from_bytes(position[:8]) * _MICROSECOND
        fingerprint = position[8:].decode()
    except (ValueError, OverflowError):
        fingerprint = ""
    if not _FINGERPRINT.match(fingerprint):
        raise paging.bad_cursor()
    return moment, fingerprint
