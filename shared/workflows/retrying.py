"""Carries out a retry of a workflow in one transaction: locks the workflow, chooses the steps that
run again, and records the choice. All kinds of retries use this code.

Applying events of the workflow needs the same lock. If two retries are requested at the same time,
the second one therefore sees what the first has stored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from shared.contracts.context import Sql
from shared.errors import FieldProblem, InvalidFields
from shared.ledger.transitions import retry as transitions
from shared.ledger.transitions.workflow import ALL_STEPS
from shared.workflows import retry
from shared.workflows.reference import Input
from shared.workflows.refusals import (
    HandlersRan,
    NothingToRetry,
    ResultsGone,
    StepHasNotRun,
    StepsUnfinished,
    WorkflowEnding,
    WorkflowGone,
    WorkflowRetrying,
)
from shared.workflows.retry import Choice, Handlers, Mode
from shared.workflows.states import Ended, State, Step

_STEPS = msgspec.json.Decoder(list[Step])
_INPUTS = msgspec.json.Decoder(dict[str, Input])


@dataclass(frozen=True, slots=True)
class Held:
    """A workflow that the current transaction has locked."""

    status: str
    #: The steps by name. Their counts include tasks that ended but whose events have not been
    #: applied yet.
    steps: Mapping[str, Step]

    def started(self, name: str) -> Step:
        """Return a step by name. Raises InvalidFields if it does not exist, or StepHasNotRun if it
        has no tasks.
        """
        if name not in self.steps:
            rule = "is no step of this workflow; GET /api/v1/workflows/{workflow_id} lists them"
            raise InvalidFields([FieldProblem("step", rule)])
        step = self.steps[name]
        if not retry.has_run(step):
            raise StepHasNotRun(name, step.state)
        return step


class Retrying:
    """Retries workflows inside a transaction that the caller has opened."""

    def __init__(self, database: Sql) -> None:
        self._database = database

    async def accept(self, workflow_id: UUID, mode: Mode, handlers: Handlers | None) -> Choice:
        """Retry a workflow with any mode except `from`. Raises RetryRefused, in which case nothing
        was written.
        """
        held = await self.hold(workflow_id)
        choice = self.choose(held, mode, None, handlers)
        await self.refuse(workflow_id, held, choice)
        await self.note(workflow_id, choice)
        return choice

    async def hold(self, workflow_id: UUID) -> Held:
        """Lock a workflow and load its steps. Raises WorkflowGone, WorkflowEnding or
        WorkflowRetrying.
        """
        rows = await self._database.run(transitions.HOLD, id=workflow_id)
        if not rows:
            raise WorkflowGone(workflow_id)
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

    def choose(self, held: Held, mode: Mode, step: str | None, handlers: Handlers | None) -> Choice:
        """Choose the steps that run again. `step` is the given step of Mode.FROM, and None for
        other modes. Raises a subclass of RetryRefused, or InvalidFields.
        """
        if step is not None:
            held.started(step)
        _refuse_handlers(held, handlers, but=step)
        choice = retry.choose(held.steps, mode, step, handlers)
        if not choice.steps:
            raise NothingToRetry(held.status)
        return choice

    def choose_for_task(self, held: Held, step: str, handlers: Handlers | None) -> Choice:
        """Choose which steps wait again if a single task of a step runs again. Raises the same
        errors as `choose`.
        """
        held.started(step)
        _refuse_handlers(held, handlers, but=step)
        return retry.choose_for_task(held.steps, step, handlers)

    async def refuse(self, workflow_id: UUID, held: Held, choice: Choice, *more: str) -> None:
        """Raise StepsUnfinished or ResultsGone if the choice cannot be carried out. `more` names
        further steps whose tasks will read results of other steps.
        """
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
        """Names of the steps whose results these steps read."""
        rows = await self._database.run(transitions.INPUTS_OF_STEPS, id=workflow_id, steps=steps)
        inputs = [each for row in rows for each in _INPUTS.decode(row["inputs"]).values()]
        return {source.step for each in inputs for source in each.sources}

    async def note(self, workflow_id: UUID, choice: Choice) -> None:
        """Set the status of the workflow to running, and store an event for each chosen step."""
        await self._database.run(transitions.RUN_AGAIN, id=workflow_id)
        kinds = ["mend" if name in choice.mended else "repeat" for name in choice.steps]
        await self._database.run(
            transitions.NOTE_AGAIN, id=workflow_id, steps=list(choice.steps), kinds=kinds
        )


def _refuse_handlers(held: Held, handlers: Handlers | None, *, but: str | None) -> None:
    """Raise HandlersRan if failure handlers have run and the caller has not said what to do with
    them. A handler may have compensated for earlier work, for example with a refund, and that work
    must not be done again by accident.
    """
    if handlers is None:
        ran = retry.handlers_that_ran(held.steps, but=but)
        if ran:
            raise HandlersRan(ran)


def _counted(step: Step, ended: Ended) -> Step:
    return step if step.state is State.SKIPPED else step.counted(ended)


def _number(found: Mapping[str, Mapping[str, Any]], name: str, column: str) -> int:
    return int(found[name][column]) if name in found else 0
