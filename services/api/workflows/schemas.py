"""Schemas of the request bodies and responses of the workflow routes."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta

from services.api.http.schemas import Answer, Body, Reason
from shared.contracts.contract import HIGHEST_PRIORITY, LOWEST_PRIORITY
from shared.errors import MAX_DELAY
from shared.workflows.retry import Handlers, Mode
from shared.workflows.states import OnFailure, Rule, State
from shared.workflows.wiring import MAX_MEMBERS, MAX_STEPS

Priority = Annotated[int, Meta(ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY, description="9 is served first")]
Count = Annotated[int, Meta(ge=1, le=MAX_MEMBERS)]
Name = Annotated[str, Meta(max_length=100)]


class When(StrEnum):
    """When a step begins, depending on how the steps in its `needs` ended."""

    ALL = "all"
    ANY = "any"
    AT_LEAST = "at_least"
    ALWAYS = "always"
    FAILED = "failed"


class StepBody(Body, kw_only=True):
    """One step of a workflow: a single task with `params`, or a group of tasks with `members`."""

    step: Name
    task: Annotated[str, Meta(max_length=100, description="Name of a task, `area.verb_object`")]
    params: (
        Annotated[
            dict[str, Any],
            Meta(description='{"$from": "step.field"} is a result, {"$outcome": "step"} how a step ended'),
        ]
        | None
    ) = None
    members: (
        Annotated[
            list[dict[str, Any]],
            Meta(max_length=MAX_MEMBERS, description="Parameters of each member of a group"),
        ]
        | None
    ) = None
    needs: Annotated[
        tuple[Name, ...],
        Meta(
            max_length=MAX_STEPS,
            description="Steps that must end before this one, in addition to those from which it reads",
        ),
    ] = ()
    when: When = When.ALL
    #: With `when` at_least: how many of the steps in `needs` must succeed before this step begins.
    k: Count | None = None
    #: How many members of the group must succeed for the step to succeed.
    at_least: Count | None = None
    #: The step succeeds as soon as this many members of the group succeed; the other members are
    #: then canceled.
    first: Count | None = None
    priority: Priority | None = None
    delay_s: Annotated[float, Meta(ge=0, le=MAX_DELAY.total_seconds())] | None = None


class WorkflowBody(Body, kw_only=True):
    name: Name
    steps: Annotated[list[StepBody], Meta(min_length=1, max_length=MAX_STEPS)]
    deadline_s: Annotated[float, Meta(gt=0, le=MAX_DELAY.total_seconds())] | None = None
    on_failure: OnFailure = OnFailure.GO_ON
    unique: (
        Annotated[
            str,
            Meta(
                max_length=255, description="At most one unfinished workflow of this name may have this key"
            ),
        ]
        | None
    ) = None
    priority: Priority | None = None


HandlersThatRan = Annotated[
    Handlers,
    Meta(
        description="Required if handlers have run: again decides again whether they run, "
        "keep leaves them as they are"
    ),
]


class RetryBody(Body, kw_only=True):
    """A request to retry a workflow. If the request has no body, the mode is `failed`."""

    mode: Annotated[
        Mode,
        Meta(
            description="failed: what did not succeed; downstream: this and all steps below it; from: "
            "`step` and all steps below it; all: every step"
        ),
    ] = Mode.FAILED
    step: Annotated[Name, Meta(description="The first step to repeat, with mode from")] | None = None
    params: (
        Annotated[
            dict[str, Any],
            Meta(description="With mode from: constants that replace parameters of the step's single task"),
        ]
        | None
    ) = None
    handlers: HandlersThatRan | None = None
    reason: Reason | None = None


class WorkflowSubmitted(Answer):
    workflow_id: UUID
    status: str
    message: str


class WorkflowAnswer(Answer, kw_only=True):
    id: UUID
    name: str
    #: Status of the workflow: running, success, failure or revoked.
    status: str
    owner: int | None
    on_failure: OnFailure
    unique: str | None
    open_steps: int
    created_at: datetime
    completed_at: datetime | None
    deadline_at: datetime | None
    cancel_requested_at: datetime | None
    #: Number of the workflow's current run, starting at 1. Each retry increases it.
    run: int
    #: The task whose body submitted the workflow; null if no task did.
    parent: UUID | None
    #: The schedule that started the workflow, and the nominal time for which it did so; null if no
    #: schedule did.
    schedule: str | None
    fire_time: datetime | None
    #: Number that increases with each change of the workflow.
    revision: int


class StepAnswer(Answer, kw_only=True):
    step: str
    task: str
    needs: list[str]
    rule: Rule
    #: True if the step is a handler: it runs only after a failure, or whatever the outcome.
    handler: bool
    state: State
    #: Number of members if the step is a group; null if it is a single task.
    members: int | None
    succeeded: int
    failed: int
    revoked: int
    started_at: datetime | None
    completed_at: datetime | None
    #: Id of the step's task, once it exists. For a group, this is null; its tasks are at
    #: `/steps/{step}/tasks`.
    task_id: UUID | None
    task_status: str | None
    attempt: int | None
    error_kind: str | None


class WorkflowGraph(WorkflowAnswer, kw_only=True):
    #: The steps of the workflow. Each step comes after all steps that it needs.
    steps: list[StepAnswer]


class WorkflowPage(Answer):
    items: list[WorkflowAnswer]
    #: Value to send as `cursor` to get the next page; null on the last page.
    next_cursor: str | None
