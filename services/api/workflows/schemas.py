"""Workflows as they are submitted and as they are read."""

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
    """What a step asks of the steps that it needs."""

    ALL = "all"
    ANY = "any"
    AT_LEAST = "at_least"
    ALWAYS = "always"
    FAILED = "failed"


class StepBody(Body, kw_only=True):
    """One task with `params`, or a group of tasks with `members`."""

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
        tuple[Name, ...], Meta(max_length=MAX_STEPS, description="Beside those that it reads from")
    ] = ()
    when: When = When.ALL
    #: How many of `needs`, when `when` is at_least.
    k: Count | None = None
    #: Members of which success is enough.
    at_least: Count | None = None
    #: As `at_least`, and the other members are canceled.
    first: Count | None = None
    priority: Priority | None = None
    delay_s: Annotated[float, Meta(ge=0, le=MAX_DELAY.total_seconds())] | None = None


class WorkflowBody(Body, kw_only=True):
    name: Name
    steps: Annotated[list[StepBody], Meta(min_length=1, max_length=MAX_STEPS)]
    deadline_s: Annotated[float, Meta(gt=0, le=MAX_DELAY.total_seconds())] | None = None
    on_failure: OnFailure = OnFailure.GO_ON
    unique: (
        Annotated[str, Meta(max_length=255, description="One unfinished workflow of this name has this key")]
        | None
    ) = None
    priority: Priority | None = None


HandlersThatRan = Annotated[
    Handlers, Meta(description="Needed when handlers have run: again judges them again, keep leaves them")
]


class RetryBody(Body, kw_only=True):
    """Without a body, mode is failed."""

    mode: Annotated[
        Mode,
        Meta(
            description="failed: what did not succeed; downstream: this and all steps below it; from: "
            "`step` and all steps below it; all: every step"
        ),
    ] = Mode.FAILED
    step: Annotated[Name, Meta(description="Where mode from begins")] | None = None
    params: (
        Annotated[
            dict[str, Any],
            Meta(description="With mode from: constants that replace parameters of its single task"),
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
    #: running, success, failure or revoked.
    status: str
    owner: int | None
    on_failure: OnFailure
    unique: str | None
    open_steps: int
    created_at: datetime
    completed_at: datetime | None
    deadline_at: datetime | None
    cancel_requested_at: datetime | None
    #: Goes up with each retry, from 1.
    run: int
    #: The task whose body began it.
    parent: UUID | None
    #: The schedule that fired it, and its nominal time.
    schedule: str | None
    fire_time: datetime | None
    #: Goes up with each change.
    revision: int


class StepAnswer(Answer, kw_only=True):
    step: str
    task: str
    needs: list[str]
    rule: Rule
    #: It runs after a failure or in any case.
    handler: bool
    state: State
    #: Null for a single task.
    members: int | None
    succeeded: int
    failed: int
    revoked: int
    started_at: datetime | None
    completed_at: datetime | None
    #: The single task, once it exists; members of a group are at `/steps/{step}/tasks`.
    task_id: UUID | None
    task_status: str | None
    attempt: int | None
    error_kind: str | None


class WorkflowGraph(WorkflowAnswer, kw_only=True):
    #: Each after the steps that it needs.
    steps: list[StepAnswer]


class WorkflowPage(Answer):
    items: list[WorkflowAnswer]
    #: Give it as `cursor` to get the next page; null on the last one.
    next_cursor: str | None
