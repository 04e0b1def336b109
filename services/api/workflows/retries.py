"""Accepts retries of workflows.

It checks the request, chooses the steps that run again, and stores the events that start them. All
of this happens while the workflow's row is locked. Applying a workflow's events needs the same
lock. If two retries are requested at the same time, the second one therefore sees what the first
one has stored.
"""

from uuid import UUID

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.trail import Target
from services.api.identity.rights import Reader
from services.api.workflows import edits
from services.api.workflows.schemas import RetryBody, WorkflowAnswer
from shared.contracts.catalogue import Catalogue
from shared.errors import FieldProblem, InvalidFields
from shared.ledger.database import Database
from shared.vault import Vault
from shared.workflows.retry import Choice, Handlers, Mode
from shared.workflows.retrying import Retrying


class Retries:
    """Retries whole workflows, and single tasks that belong to a workflow."""

    def __init__(self, database: Database, catalogue: Catalogue, vault: Vault) -> None:
        self._database = database
        self._catalogue = catalogue
        self._vault = vault
        self._retrying = Retrying(database)

    async def retry(self, flow: WorkflowAnswer, body: RetryBody, reader: Reader) -> Choice:
        """Accept a retry, and record it in the audit log. Raises InvalidFields or a Refusal."""
        async with self._database.short_transaction():
            choice = await self.accept(flow.id, body)
            before = {"status": flow.status, "name": flow.name, "owner": flow.owner}
            after = {
                "mode": body.mode,
                "step": body.step,
                "params": sorted(body.params or ()),
                "handlers": body.handlers,
                "tasks": choice.tasks,
            }
            await trail.record(
                self._database,
                reader.describe(),
                Action.WORKFLOW_RETRIED,
                Target("workflow", flow.id),
                before=before,
                after=after,
                reason=body.reason,
            )
        return choice

    async def accept(self, workflow_id: UUID, body: RetryBody) -> Choice:
        """Store which steps run again, in the caller's transaction. Raises InvalidFields or a
        Refusal.
        """
        _check(body)
        held = await self._retrying.hold(workflow_id)
        choice = self._retrying.choose(held, body.mode, body.step, body.handlers)
        if body.params and body.step is not None:
            await edits.edit(
                self._database, self._catalogue, self._vault, workflow_id, body.step, body.params
            )
        await self._retrying.refuse(workflow_id, held, choice)
        await self.note(workflow_id, choice)
        return choice

    async def choose_for_task(self, workflow_id: UUID, step: str, handlers: Handlers | None) -> Choice:
        """Choose the steps that run again together with one retried task.

        Locks the workflow in the caller's transaction. Once the task's row is reopened, pass the
        result to `note`. Raises a Refusal.
        """
        held = await self._retrying.hold(workflow_id)
        choice = self._retrying.choose_for_task(held, step, handlers)
        await self._retrying.refuse(workflow_id, held, choice, step)
        return choice

    async def note(self, workflow_id: UUID, choice: Choice) -> None:
        """Set the workflow's status to running, and store events that start the chosen steps."""
        await self._retrying.note(workflow_id, choice)


def _check(body: RetryBody) -> None:
    """Check that the fields of the retry request fit together. Raises InvalidFields."""
    problems = []
    if (body.mode is Mode.FROM) != (body.step is not None):
        problems.append(FieldProblem("step", "must be given when mode is from, and only then"))
    if body.params is not None and body.mode is not Mode.FROM:
        problems.append(FieldProblem("params", "may be edited when mode is from only"))
    if problems:
        raise InvalidFields(problems)
