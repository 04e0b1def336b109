"""Turns submission requests into stored workflows.

It checks the caller's rights for each step, the recipients and the idempotency keys.
"""

from collections.abc import Iterator
from uuid import UUID

import msgspec

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.trail import Target
from services.api.http.errors import NotAllowed, UnknownAccount
from services.api.http.refusals import TaskRestricted
from services.api.identity import accounts
from services.api.identity.rights import Reach, Reader
from services.api.quotas.quotas import Quotas
from services.api.tasks.submissions import MOST_RECIPIENTS, refuse_without_key
from services.api.workflows import definition
from services.api.workflows.schemas import WorkflowBody
from shared.contracts.catalogue import Catalogue
from shared.errors import FieldProblem
from shared.ledger.database import Database
from shared.submission import OnceKey, Submitter
from shared.workflows import wiring
from shared.workflows.submission import WorkflowSubmitter
from shared.workflows.wiring import Graph, GraphStep


class WorkflowSubmissions:
    """Checks and stores the workflows that clients submit."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        submitter: Submitter,
        workflow_submitter: WorkflowSubmitter,
        quotas: Quotas,
    ) -> None:
        self._quotas = quotas
        self._database = database
        self._catalogue = catalogue
        self._submitter = submitter
        self._workflow_submitter = workflow_submitter

    async def submit(self, body: WorkflowBody, caller: Reader, once: OnceKey | None) -> tuple[UUID, bool]:
        """Store a workflow from a request body. Returns its id, and True if it is new.

        Raises the same errors as submitting its tasks one by one.
        """
        graph = definition.compiled(body, self._catalogue, owner=caller.id)
        return await self.submit_graph(graph, caller, once)

    async def submit_graph(
        self, graph: Graph, caller: Reader, once: OnceKey | None, *, sent_as: str | None = None
    ) -> tuple[UUID, bool]:
        """Store a workflow that the route of an application has built.

        `sent_as` is the name under which the request contains the recipient's id, for use in error
        messages.
        """
        for each in graph.steps:
            if each.contract.staff_only and not caller.is_staff:
                raise TaskRestricted(each.contract.name)
        wiring.refuse(self._broken_priorities(graph, caller))
        others = self._checked_recipients(graph, caller, sent_as)
        if others and others - await accounts.existing(self._database, others):
            if (first := await self._stored_before(once)) is None:
                raise UnknownAccount(sent_as or "steps")
            return first, False
        if once is None:
            refuse_without_key(each.contract for each in graph.steps)
        return await self._store_counted(graph, sorted(others), caller, once)

    def _broken_priorities(self, graph: Graph, caller: Reader) -> Iterator[FieldProblem]:
        for each in graph.steps:
            rule = self._quotas.priority_rule(each.contract, each.priority, caller)
            if rule is not None:
                yield FieldProblem("priority", f"step {each.step.name!r}: {rule}")

    async def _store_counted(
        self, graph: Graph, others: list[int], caller: Reader, once: OnceKey | None
    ) -> tuple[UUID, bool]:
        """Store the workflow if the caller's quotas allow it.

        All of its tasks count, even those of steps that may be skipped.
        """
        return await self._quotas.counted(
            caller,
            [each.contract.quota for each in graph.steps for _ in each.params],
            field="steps",
            store=lambda: self._write(graph, others, caller, once),
            stored_before=lambda: self._stored_before(once),
        )

    async def _stored_before(self, once: OnceKey | None) -> UUID | None:
        first = None if once is None else await self._submitter.submitted_under(once)
        return first[0] if first else None

    async def _write(
        self, graph: Graph, others: list[int], caller: Reader, once: OnceKey | None
    ) -> tuple[UUID, bool]:
        if others or any(each.contract.staff_only for each in graph.steps):
            return await self._store_recorded(graph, others, caller, once)
        return await self._store(graph, once)

    async def _store(self, graph: Graph, once: OnceKey | None) -> tuple[UUID, bool]:
        if once is None:
            return await self._workflow_submitter.submit(graph), True
        return await self._workflow_submitter.submit_once(graph, once)

    async def _store_recorded(
        self, graph: Graph, recipients: list[int], caller: Reader, once: OnceKey | None
    ) -> tuple[UUID, bool]:
        """Store the workflow together with an entry in the audit log."""
        async with self._submitter.short_transaction():
            workflow_id, is_new = await self._store(graph, once)
            if is_new:
                names = sorted({each.contract.name for each in graph.steps})
                after = {"name": graph.name, "names": names, "recipients": recipients[:MOST_RECIPIENTS]}
                target, actor = Target("workflow", workflow_id), caller.describe()
                await trail.record(self._database, actor, Action.WORKFLOW_SUBMITTED, target, after=after)
            return workflow_id, is_new

    def _checked_recipients(self, graph: Graph, caller: Reader, sent_as: str | None) -> set[int]:
        """Return the accounts for which the workflow's tasks run, except the caller's own.

        Raises NotAllowed if an ordinary user names another account.
        """
        named: set[int] = set()
        for each in graph.steps:
            field = sent_as or f"steps[{each.step.name}].params.{each.contract.recipient}"
            if each.contract.recipient in each.inputs and caller.reach is not Reach.ALL:
                raise NotAllowed(field, "must be your own id as a constant, not a value of another step")
            others = set(_recipients(each)) - {caller.id}
            if others and caller.reach is not Reach.ALL:
                raise NotAllowed(field, "must be your own id")
            named |= others
        return named


def _recipients(each: GraphStep) -> Iterator[int]:
    """Yield the accounts for which the tasks of one step run."""
    if each.contract.recipient is None or each.contract.recipient in each.inputs:
        return
    for text in each.params:
        recipient = msgspec.json.decode(text).get(each.contract.recipient)
        if recipient is not None:
            yield recipient
