"""Turns requests into stored workflows: rights of each step, recipients, and idempotency keys."""

from collections.abc import Iterator
from uuid import UUID

import msgspec

from services.api.http.errors import NotAllowed, UnknownAccount
from services.api.http.refusals import TaskRestricted
from services.api.identity import accounts
from services.api.identity.rights import Reach, Reader
from services.api.workflows import definition
from services.api.workflows.schemas import WorkflowBody
from shared.contracts.catalogue import Catalogue
from shared.errors import FieldProblem, InvalidFields
from shared.ledger.database import Database
from shared.submission import OnceKey
from shared.workflows.submission import WorkflowSubmitter
from shared.workflows.wiring import Graph, GraphStep


class WorkflowSubmissions:
    """Checks what one caller may submit, and submits it."""

    def __init__(self, database: Database, catalogue: Catalogue, submitter: WorkflowSubmitter) -> None:
        self._database = database
        self._catalogue = catalogue
        self._submitter = submitter

    async def submit(self, body: WorkflowBody, caller: Reader, once: OnceKey | None) -> tuple[UUID, bool]:
        """The workflow's id, and whether it is new. Raises what a submission of its tasks raises."""
        graph = definition.compiled(body, self._catalogue, owner=caller.id)
        for each in graph.steps:
            if each.contract.staff_only and not caller.is_staff:
                raise TaskRestricted(each.contract.name)
        await self._check_recipients(graph, caller)
        if once is None:
            _refuse_without_key(graph)
            return await self._submitter.submit(graph), True
        return await self._submitter.submit_once(graph, once)

    async def _check_recipients(self, graph: Graph, caller: Reader) -> None:
        """Users may name themselves only, administrators any account that exists."""
        named: set[int] = set()
        for each in graph.steps:
            field = f"steps[{each.step.name}].params.{each.contract.recipient}"
            if each.contract.recipient in each.inputs and caller.reach is not Reach.ALL:
                raise NotAllowed(field, "must be your own id, and is read from another step")
            others = set(_recipients(each)) - {caller.id}
            if others and caller.reach is not Reach.ALL:
                raise NotAllowed(field, "must be your own id")
            named |= others
        if named - await accounts.existing(self._database, named) if named else ():
            raise UnknownAccount("steps")


def _recipients(each: GraphStep) -> Iterator[int]:
    """Accounts that the tasks of a step are for."""
    if each.contract.recipient is None or each.contract.recipient in each.inputs:
        return
    for text in each.params:
        recipient = msgspec.json.decode(text).get(each.contract.recipient)
        if recipient is not None:
            yield recipient


def _refuse_without_key(graph: Graph) -> None:
    names = sorted({each.contract.name for each in graph.steps if each.contract.needs_key})
    if names:
        rule = f"is required for {', '.join(names)}: choose one for each intention and repeat it with a retry"
        raise InvalidFields([FieldProblem("Idempotency-Key", rule)])
