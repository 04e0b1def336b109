"""API calls that submit, read, follow, cancel and retry workflows."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from often_client.answers import Page, TaskPage, Workflow, WorkflowGraph, WorkflowSubmitted
from often_client.choices import Handlers, OnFailure, RetryMode, WorkflowStatus
from often_client.exchange import Call, Steps, new_key, segment
from often_client.methods import Calls, listing, method, stream


class WorkflowCalls(Calls):
    @method
    def submit_workflow(
        self,
        name: str,
        steps: Sequence[Mapping[str, Any]],
        *,
        deadline_s: float | None = None,
        on_failure: OnFailure | None = None,
        unique: str | None = None,
        priority: int | None = None,
        key: str | None = None,
    ) -> Steps[UUID]:
        """Submit a workflow and return its id. docs/workflows.md describes the fields of a step.

        Within a day, calls with the same `key` submit one workflow. While a workflow with this name
        and the same value of `unique` is unfinished, another submission raises Conflict.
        """
        options = {"deadline_s": deadline_s, "on_failure": on_failure, "unique": unique, "priority": priority}
        given = {option: value for option, value in options.items() if value is not None}
        body = {"name": name, "steps": steps, **given}
        call = Call("POST", "workflows", WorkflowSubmitted, body=body, key=key or new_key())
        return (yield from self._ask(call)).workflow_id

    @method
    def workflow(self, workflow_id: UUID) -> Steps[WorkflowGraph]:
        """Return a workflow with its steps."""
        return self._ask(Call("GET", f"workflows/{workflow_id}", WorkflowGraph))

    @listing
    def workflows(
        self,
        *,
        status: WorkflowStatus | None = None,
        name: str | None = None,
        page_size: int | None = None,
    ) -> Call[Page[Workflow]]:
        """List workflows, newest first."""
        query = {"status": status, "name": name, "limit": page_size}
        return Call("GET", "workflows", Page[Workflow], query=query)

    @listing
    def members(self, workflow_id: UUID, step: str, *, page_size: int | None = None) -> Call[TaskPage]:
        """List the tasks of a workflow step, in the order of the group's members."""
        path = f"workflows/{workflow_id}/steps/{segment(step)}/tasks"
        return Call("GET", path, TaskPage, query={"limit": page_size})

    @stream
    def workflow_events(self, workflow_id: UUID) -> Call[None]:
        """Yield each change of a workflow and of its tasks until the workflow ends."""
        return Call("GET", f"workflows/{workflow_id}/events", type(None))

    @method
    def cancel_workflow(self, workflow_id: UUID) -> Steps[WorkflowSubmitted]:
        """Cancel a workflow. Steps that are defined to run in any case still run."""
        return self._ask(Call("DELETE", f"workflows/{workflow_id}", WorkflowSubmitted))

    @method
    def retry_workflow(
        self,
        workflow_id: UUID,
        *,
        mode: RetryMode = "failed",
        step: str | None = None,
        params: Mapping[str, Any] | None = None,
        handlers: Handlers | None = None,
        reason: str | None = None,
    ) -> Steps[WorkflowSubmitted]:
        """Run a part of an ended workflow again. Requires an operator.

        With the mode "from", `step` names the first step, and `params` replaces some of its
        parameters. If handlers of the workflow have already run, `handlers` is required.
        """
        body = {"mode": mode, "step": step, "params": params, "handlers": handlers, "reason": reason}
        return self._ask(Call("POST", f"workflows/{workflow_id}/retry", WorkflowSubmitted, body=body))
