"""Answers about workflows and their steps."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from often_client.answers.tasks import FINAL


class WorkflowSubmitted(Struct):
    workflow_id: UUID
    status: str
    message: str


class Workflow(Struct, kw_only=True):
    id: UUID
    name: str
    #: Status of the workflow: running, success, failure or revoked.
    status: str
    owner: int | None
    on_failure: str
    unique: str | None
    open_steps: int
    created_at: datetime
    completed_at: datetime | None
    deadline_at: datetime | None
    cancel_requested_at: datetime | None
    #: Number of the workflow's present run. The first is 1, and each retry adds 1.
    run: int
    parent: UUID | None
    schedule: str | None
    fire_time: datetime | None
    revision: int

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


class Step(Struct, kw_only=True):
    step: str
    task: str
    needs: list[str]
    #: Whether the step is a handler: a step that runs after a failure, or in any case.
    handler: bool
    state: str
    #: Number of tasks in the step if it is a group; None if the step is a single task.
    members: int | None
    succeeded: int
    failed: int
    revoked: int
    started_at: datetime | None
    completed_at: datetime | None
    task_id: UUID | None
    task_status: str | None
    attempt: int | None
    error_kind: str | None


class WorkflowGraph(Workflow, kw_only=True):
    #: The workflow's steps, ordered so that each comes after the steps that it needs.
    steps: list[Step]
