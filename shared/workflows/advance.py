"""Moves workflows on: takes their events, decides, and stores the tasks that begin, in one transaction.

An event is applied once, because the transaction that deletes it holds the workflow's lock. A step begins
once, because it leaves `waiting` under the same lock. Advancing a workflow twice changes nothing.
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
from shared.workflows.graph import Incomplete, News, Plan, plan
from shared.workflows.states import Ended, Flow, Step

#: Workflows of one transaction.
MAX_FLOWS = 100
#: Tasks that one statement stores, in about 0.3 s.
MAX_RELEASED = 10_000
#: Why tasks that begin again have not started yet.
RETRIED = "its workflow is retried"
#: Members that one transaction cancels.
MAX_CANCELLED = 1_000
#: A transaction may store 100,000 tasks, which takes some four seconds on an idle server.
ADVANCE_LIMIT_S = 60.0


class NewTask(msgspec.Struct, frozen=True):
    """A task that began to exist."""

    id: UUID
    name: str
    queue: str
    priority: int
    #: It may start at once.
    direct: bool
    owner: int | None = None
    workflow: UUID | None = None
    step: str | None = None


class Advanced(msgspec.Struct, kw_only=True):
    """What an advance has committed."""

    tasks: list[NewTask] = msgspec.field(default_factory=list)
    #: Canceled tasks that a worker has, and which it should hear of.
    held: list[UUID] = msgspec.field(default_factory=list)
    #: Rows of canceled tasks as CANCEL_MEMBERS returns them.
    cancelled: list[dict[str, Any]] = msgspec.field(default_factory=list)
    #: Workflows whose revision went up.
    moved: list[UUID] = msgspec.field(default_factory=list)
    #: Workflows that ended, by status.
    ended: list[str] = msgspec.field(default_factory=list)
    #: Workflows that another advance holds, whose tasks a body's transaction holds, or that do not exist.
    left: list[UUID] = msgspec.field(default_factory=list)
    #: Workflows with more to do: members are canceled a share at a time.
    more: list[UUID] = msgspec.field(default_factory=list)


class Event(msgspec.Struct, frozen=True):
    """Events of one workflow, step and kind, in sum."""

    workflow: UUID
    step: str | None
    kind: str
    events: int
    succeeded: int
    failed: int
    revoked: int


class StoredStep(Step, frozen=True, kw_only=True):
    """A step and the workflow that it is in."""

    workflow: UUID


_EVENTS = msgspec.json.Decoder(list[Event])
_STEPS = msgspec.json.Decoder(list[StoredStep])

Steps = Mapping[UUID, Sequence[Step]]


async def advance(database: Database, ids: Iterable[UUID]) -> Advanced:
    """Apply the events of these workflows, at most MAX_FLOWS. Raises ServerUnavailable."""
    return await in_fresh_context(_advance(database, sorted(ids)))


async def apply(database: Database, plans: Sequence[Plan]) -> list[NewTask]:
    """Write plans inside the caller's transaction; a share of the tasks at a time."""
    stored: list[NewTask] = []
    flows = [_flow_row(made.flow) for made in plans]
    for share in _shares(plans):
        await _repeat(database, share)
        rows = await database.run(
            transitions.APPLY,
            steps=_json([_step_row(made, step) for made, step in share]),
            flows=_json(flows),
        )
        flows = []
        stored += [_task_of(row) for row in rows]
    return stored


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
    events = await _with_mended(database, _EVENTS.decode(taken["news"]))
    plans = await _planned(database, flows, events, _steps_in(taken["steps"]))
    advanced.tasks = await apply(database, plans)
    advanced.moved = [made.flow.id for made in plans]
    ended = [made.flow for made in plans if flows[made.flow.id].open_steps and not made.flow.open_steps]
    advanced.ended = [flow.status for flow in ended]
    cancelled = [*_cancelled(plans), *_rest(flows, events)]
    if cancelled:
        await _cancel(database, cancelled, advanced)


async def _with_mended(database: Database, events: list[Event]) -> dict[UUID, list[Event]]:
    """The events by workflow. Tasks that did not succeed begin again here where a retry asks for it."""
    mended = [(event.workflow, event.step) for event in events if event.kind == "mend" and event.step]
    if mended:
        workflows, steps = ([*column] for column in zip(*mended, strict=True))
        values: dict[str, Any] = {"workflow": workflows, "step": steps, "reason": RETRIED}
        while len(await database.run(retry.MEND, limit=MAX_RELEASED, **values)) == MAX_RELEASED:
            pass
        (taken,) = await database.run(transitions.TAKE, id=sorted(set(workflows)))
        events = [*events, *_EVENTS.decode(taken["news"] or "[]")]
    return _by_workflow(events)


async def _repeat(database: Database, share: Sequence[tuple[Plan, Step]]) -> None:
    """Let all tasks of steps begin again. Raises LookupError when some of them are gone."""
    again = [(made.flow.id, step) for made, step in share if step.name in made.repeated]
    if again:
        workflows, names = [id for id, _ in again], [step.name for _, step in again]
        rows = await database.run(retry.REPEAT, workflow=workflows, step=names, reason=RETRIED)
        if len(rows) != sum(step.size for _, step in again):
            raise LookupError(f"{len(rows)} tasks are left of the steps {', '.join(names)}, which run again")


async def _planned(
    database: Database, flows: Mapping[UUID, Flow], events: Mapping[UUID, list[Event]], steps: Steps
) -> list[Plan]:
    """Decide over the steps that were taken, and where these are not enough over all."""
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
    """Cancel members. Their ends, and what is left of them, are events of the next advance."""
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
    """Everything that happened to one workflow."""
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
    """Steps whose members an earlier advance has not all canceled, unless they begin again."""
    for id, happened in events.items():
        again = {event.step for event in happened if event.kind in ("repeat", "mend")}
        for event in happened:
            if event.kind == "cancel_rest" and event.step not in (None, *again) and id in flows:
                yield id, str(event.step)


def _shares(plans: Sequence[Plan]) -> Iterator[list[tuple[Plan, Step]]]:
    """Changed steps, in shares that store at most MAX_RELEASED tasks; at least one share."""
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


def _flow_of(row: Mapping[str, Any]) -> Flow:
    return msgspec.convert({**row, "id": UUID(int=row["id"].int)}, Flow)


def _steps_in(text: str | None) -> Steps:
    found: dict[UUID, list[Step]] = defaultdict(list)
    for step in _STEPS.decode(text or "[]"):
        found[step.workflow].append(step)
    return found


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
