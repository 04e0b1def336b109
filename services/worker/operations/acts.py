"""Applies the action of a bulk operation to one page of matching tasks or workflows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec

from shared.bulk.act import Action, Changes, Kind
from shared.contracts.context import Sql
from shared.ledger.lifecycle import ErrorKind
from shared.ledger.transitions import bulk
from shared.workflows.refusals import RetryRefused
from shared.workflows.retry import Mode
from shared.workflows.retrying import Retrying

Rows = Sequence[Mapping[str, Any]]

#: The reason for refusing to retry or release a task that belongs to a workflow. Such a task can
#: only be retried by a request of its own, because that request has to say what happens to failure
#: handlers that have already run.
BELONGS_TO_WORKFLOW = "belongs-to-workflow"


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of applying the action to a page of rows.

    Rows that are neither changed nor refused no longer matched, because they have changed in the
    meantime.
    """

    changed: Rows = ()
    #: Ids of the rows for which the action is impossible, each with the reason.
    refused: Mapping[UUID, str] = field(default_factory=dict)


async def apply(database: Sql, act: Mapping[str, Any], rows: Rows) -> Applied:
    """Apply the action of a bulk operation to one page.

    `act` is the row of the bulk operation, and `rows` are the rows of the page.
    """
    changes = msgspec.json.decode(act["changes"] or "{}", type=Changes)
    if act["kind"] == Kind.TASK:
        return await _tasks(database, act, changes, rows)
    ids = [row["id"] for row in rows]
    if act["action"] == Action.CANCEL:
        return Applied(await database.run(bulk.CANCEL_WORKFLOWS, id=ids) if ids else ())
    return await _retry_workflows(database, changes, ids)


async def _tasks(database: Sql, act: Mapping[str, Any], changes: Changes, rows: Rows) -> Applied:
    action, refused = Action(act["action"]), dict[UUID, str]()
    if action in (Action.RETRY, Action.RELEASE):
        refused = {row["id"]: BELONGS_TO_WORKFLOW for row in rows if row["workflow"] is not None}
    ids = [row["id"] for row in rows if row["id"] not in refused]
    if not ids:
        return Applied((), refused)
    return Applied(await _change(database, action, act["actor"], changes, ids), refused)


async def _change(
    database: Sql, action: Action, actor: int, changes: Changes, ids: Sequence[UUID]
) -> list[dict[str, Any]]:
    match action:
        case Action.RETRY:
            return await database.run(bulk.RETRY_MANY, id=ids, reason=f"retried by account {actor}")
        case Action.RELEASE:
            why = {"reason": f"released by account {actor}", "crash_loop": ErrorKind.CRASH_LOOP}
            return await database.run(bulk.RELEASE_MANY, id=ids, **why)
        case Action.CANCEL:
            return await database.run(bulk.CANCEL_MANY, id=ids)
        case Action.RUN_NOW:
            return await database.run(bulk.RUN_MANY_NOW, id=ids)
        case Action.CHANGE:
            new = {"queue": changes.queue, "priority": changes.priority}
            return await database.run(bulk.CHANGE_MANY, id=ids, **new)


async def _retry_workflows(database: Sql, changes: Changes, ids: Sequence[UUID]) -> Applied:
    """Retry workflows one by one, because the steps to be retried are chosen for each workflow.

    They are locked in the order of their ids, which prevents deadlocks.
    """
    retrying, changed, refused = Retrying(database), list[Mapping[str, Any]](), dict[UUID, str]()
    for workflow_id in ids:
        try:
            await retrying.accept(workflow_id, Mode.FAILED, changes.handlers)
        except RetryRefused as why:
            refused[workflow_id] = why.kind
        else:
            changed.append({"id": workflow_id})
    return Applied(changed, refused)
