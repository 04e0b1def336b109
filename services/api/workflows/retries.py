"""Accepts retries of workflows: what is refused, what is chosen, and the events that carry it out.

All of it happens under the workflow's lock, which an advance needs as well. Of two retries at once the second
one sees what the first one has noted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.trail import Target
from services.api.identity.rights import Reader
from services.api.workflows import edits
from services.api.workflows.refusals import (
    HandlersRan,
    NothingToRetry,
    ResultsGone,
    StepHasNotRun,
    StepsUnfinished,
    WorkflowEnding,
    WorkflowNotFound,
    WorkflowRetrying,
)
from services.api.workflows.schemas import RetryBody, WorkflowAnswer
from shared.contracts.catalogue import Catalogue
from shared.errors import FieldProblem, InvalidFields
from shared.ledger.database import Database
from shared.ledger.transitions import retry as transitions
from shared.ledger.transitions.workflow import ALL_STEPS
from shared.vault import Vault
from shared.workflows import retry
from shared.workflows.reference import Input
from shared.workflows.retry import Choice, Handlers, Mode
from shared.workflows.states import Ended, State, Step

_STEPS = msgspec.json.Decoder(list[Step])
_INPUTS = msgspec.json.Decoder(dict[str, Input])


@dataclass(frozen=True, slots=True)
class Held:
    """A workflow that this transaction has locked."""

    status: str
    #: By name, with the ends that no advance has applied yet.
    steps: Mapping[str, Step]

    def started(self, name: str) -> Step:
        """A step that has run. Raises InvalidFields or StepHasNotRun."""
        if name not in self.steps:
            rule = "is no step of this workflow; GET /api/v1/workflows/{workflow_id} lists them"
            raise InvalidFields([FieldProblem("step", rule)])
        step = self.steps[name]
        if not retry.has_run(step):
            raise StepHasNotRun(name, step.state)
        return step


class Retries:
    """Retries workflows, and tasks of workflows."""

    def __init__(self, database: Database, catalogue: Catalogue, vault: Vault) -> None:
        self._database = database
        self._catalogue = catalogue
        self._vault = vault

    async def retry(self, flow: WorkflowAnswer, body: RetryBody, reader: Reader) -> Choice:
        """Accept a retry, with its row of the audit log. Raises InvalidFields or a Refusal."""
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
        """Note what is to run again, inside the caller's transaction. Raises InvalidFields or a Refusal."""
        _check(body)
        held = await self._hold(workflow_id)
        if body.step is not None:
            held.started(body.step)
        _refuse_handlers(held, body.handlers, but=body.step)
        choice = retry.choose(held.steps, body.mode, body.step, body.handlers)
        if not choice.steps:
            raise NothingToRetry(held.status)
        if body.params and body.step is not None:
            await edits.edit(
                self._database, self._catalogue, self._vault, workflow_id, body.step, body.params
            )
        await self._refuse(workflow_id, held, choice)
        await self.note(workflow_id, choice)
        return choice

    async def choose_for_task(self, workflow_id: UUID, step: str, handlers: Handlers | None) -> Choice:
        """Lock the workflow of a task that is to begin again, inside the caller's transaction.

        `note` what it returns once the task has begun. Raises a Refusal.
        """
        held = await self._hold(workflow_id)
        held.started(step)
        _refuse_handlers(held, handlers, but=step)
        choice = retry.choose_for_task(held.steps, step, handlers)
        await self._refuse(workflow_id, held, choice, step)
        return choice

    async def note(self, workflow_id: UUID, choice: Choice) -> None:
        """Let the workflow run again, and note its steps for the next advance."""
        await self._database.run(transitions.RUN_AGAIN, id=workflow_id)
        kinds = ["mend" if name in choice.mended else "repeat" for name in choice.steps]
        await self._database.run(
            transitions.NOTE_AGAIN, id=workflow_id, steps=list(choice.steps), kinds=kinds
        )

    async def _hold(self, workflow_id: UUID) -> Held:
        """Raises WorkflowNotFound, WorkflowEnding or WorkflowRetrying."""
        rows = await self._database.run(transitions.HOLD, id=workflow_id)
        if not rows:
            raise WorkflowNotFound(workflow_id)
        events = await self._database.run(transitions.PENDING_EVENTS, id=workflow_id)
        kinds = {event["kind"] for event in events}
        if rows[0]["halted"] or not kinds.isdisjoint(("cancel", "deadline")):
            raise WorkflowEnding
        if not kinds.isdisjoint(("repeat", "mend")):
            raise WorkflowRetrying
        (row,) = await self._database.run(ALL_STEPS, id=[workflow_id])
        steps = {step.name: step for step in _STEPS.decode(row["steps"])}
        for event in events:
            if event["step"] in steps:
                ended = Ended(event["succeeded"], event["failed"], event["revoked"])
                steps[event["step"]] = _counted(steps[event["step"]], ended)
        return Held(rows[0]["status"], steps)

    async def _refuse(self, workflow_id: UUID, held: Held, choice: Choice, *more: str) -> None:
        """Raises StepsUnfinished or ResultsGone; `more` are steps that read from others as well."""
        if choice.unfinished:
            raise StepsUnfinished(choice.unfinished)
        whole = {name for name in choice.steps if held.steps[name].begun} - set(choice.mended)
        read = await self._read_by(workflow_id, [*choice.steps, *more])
        whole |= {name for name in read if retry.has_run(held.steps[name])}
        names = sorted(whole.union(choice.mended))
        rows = await self._database.run(transitions.TASKS_OF_STEPS, id=workflow_id, steps=names)
        found = {row["step"]: row for row in rows}
        gone = {name for name in whole if _number(found, name, "tasks") < held.steps[name].size}
        gone |= {name for name in choice.mended if _number(found, name, "lost") < held.steps[name].missing}
        if gone:
            raise ResultsGone(sorted(gone, key=lambda name: held.steps[name].position))

    async def _read_by(self, workflow_id: UUID, steps: list[str]) -> set[str]:
        """Steps whose ends are read by these."""
        rows = await self._database.run(transitions.INPUTS_OF_STEPS, id=workflow_id, steps=steps)
        inputs = [each for row in rows for each in _INPUTS.decode(row["inputs"]).values()]
        return {source.step for each in inputs for source in each.sources}


def _check(body: RetryBody) -> None:
    """Raises InvalidFields."""
    problems = []
    if (body.mode is Mode.FROM) != (body.step is not None):
        problems.append(FieldProblem("step", "must be given when mode is from, and only then"))
    if body.params is not None and body.mode is not Mode.FROM:
        problems.append(FieldProblem("params", "may be edited when mode is from only"))
    if problems:
        raise InvalidFields(problems)


def _refuse_handlers(held: Held, handlers: Handlers | None, *, but: str | None) -> None:
    """Raises HandlersRan: what was made up for, as by a refund, must not happen again by accident."""
    if handlers is None:
        ran = retry.handlers_that_ran(held.steps, but=but)
        if ran:
            raise HandlersRan(ran)


def _counted(step: Step, ended: Ended) -> Step:
    return step if step.state is State.SKIPPED else step.counted(ended)


def _number(found: Mapping[str, Mapping[str, Any]], name: str, column: str) -> int:
    return int(found[name][column]) if name in found else 0
