"""Carries out one chunk of a bulk operation.

A chunk is up to 1,000 tasks or 100 workflows, an entry in the audit log, and the new position of
the cursor. All of it is one transaction, which locks the bulk operation. If the worker dies, the
chunk is therefore done completely or not at all, and the next attempt continues after the cursor.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec

from services.worker.operations import actor, acts, pages
from services.worker.operations.pages import Page
from shared import audit_log
from shared.bulk import statements
from shared.bulk.act import Action, Kind, State, Verdict, owned_by
from shared.bulk.matches import Matches
from shared.contracts.context import Sql
from shared.identity.tables import Role
from shared.ledger.lifecycle import Status
from shared.ledger.tally import Tally
from shared.ledger.task_filter import TaskFilter
from shared.ledger.workflow_filter import WorkflowFilter

#: Maximum number of tasks in one chunk. Their rows stay locked for some 100 ms.
CHUNK = 1_000
#: Maximum number of workflows in one chunk. It is lower because each retry of a workflow takes six
#: statements.
WORKFLOWS = 100

#: Number of rows for each verdict: done, skipped or refused.
Verdicts = Mapping[str, int]
NONE: Verdicts = {verdict.value: 0 for verdict in Verdict}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What one chunk has changed, and the running totals of the bulk operation."""

    sums: Verdicts
    #: Number of rows that matched when the bulk operation was started.
    expected: int
    action: str
    #: How the bulk operation has ended. None if it has not ended, because more rows may match.
    outcome: State | None
    #: Number of rows with each verdict in this chunk alone.
    verdicts: Verdicts = field(default_factory=lambda: NONE)
    #: Tasks that this chunk has changed. They have to be announced.
    changed: Sequence[Mapping[str, Any]] = ()
    #: Seconds until the requested rate allows the next chunk.
    wait_s: float = 0.0


async def run(database: Sql, bulk_id: UUID) -> Chunk | None:
    """Carry out the next chunk, in the caller's transaction.

    Returns None if the bulk operation was erased together with its account.
    """
    rows = await database.run(statements.LOCK, id=bulk_id)
    if not rows:
        return None
    (act,) = rows
    if act["outcome"] is not None:
        return _idle(act, outcome=State(act["outcome"]))
    if act["stopped"]:
        return await _end(database, bulk_id, act, State.STOPPED)
    role = await actor.role_of(database, act["actor"], act["credential_id"], act["action"])
    if role is None:
        return await _end(database, bulk_id, act, State.FORBIDDEN)
    return _idle(act) if act["wait_s"] > 0 else await _carry_out(database, bulk_id, act, role)


async def _carry_out(database: Sql, bulk_id: UUID, act: Mapping[str, Any], role: Role) -> Chunk:
    most = CHUNK if act["kind"] == Kind.TASK else WORKFLOWS
    limit = min(most, act["rate"] or most)
    page = await pages.read(
        database, _matches(act, role), after=act["cursor"], until=act["until"], limit=limit
    )
    applied = await acts.apply(database, act, page.rows)
    verdicts: Verdicts = {
        Verdict.DONE: len(applied.changed),
        Verdict.SKIPPED: len(page.rows) - len(applied.changed) - len(applied.refused),
        Verdict.REFUSED: len(applied.refused),
    }
    if page.rows:
        shown = {**verdicts, "ids": [row["id"] for row in applied.changed]}
        await _record(database, bulk_id, act, statements.APPLIED, shown)
    sums = await _advance(database, bulk_id, page, verdicts, applied.refused.values())
    outcome = State.COMPLETED if page.is_last else None
    if outcome is not None:
        await _record(database, bulk_id, act, statements.ENDED, {"outcome": outcome, **sums})
    tasks = applied.changed if act["kind"] == Kind.TASK else ()
    await _count(database, tasks)
    return Chunk(
        sums=sums,
        expected=act["expected"],
        action=act["action"],
        outcome=outcome,
        verdicts=verdicts,
        changed=tasks,
    )


async def _end(database: Sql, bulk_id: UUID, act: Mapping[str, Any], outcome: State) -> Chunk:
    await database.run(statements.END, id=bulk_id, outcome=outcome)
    await _record(database, bulk_id, act, statements.ENDED, {"outcome": outcome, **_sums(act)})
    return _idle(act, outcome=outcome)


def _idle(act: Mapping[str, Any], *, outcome: State | None = None) -> Chunk:
    return Chunk(
        sums=_sums(act),
        expected=act["expected"],
        action=act["action"],
        outcome=outcome,
        wait_s=act["wait_s"],
    )


async def _advance(
    database: Sql, bulk_id: UUID, page: Page, verdicts: Verdicts, reasons: Iterable[str]
) -> Verdicts:
    """Move the cursor to the end of the page. Returns the totals of the bulk operation."""
    (row,) = await database.run(
        statements.ADVANCE,
        id=bulk_id,
        cursor=page.reached,
        done=verdicts[Verdict.DONE],
        skipped=verdicts[Verdict.SKIPPED],
        refused=verdicts[Verdict.REFUSED],
        refusals=audit_log.document(Counter(reasons)),
        outcome=State.COMPLETED if page.is_last else None,
    )
    return _sums(row)


async def _record(
    database: Sql, bulk_id: UUID, act: Mapping[str, Any], action: str, after: Mapping[str, Any]
) -> None:
    who = {name: act[name] for name in ("actor", "credential", "credential_id", "network", "request_id")}
    what = {"kind": act["kind"], "action": act["action"], **after}
    await database.run(
        audit_log.RECORD,
        **who,
        action=action,
        target_kind="bulk",
        target=str(bulk_id),
        before=None,
        after=audit_log.document(what),
        reason=act["reason"],
    )


async def _count(database: Sql, tasks: Iterable[Mapping[str, Any]]) -> None:
    """Add the canceled tasks to the statistics.

    This is the last step of the transaction, because it locks rows of the statistics for which
    other processes wait.
    """
    tally = Tally(database)
    for row in tasks:
        if row["status"] == Status.REVOKED:
            tally.add(row["queue"], row["name"], Status.REVOKED)
    await tally.store_in_transaction()


def _matches(act: Mapping[str, Any], role: Role) -> Matches:
    kind = Kind(act["kind"])
    wanted: type[TaskFilter] | type[WorkflowFilter] = TaskFilter if kind is Kind.TASK else WorkflowFilter
    return Matches(
        kind=kind,
        action=Action(act["action"]),
        filter=msgspec.json.decode(act["filter"], type=wanted),
        owner=owned_by(role, act["actor"]),
    )


def _sums(row: Mapping[str, Any]) -> Verdicts:
    return {verdict.value: row[verdict.value] for verdict in Verdict}
