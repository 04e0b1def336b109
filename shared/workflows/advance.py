"""Advances workflows: reads and deletes their events, decides what follows, and stores the tasks
that begin, all in one transaction.

Each event is applied only once, because the transaction that deletes it holds the workflow's lock.
Each step begins only once, because it leaves the state `waiting` under the same lock. Advancing a
workflow a second time therefore changes nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from shared.ledger.database import Database, in_fresh_context
from shared.ledger.transitions import retry
from shared.ledger.transitions import workflow as transitions
from shared.workflows import applying
from shared.workflows.applying import NewTask, Row
from shared.workflows.graph import Incomplete, News, Plan, plan
from shared.workflows.states import Ended, Flow, State, Step

#: Maximum number of workflows that one transaction advances.
MAX_FLOWS = 100
#: Maximum number of tasks that one transaction cancels.
MAX_CANCELLED = 1_000
#: Time limit of a transaction that advances workflows, in seconds. It may store 100,000 tasks,
#: which takes about four seconds on an idle server.
ADVANCE_LIMIT_S = 60.0


class Advanced(msgspec.Struct, kw_only=True):
    """What changed in the workflows that one call of `advance` has advanced. The changes are
    committed.
    """

    tasks: list[NewTask] = msgspec.field(default_factory=list)
    #: Ids of canceled tasks that a worker is running. The worker must be notified.
    held: list[UUID] = msgspec.field(default_factory=list)
    #: Rows of the canceled tasks, and of the tasks that run again, with the columns of
    #: `transitions.changed`.
    cancelled: list[Row] = msgspec.field(default_factory=list)
    again: list[Row] = msgspec.field(default_factory=list)
    #: Ids of workflows whose revision has changed.
    moved: list[UUID] = msgspec.field(default_factory=list)
    #: For each workflow that waits for running tasks: the lowest number of tasks that must end
    #: before one of its steps ends.
    open: dict[UUID, int] = msgspec.field(default_factory=dict)
    #: Status of each workflow that has ended.
    ended: list[str] = msgspec.field(default_factory=list)
    #: Ids of workflows that were not advanced, because another process is advancing them, because
    #: an open transaction of a task body locks one of their tasks, or because they do not exist.
    left: list[UUID] = msgspec.field(default_factory=list)
    #: Ids of workflows that must be advanced again, because their tasks are canceled in batches.
    more: list[UUID] = msgspec.field(default_factory=list)


class Event(msgspec.Struct, frozen=True):
    """All events with the same workflow, step and kind, added up."""

    workflow: UUID
    step: str | None
    kind: str
    events: int
    succeeded: int
    failed: int
    revoked: int


class StoredStep(Step, frozen=True, kw_only=True):
    """A step as stored, with the id of its workflow."""

    workflow: UUID


_EVENTS = msgspec.json.Decoder(list[Event])
_STEPS = msgspec.json.Decoder(list[StoredStep])

Steps = Mapping[UUID, Sequence[Step]]


async def advance(database: Database, ids: Iterable[UUID]) -> Advanced:
    """Apply the events of these workflows. At most MAX_FLOWS may be given. Raises
    ServerUnavailable.
    """
    return await in_fresh_context(_advance(database, sorted(ids)))


async def _advance(database: Database, ids: list[UUID]) -> Advanced:
    advanced = Advanced()
    async with database.translated(), asyncio.timeout(ADVANCE_LIMIT_S), database.transaction():
        locked = await database.run(transitions.LOCK, id=ids)
        flows = {flow.id: flow for flow in map(_flow_of, locked)}
        advanced.left = [id for id in ids if id not in flows]
        if flows:
            await _apply_events(database, flows, advanced)
    return advanced


async def _apply_events(database: Database, flows: Mapping[UUID, Flow], advanced: Advanced) -> None:
    (taken,) = await database.run(transitions.TAKE, id=list(flows))
    if taken["news"] is None:
        return
    happened = _EVENTS.decode(taken["news"])
    mended = await _mend(database, happened)
    events = _by_workflow([*happened, *await _reopened(database, mended)])
    plans = await _planned(database, flows, events, _steps_in(taken["steps"]))
    advanced.tasks, again = await applying.apply(database, plans)
    advanced.again = [*mended, *again]
    advanced.moved = [made.flow.id for made in plans]
    ended = [made.flow for made in plans if flows[made.flow.id].open_steps and not made.flow.open_steps]
    advanced.ended = [flow.status for flow in ended]
    cancelled = [*_cancelled(plans), *_rest(flows, events)]
    if cancelled:
        await _cancel(database, cancelled, advanced)
    waiting = [made for made in plans if made.flow.id not in advanced.more]
    advanced.open = {made.flow.id: members for made in waiting if (members := _open_members(made))}


async def _mend(database: Database, events: Iterable[Event]) -> list[Row]:
    """Let tasks that did not succeed run again, in the steps for which a retry requests this
    ("mend").
    """
    mended = [(event.workflow, event.step) for event in events if event.kind == "mend" and event.step]
    if not mended:
        return []
    workflows, steps = ([*column] for column in zip(*mended, strict=True))
    values: dict[str, Any] = {"workflow": workflows, "step": steps, "reason": applying.RETRIED}
    again: list[Row] = []
    while True:
        share = await database.run(retry.MEND, limit=applying.MAX_RELEASED, **values)
        again += share
        if len(share) < applying.MAX_RELEASED:
            return again


async def _reopened(database: Database, mended: Iterable[Row]) -> list[Event]:
    """The events that undo the recorded ends of tasks that run again."""
    workflows = {UUID(int=row["workflow"].int) for row in mended}
    if not workflows:
        return []
    (taken,) = await database.run(transitions.TAKE, id=sorted(workflows))
    return _EVENTS.decode(taken["news"] or "[]")


async def _planned(
    database: Database, flows: Mapping[UUID, Flow], events: Mapping[UUID, list[Event]], steps: Steps
) -> list[Plan]:
    """Compute the plans of workflows from the steps that were loaded. If these are not sufficient
    for a workflow, load all of its steps.
    """
    plans: list[Plan] = []
    incomplete: list[UUID] = []
    news = {id: _news(happened) for id, happened in events.items()}
    for id, happened in news.items():
        try:
            plans.append(plan(flows[id], steps.get(id, ()), happened, complete=False))
        except Incomplete:
            incomplete.append(id)
    if incomplete:
        (rows,) = await database.run(transitions.ALL_STEPS, id=incomplete)
        every = _steps_in(rows["steps"])
        plans += [plan(flows[id], every.get(id, ()), news[id], complete=True) for id in incomplete]
    return plans


async def _cancel(database: Database, steps: Sequence[tuple[UUID, str]], advanced: Advanced) -> None:
    """Cancel tasks of these steps, up to MAX_CANCELLED. The canceled tasks, and the tasks still to
    be canceled, are recorded as events, which the next call of `advance` applies.
    """
    workflows, names = ([*column] for column in zip(*steps, strict=True))
    rows = await database.run(transitions.CANCEL_MEMBERS, workflow=workflows, step=names, limit=MAX_CANCELLED)
    advanced.cancelled = rows
    advanced.held = [UUID(int=row["id"].int) for row in rows if row["held"]]
    await database.run(transitions.NOTE_REST, workflow=workflows, step=names)
    if rows:
        advanced.more = sorted(set(workflows))
    else:
        advanced.left += set(workflows)


def _by_workflow(events: Iterable[Event]) -> dict[UUID, list[Event]]:
    found: dict[UUID, list[Event]] = defaultdict(list)
    for event in events:
        found[event.workflow].append(event)
    return found


def _news(events: Sequence[Event]) -> News:
    """Combine all new events of one workflow into the input of `plan`."""
    ended: dict[str, Ended] = {}
    kinds: dict[str, int] = defaultdict(int)
    repeated = frozenset(event.step for event in events if event.kind == "repeat" and event.step)
    for event in events:
        kinds[event.kind] += event.events
        if event.kind in ("ended", "reopened") and event.step is not None:
            before = ended.get(event.step, Ended())
            ended[event.step] = Ended(
                before.succeeded + event.succeeded,
                before.failed + event.failed,
                before.revoked + event.revoked,
            )
    return News(
        ended=ended,
        cancels=kinds["cancel"],
        late="deadline" in kinds,
        reopened="reopened" in kinds,
        repeated=repeated,
    )


def _cancelled(plans: Iterable[Plan]) -> Iterator[tuple[UUID, str]]:
    for made in plans:
        for name in made.cancelled:
            yield made.flow.id, name


def _rest(flows: Mapping[UUID, Flow], events: Mapping[UUID, list[Event]]) -> Iterator[tuple[UUID, str]]:
    """Yield the steps that still have tasks to cancel, because an earlier batch was full, unless a
    retry starts the step again.
    """
    for id, happened in events.items():
        again = {event.step for event in happened if event.kind in ("repeat", "mend")}
        for event in happened:
            if event.kind == "cancel_rest" and event.step not in (None, *again) and id in flows:
                yield id, str(event.step)


def _open_members(made: Plan) -> int:
    """The lowest number of tasks that must end before one of the changed steps ends. 0 if a step
    may end now.
    """
    begun = [step for step in made.changed if step.state not in (State.WAITING, State.SKIPPED)]
    return min((step.open_members for step in begun), default=0)


def _flow_of(row: Mapping[str, Any]) -> Flow:
    return msgspec.convert({**row, "id": UUID(int=row["id"].int)}, Flow)


def _steps_in(text: str | None) -> Steps:
    found: dict[UUID, list[Step]] = defaultdict(list)
    for step in _STEPS.decode(text or "[]"):
        found[step.workflow].append(step)
    return found
