"""Runs a workflow inline for unit tests: in the caller's process and event loop, without Redis, a
worker or the database of tasks.

run = await run_workflow_inline(flow, [validate, charge, refund])
assert run.status == "failure"
assert run.states["refund"] == "success"
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from shared.errors import Cancelled
from shared.ledger.database import Database
from shared.testing import Task, run_inline
from shared.workflows import inputs, wiring
from shared.workflows.graph import News, Plan, plan
from shared.workflows.inputs import End
from shared.workflows.states import Ended, Flow, State, Status
from shared.workflows.wiring import GraphStep
from shared.workflows.workflow import Workflow


class InlineWorkflow(msgspec.Struct, kw_only=True):
    """The outcome of an inline run of a workflow."""

    status: Status
    states: dict[str, State]
    #: How each task of a step ended, by the name of the step. Results are decoded JSON.
    ends: dict[str, list[End]]

    def result(self, step: str) -> Any:
        """The result of a step that is a single task. Raises LookupError if the step has no
        result.
        """
        end = next(iter(self.ends[step]), End(status=None))
        if end.status != "success":
            raise LookupError(f"step {step!r} is {end.status or 'skipped'}: {end.error_message}")
        return end.result


async def run_workflow_inline(
    flow: Workflow,
    tasks: Sequence[Task[Any, Any]],
    *,
    gateways: Mapping[type, Any] | None = None,
    database: Database | None = None,
) -> InlineWorkflow:
    """Run the body of each task in the workflow once, without retries. If a body raises an error,
    its task fails.

    `tasks` are the task functions for all contracts that the workflow uses. Raises InvalidFields,
    as submitting the workflow does.
    """
    graph = wiring.compile(flow)
    bodies = {task.contract.name: task for task in tasks}
    missing = {each.contract.name for each in graph.steps} - bodies.keys()
    if missing:
        raise ValueError(
            f"the workflow has steps whose functions are missing in `tasks`: {', '.join(sorted(missing))}; "
            "pass these functions too"
        )
    running = _Run(
        graph.steps, Flow(id=UUID(int=0), on_failure=graph.on_failure, open_steps=len(graph.steps))
    )
    while waiting := running.next():
        end = await _ended(bodies[waiting.contract.name], waiting, running, gateways, database, graph.owner)
        running.note(waiting, end)
    return running.outcome()


class _Run:
    """The state of the running workflow. A worker would store it in Postgres."""

    def __init__(self, steps: Sequence[GraphStep], flow: Flow) -> None:
        self._graph = {each.step.name: each for each in steps}
        self._steps = {each.step.name: each.step for each in steps}
        self._flow = flow
        self._released: list[str] = []
        self.ends: dict[str, list[End]] = {name: [] for name in self._steps}
        self._apply(plan(flow, self._steps.values(), News(), complete=True))

    def next(self) -> GraphStep | None:
        """The step whose task runs next. None if no task is left."""
        while self._released and len(self.ends[self._released[0]]) == self._steps[self._released[0]].size:
            del self._released[0]
        return self._graph[self._released[0]] if self._released else None

    def note(self, each: GraphStep, end: End) -> None:
        name = each.step.name
        self.ends[name].append(end)
        counts = {"success": Ended(succeeded=1), "failure": Ended(failed=1), "revoked": Ended(revoked=1)}
        news = News(ended={name: counts[end.status or ""]})
        self._apply(plan(self._flow, self._steps.values(), news, complete=True))

    def _apply(self, made: Plan) -> None:
        self._flow = made.flow
        self._steps |= {step.name: step for step in made.changed}
        self._released += made.released
        for name in made.cancelled:
            left = self._steps[name].size - len(self.ends[name])
            for _ in range(left):
                self.note(self._graph[name], End(status="revoked"))

    def read(self, each: GraphStep) -> dict[str, Any]:
        """The values that a step reads from the results of other steps. A skipped step counts as a
        task that ended without a status.
        """
        ends = {
            name: found or ([] if self._graph[name].grouped else [End(status=None)])
            for name, found in self.ends.items()
        }
        return inputs.values(each.inputs, ends)

    def outcome(self) -> InlineWorkflow:
        states = {name: step.state for name, step in self._steps.items()}
        return InlineWorkflow(status=self._flow.status, states=states, ends=self.ends)


async def _ended(
    task: Task[Any, Any],
    each: GraphStep,
    running: _Run,
    gateways: Mapping[type, Any] | None,
    database: Database | None,
    owner: int | None,
) -> End:
    """Run the next task of a step, and return how it ended."""
    constants = msgspec.json.decode(each.params[len(running.ends[each.step.name])])
    try:
        params = task.contract.check_params({**constants, **running.read(each)})
        run = await run_inline(task, params, gateways=gateways, database=database, owner=owner)
    except Cancelled as error:
        return End(status="revoked", error_message=str(error))
    except Exception as error:  # noqa: BLE001 - whatever a body raises fails its task
        return End(status="failure", error_kind=type(error).__name__, error_message=str(error))
    return End(status="success", result=msgspec.to_builtins(run.result))
