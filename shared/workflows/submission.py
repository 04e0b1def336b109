"""Accepts workflows: the graph, and the tasks of the steps that need nothing, in one transaction."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
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
from shared.telemetry import metrics
from shared.transport.events import Changes
from shared.transport.queues import Address
from shared.vault import Vault, step_row
from shared.workflows import wiring
from shared.workflows.advance import NewTask, apply
from shared.workflows.advancer import count, new
from shared.workflows.graph import News, Plan, plan
from shared.workflows.states import Flow
from shared.workflows.wiring import Graph, GraphStep
from shared.workflows.workflow import Workflow


class _Taken(Exception):
    """The submission key is taken; nothing may be stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What begins a workflow, where that is no request."""

    #: The task whose body does.
    parent: UUID | None = None
    #: The schedule that fires, and its nominal time.
    schedule: str | None = None
    fire_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Stored:
    """A workflow that was stored."""

    id: UUID
    tasks: list[NewTask]
    status: str


class Pusher(Protocol):
    """Pushes ids of tasks; a `Submitter` is one."""

    async def push_after_commit(self, addresses: Sequence[Address], changes: Callable[[], Changes]) -> None:
        """Push stored ids and publish changes, or leave that to the transaction in which they were stored."""


REQUEST = Origin()


class WorkflowSubmitter:
    """Submits workflows. One per event loop."""

    def __init__(self, database: Database, pusher: Pusher, vault: Vault) -> None:
        self._database = database
        self._pusher = pusher
        self._vault = vault

    async def submit(self, flow: Workflow | Graph, *, origin: Origin = REQUEST) -> UUID:
        """Store a workflow and begin it. Returns its id.

        Inside a transaction of the caller it is stored with that. Raises InvalidFields, WorkflowExists,
        WorkersTooOld or ServerUnavailable; then nothing is stored.
        """
        graph = self._checked(flow)
        stored = await self._store(graph, uuid7(self._database.now()), origin, None)
        assert stored is not None  # the id is new
        await self._accepted(stored)
        return stored.id

    async def submit_as(self, flow: Workflow | Graph, workflow_id: UUID, origin: Origin) -> bool:
        """As `submit`, unless a workflow has this id. Returns whether it was stored now."""
        stored = await self._store(self._checked(flow), workflow_id, origin, None)
        if stored is not None:
            await self._accepted(stored)
        return stored is not None

    async def submit_once(self, flow: Workflow | Graph, once: OnceKey) -> tuple[UUID, bool]:
        """As `submit`, unless the key was used within the last day.

        Returns the id of the first submission, and whether this was it. Raises KeyReused when the first one
        was another request.
        """
        graph = self._checked(flow)
        workflow_id = uuid7(self._database.now())
        while True:
            try:
                stored = await self._store(graph, workflow_id, REQUEST, once)
            except _Taken:
                first = await self._first(once)
                if first is not None:
                    return first, False
                continue  # the key was pruned in between, so it is free now
            assert stored is not None  # the id is new
            await self._accepted(stored)
            return stored.id, True

    def _checked(self, flow: Workflow | Graph) -> Graph:
        graph = wiring.compile(flow) if isinstance(flow, Workflow) else flow
        wiring.refuse(_too_late(graph, self._database.now()))
        return graph

    async def _store(
        self, graph: Graph, workflow_id: UUID, origin: Origin, once: OnceKey | None
    ) -> _Stored | None:
        """None when a workflow has this id. Raises _Taken."""
        values = self._values(graph, workflow_id, origin)
        begun = _begun(workflow_id, graph)
        async with self._transaction():
            await self._refuse_older_workers()
            if not await self._is_stored(graph, values, once):
                return None
            return _Stored(workflow_id, await apply(self._database, [begun]), begun.flow.status)

    async def _is_stored(self, graph: Graph, values: dict[str, Any], once: OnceKey | None) -> bool:
        """Store the graph. Raises _Taken or WorkflowExists."""
        if once is None:
            (answer,) = await self._database.run(transitions.SUBMIT_WORKFLOW, **values)
        else:
            key = {"scope": once.scope, "key": once.key, "body_hash": once.body_hash}
            (answer,) = await self._database.run(transitions.SUBMIT_WORKFLOW_ONCE, **values, **key)
            if not answer["new"]:
                raise _Taken
        if answer["new"] and not answer["free"]:
            await self._refuse_other(graph, values["id"])
        return bool(answer["stored"])

    @asynccontextmanager
    async def _transaction(self) -> Any:
        """A short one, or that of the caller."""
        if self._database.in_transaction():
            yield
        else:
            async with self._database.translated(), self._database.transaction():
                yield

    async def _refuse_older_workers(self) -> None:
        (row,) = await self._database.run(transitions.OLDER_WORKERS, protocol=PROTOCOL)
        if row["workers"]:
            raise WorkersTooOld(row["workers"])

    async def _refuse_other(self, graph: Graph, workflow_id: UUID) -> None:
        """Raises WorkflowExists unless the unique key belongs to this very workflow."""
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


def _begun(workflow_id: UUID, graph: Graph) -> Plan:
    """What follows from the submission: steps that need nothing begin."""
    steps = [each.step for each in graph.steps]
    flow = Flow(id=workflow_id, on_failure=graph.on_failure, open_steps=len(steps))
    return plan(flow, steps, News(), complete=True)


def _too_late(graph: Graph, now: datetime) -> Iterator[FieldProblem]:
    """Rules for new tasks that depend on the time, of tasks whose parameters are known."""
    for each in graph.steps:
        if each.contract.rules_for_new is None or each.inputs:
            continue
        for text in each.params:
            yield from _named(each, each.contract.rules_for_new(each.contract.decode_params(text), now))


def _named(each: GraphStep, problems: Iterable[FieldProblem]) -> Iterator[FieldProblem]:
    for problem in problems:
        field = f"steps[{each.step.position}].{problem.field}"
        yield FieldProblem(field, f"step {each.step.name!r}: {problem.rule}")
