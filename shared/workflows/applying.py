"""Stores what was decided about workflows: the new states of their steps, and the tasks that begin
or run again.

`shared.workflows.graph` decides.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from shared.ledger.database import Database
from shared.ledger.transitions import retry
from shared.ledger.transitions import workflow as transitions
from shared.workflows.graph import Plan
from shared.workflows.states import Flow, Step

#: Maximum number of tasks that one statement stores. Storing that number takes about 0.3 s.
MAX_RELEASED = 10_000
#: Text that explains, in the row of a reopened task, why the task waits.
RETRIED = "its workflow is retried"

Row = dict[str, Any]


class NewTask(msgspec.Struct, frozen=True):
    """A task of a workflow that was just stored."""

    id: UUID
    name: str
    queue: str
    priority: int
    #: True if the task may start immediately, so its id is pushed.
    direct: bool
    owner: int | None = None
    workflow: UUID | None = None
    step: str | None = None


class Applied(NamedTuple):
    """The tasks that changed when plans were applied: new tasks, and the rows of tasks that run
    again.
    """

    tasks: list[NewTask]
    again: list[Row]


async def apply(database: Database, plans: Sequence[Plan]) -> Applied:
    """Store the decisions of these plans inside the caller's transaction, in batches that limit the
    number of tasks.
    """
    applied = Applied([], [])
    flows = [_flow_row(made.flow) for made in plans]
    for share in _shares(plans):
        applied.again.extend(await _repeat(database, share))
        rows = await database.run(
            transitions.APPLY,
            steps=_json([_step_row(made, step) for made, step in share]),
            flows=_json(flows),
        )
        flows = []
        applied.tasks.extend(_task_of(row) for row in rows)
    return applied


async def _repeat(database: Database, share: Sequence[tuple[Plan, Step]]) -> list[Row]:
    """Let all tasks of repeated steps run again. Raises LookupError if some of the tasks do not
    exist anymore.
    """
    again = [(made.flow.id, step) for made, step in share if step.name in made.repeated]
    if not again:
        return []
    workflows, names = [id for id, _ in again], [step.name for _, step in again]
    rows = await database.run(retry.REPEAT, workflow=workflows, step=names, reason=RETRIED)
    if len(rows) != sum(step.size for _, step in again):
        raise LookupError(
            f"only {len(rows)} tasks of the steps {', '.join(names)} still exist, but all have to run again; "
            "cancel the workflow and submit it again"
        )
    return rows


def _shares(plans: Sequence[Plan]) -> Iterator[list[tuple[Plan, Step]]]:
    """Split the changed steps into batches, each of which starts at most MAX_RELEASED tasks. There
    is at least one batch.
    """
    share: list[tuple[Plan, Step]] = []
    tasks = 0
    for made in plans:
        for step in made.changed:
            size = step.size if step.name in made.released or step.name in made.repeated else 0
            if share and tasks + size > MAX_RELEASED:
                yield share
                share, tasks = [], 0
            share.append((made, step))
            tasks += size
    yield share


def _step_row(made: Plan, step: Step) -> dict[str, Any]:
    return {
        "workflow": made.flow.id,
        "name": step.name,
        "state": step.state,
        "succeeded": step.succeeded,
        "failed": step.failed,
        "revoked": step.revoked,
        "open": step.open,
        "released": step.name in made.released,
        "repeated": step.name in made.repeated,
    }


def _flow_row(flow: Flow) -> dict[str, Any]:
    return {**msgspec.structs.asdict(flow), "status": flow.status}


def _task_of(row: Mapping[str, Any]) -> NewTask:
    return NewTask(**{**row, "id": UUID(int=row["id"].int)})


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
