"""Answers about schedules, their past and future times, and backfills."""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct


class Schedule(Struct, kw_only=True):
    name: str
    #: Name of the task that the schedule submits; None if it starts a workflow.
    task_name: str | None
    workflow: str | None
    params: dict[str, Any]
    kind: str
    expression: str
    time_zone: str
    jitter_s: float
    misfire: str
    misfire_grace_s: float
    catch_up_s: float
    overlap: str
    priority: int | None
    source: str
    owner: int | None
    enabled: bool
    paused_at: datetime | None
    paused_by: int | None
    starts_at: datetime
    next_fire_times: list[datetime]
    last_fire_time: datetime | None
    created_at: datetime
    updated_at: datetime
    revision: int


class Fired(Struct):
    """What a schedule submitted when it was fired by hand: a task or a workflow."""

    status: str
    message: str
    task_id: UUID | None = None
    workflow_id: UUID | None = None


class Firing(Struct):
    fire_time: datetime
    outcome: str
    task_id: UUID | None
    workflow_id: UUID | None
    fired_at: datetime
    detail: str | None


class BackfillTime(Struct):
    fire_time: datetime
    #: True if something was submitted for this time before, so the backfill skips it.
    fired_already: bool
    task_id: UUID | None
    workflow_id: UUID | None


class Backfill(Struct):
    times: list[BackfillTime]
    #: Number of the schedule's past times for which nothing was submitted.
    number: int
    message: str


class PreviewTime(Struct):
    utc: datetime
    local: datetime


class Preview(Struct):
    times: list[PreviewTime]
