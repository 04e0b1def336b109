"""Accepts workflows: stores the steps of a workflow, and the tasks of all steps that depend on no
other step, in one transaction.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from shared.errors import FieldProblem, KeyReused, WorkersTooOld, WorkflowExists
from shared.ledger.database import Database
from shared.ledger.ids import uuid7
from shared.ledger.protocol import PROTOCOL
from shared.ledger.transitions import workflow as transitions
from shared.ledger.transitions.submit import SUBMITTED_UNDER
from shared.submission import OnceKey
from shared.telemetry import metrics, tracing
from shared.transport.events import Changes
from shared.transport.queues import Address
from shared.vault import Vault, step_row
from shared.workflows import wiring
from shared.workflows.advancer import count, new
from shared.workflows.applying import NewTask, apply
from shared.workflows.graph import News, Plan, plan
from shared.workflows.states import Flow
from shared.workflows.wiring import Graph, GraphStep
from shared.workflows.workflow import Workflow


class _Taken(Exception):
    """Raised if the idempotency key was already used. Nothing may be stored in this case."""


class _Exists(Exception):
    """Raised if a workflow with this id already exists. Nothing may be stored in this case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What started a workflow: a task or a schedule. Both are None if a request of a client did."""

    #: Id of the task whose body started the workflow.
    parent: UUID | None = None
    #: Name of the schedule that started the workflow, and its nominal time (`fire_time`).
    schedule: str | None = None
    fire_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Stored:
    """A workflow that has just been stored."""

    id: UUID
    tasks: list[NewTask]
    status: str


class Pusher(Protocol):
    """Interface of the object that pushes ids of tasks to Redis. `Submitter` implements it."""

    async def push_after_commit(self, addresses: Sequence[Address], changes: Callable[[], Changes]) -> None:
        """Push the ids of stored tasks and publish the changes. Inside a transaction, this happens
        after its commit.
        """


REQUEST = Origin()


class WorkflowSubmitter:
    """Stores and starts workflows. Create one per event loop."""

    def __init__(self, database: Database, pusher: Pusher, vault: Vault) -> None:
        self._database = database
        self._pusher = pusher
        self._vault = vault

    async def submit(self, flow: Workflow | Graph, *, origin: Origin = REQUEST) -> UUID:
        """Store a workflow and start it. Returns its id.

        If the caller has opened a transaction, the workflow is stored as a part of it. If an error
        is raised, nothing is stored. Raises InvalidFields, WorkflowExists, WorkersTooOld or
        ServerUnavailable.
        """
        graph = _compiled(flow)
        stored = await self._store(graph, uuid7(self._database.now()), origin, None)
        await self._accepted(stored)
        return stored.id

    async def submit_as(self, flow: Workflow | Graph, workflow_id: UUID, origin: Origin) -> bool:
        """Like `submit`, but store nothing if a workflow with this id exists. Returns True if it
        was stored now.
        """
        try:
            stored = await self._store(_compiled(flow), workflow_id, origin, None)
        except _Exists:
            return False
        await self._accepted(stored)
        return True

    async def submit_once(self, flow: Workflow | Graph, once: OnceKey) -> tuple[UUID, bool]:
        """Like `submit`, but store nothing if the idempotency key was used within the last day.

        Returns the id of the first submission, and True if this call was the first. Raises
        KeyReused if the first one was a different request.
        """
        graph = _compiled(flow)
        workflow_id = uuid7(self._database.now())
        while True:
            try:
                stored = await self._store(graph, workflow_id, REQUEST, once)
            except _Taken:
                first = await self._first(once)
                if first is not None:
                    return first, False
                continue  # the key was deleted in between, so it is free: try again
            await self._accepted(stored)
            return stored.id, True

    async def _store(self, graph: Graph, workflow_id: UUID, origin: Origin, once: OnceKey | None) -> _Stored:
        """Store a workflow. Raises _Exists or _Taken, or an error that refuses the workflow. After
        any of these errors, the idempotency key is still free, even if the caller's transaction
        goes on.

        Rules that depend on the time are checked last, so that a repeated request finds the stored
        workflow instead of being refused.
        """
        values = self._values(graph, workflow_id, origin)
        begun = _begun(workflow_id, graph)
        async with self._database.all_or_nothing():
            await self._insert(graph, values, once)
            await self._refuse_older_workers()
            wiring.refuse(_too_late(graph, self._database.now()))
            applied = await apply(self._database, [begun])
            return _Stored(workflow_id, applied.tasks, begun.flow.status)

    async def _insert(self, graph: Graph, values: dict[str, Any], once: OnceKey | None) -> None:
        """Insert the workflow and its steps, its idempotency key and its unique key. Raises
        _Exists, _Taken or WorkflowExists.
        """
        if once is None:
            (answer,) = await self._database.run(transitions.SUBMIT_WORKFLOW, **values)
        else:
            key = {"scope": once.scope, "key": once.key, "body_hash": once.body_hash}
            (answer,) = await self._database.run(transitions.SUBMIT_WORKFLOW_ONCE, **values, **key)
            if not answer["new"]:
                raise _Taken
        if answer["new"] and not answer["free"]:
            await self._refuse_other(graph, values["id"])
        if not answer["stored"]:
            raise _Exists

    async def _refuse_older_workers(self) -> None:
        (row,) = await self._database.run(transitions.OLDER_WORKERS, protocol=PROTOCOL)
        if row["workers"]:
            raise WorkersTooOld(row["workers"])

    async def _refuse_other(self, graph: Graph, workflow_id: UUID) -> None:
        """Raise WorkflowExists unless the workflow that holds the unique key is this one."""
        unique = graph.unique or ""
        rows = await self._database.run(transitions.UNIQUE_HOLDER, name=graph.name, key=unique)
        holder = UUID(int=rows[0]["workflow"].int) if rows else None
        if holder != workflow_id:
            raise WorkflowExists(graph.name, unique, holder)

    async def _first(self, once: OnceKey) -> UUID | None:
        rows = await self._database.run(SUBMITTED_UNDER, scope=once.scope, key=once.key)
        if rows and rows[0]["body_hash"] not in (once.body_hash, *once.former_hashes):
            raise KeyReused(once.key)
        return UUID(int=rows[0]["task_ids"][0].int) if rows else None

    async def _accepted(self, stored: _Stored) -> None:
        metrics.WORKFLOWS_SUBMITTED.inc()
        count(stored.tasks)
        if stored.status != "running":
            metrics.WORKFLOWS_FINISHED.labels(stored.status).inc()
        addresses = [Address(task.id, task.queue, task.priority) for task in stored.tasks if task.direct]
        await self._pusher.push_after_commit(addresses, lambda: Changes(new(stored.tasks)))

    def _values(self, graph: Graph, workflow_id: UUID, origin: Origin) -> dict[str, Any]:
        steps = msgspec.json.encode([self._step_row(each, workflow_id, graph.owner) for each in graph.steps])
        return {
            "id": workflow_id,
            "name": graph.name,
            "owner": graph.owner,
            "on_failure": graph.on_failure,
            "unique": graph.unique,
            "deadline_s": graph.deadline.total_seconds(),
            "open_steps": len(graph.steps),
            "steps": steps.decode(),
            "parent": origin.parent,
            "schedule": origin.schedule,
            "fire_time": origin.fire_time,
            "trace_context": _trace_context(graph),
        }

    def _step_row(self, each: GraphStep, workflow_id: UUID, owner: int | None) -> dict[str, Any]:
        contract = each.contract
        rows = [step_row(workflow_id, each.step.name, number) for number in range(len(each.params))]
        sealed = [
            self._vault.seal_encoded(contract, text, row, owner)
            for text, row in zip(each.params, rows, strict=True)
        ]
        return {
            **msgspec.structs.asdict(each.step),
            "grouped": each.grouped,
            "contract": contract.name,
            "version": contract.version,
            "queue": contract.queue,
            "priority": each.priority,
            "max_attempts": contract.retries.max_attempts,
            "delay_s": each.delay.total_seconds(),
            "max_wait_s": contract.max_wait.total_seconds() if contract.max_wait else None,
            "params": [msgspec.Raw(document.text.encode()) for document in sealed],
            "inputs": each.inputs or None,
            "key_id": next((document.key_id for document in sealed if document.key_id), None),
        }


def _compiled(flow: Workflow | Graph) -> Graph:
    return wiring.compile(flow) if isinstance(flow, Workflow) else flow


def _trace_context(graph: Graph) -> str | None:
    """The trace context of this submission, if the caller is traced. The tasks of the first steps
    link to it.
    """
    with tracing.sending(graph.name, {"often.workflow": graph.name}) as span:
        return tracing.context_of(span, follows=True)


def _begun(workflow_id: UUID, graph: Graph) -> Plan:
    """The plan by which a new workflow begins: the steps that depend on no other step start."""
    steps = [each.step for each in graph.steps]
    flow = Flow(id=workflow_id, on_failure=graph.on_failure, open_steps=len(steps))
    return plan(flow, steps, News(), complete=True)


def _too_late(graph: Graph, now: datetime) -> Iterator[FieldProblem]:
    """Yield the time-dependent rules that tasks of the workflow break. Steps that read values from
    other steps are not checked, because their parameters are not known yet.
    """
    for each in graph.steps:
        if each.contract.rules_for_new is None or each.inputs:
            continue
        for text in each.params:
            yield from _named(each, each.contract.rules_for_new(each.contract.decode_params(text), now))


def _named(each: GraphStep, problems: Iterable[FieldProblem]) -> Iterator[FieldProblem]:
    for problem in problems:
        field = f"steps[{each.step.position}].{problem.field}"
        yield FieldProblem(field, f"step {each.step.name!r}: {problem.rule}")
