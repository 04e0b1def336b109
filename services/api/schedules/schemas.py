"""Schedules as they are made, changed and read."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from services.api.http.schemas import Answer, Body, Reason
from shared.contracts.contract import HIGHEST_PRIORITY, LOWEST_PRIORITY

MONTH_S = 31 * 86_400

Name = Annotated[str, Meta(max_length=200, description="Lower case words joined by dots, unique")]
#: Kinds and policies are checked by hand: msgspec would not say which there are.
Kind = Annotated[str, Meta(max_length=20, description="cron, interval or once")]
Expression = Annotated[
    str,
    Meta(
        max_length=200,
        description="cron: `15 3 * * mon-fri`; interval: `90 s`, `15 min`, `6 h`, `1 d`; "
        "once: `2026-12-24T18:00:00+01:00`",
    ),
]
Zone = Annotated[str, Meta(max_length=100, description="IANA name; what a cron expression is read in")]
Jitter = Annotated[float, Meta(ge=0, description="Seconds by which a firing is sent later at most")]
Misfire = Annotated[str, Meta(max_length=20, description="Missed times: skip, once (the latest) or all")]
Grace = Annotated[float, Meta(ge=5, le=MONTH_S, description="With skip: how many seconds late still fires")]
CatchUp = Annotated[float, Meta(ge=10, le=MONTH_S, description="Times missed longer ago are given up")]
Overlap = Annotated[str, Meta(max_length=20, description="allow, or skip while an earlier task runs")]
Priority = Annotated[int, Meta(ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY, description="9 is served first")]


class NewScheduleBody(Body, kw_only=True):
    name: Name
    task_name: Annotated[str, Meta(max_length=100, description="Name of a task, `area.verb_object`")]
    params: dict[str, Any]
    kind: Kind
    expression: Expression
    time_zone: Zone = "UTC"
    jitter_s: Jitter = 0
    misfire: Misfire = "once"
    misfire_grace_s: Grace = 60
    catch_up_s: CatchUp = 3_600
    overlap: Overlap = "allow"
    priority: Priority | None = None
    enabled: bool = True
    reason: Reason | None = None


class ScheduleChange(Body, kw_only=True):
    """What is left out stays as it is."""

    params: dict[str, Any] | UnsetType = UNSET
    kind: Kind | UnsetType = UNSET
    expression: Expression | UnsetType = UNSET
    time_zone: Zone | UnsetType = UNSET
    jitter_s: Jitter | UnsetType = UNSET
    misfire: Misfire | UnsetType = UNSET
    misfire_grace_s: Grace | UnsetType = UNSET
    catch_up_s: CatchUp | UnsetType = UNSET
    overlap: Overlap | UnsetType = UNSET
    priority: Priority | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    reason: Reason | UnsetType = UNSET


class PreviewBody(Body, kw_only=True):
    kind: Kind
    expression: Expression
    time_zone: Zone = "UTC"
    count: Annotated[int, Meta(ge=1, le=50)] = 10


class ScheduleAnswer(Answer, kw_only=True):
    name: str
    #: Null where it begins a workflow.
    task_name: str | None
    #: The name of the workflow that it begins; null where it submits a task.
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
    #: Null: the task's own.
    priority: int | None
    #: contract: declared in the code, by a contract or for a workflow; api: made here.
    source: str
    #: Id of the account that made it and owns its tasks; null for a contract's.
    owner: int | None
    enabled: bool
    #: When and by whom it was switched off; null and off: its contract is gone, or its timing can't be read.
    paused_at: datetime | None
    paused_by: int | None
    #: When and by whom a contract's schedule was changed; it follows its contract no longer.
    overridden_at: datetime | None
    overridden_by: int | None
    #: Intervals are counted from here.
    starts_at: datetime
    #: The next nominal times.
    next_fire_times: list[datetime]
    #: The last nominal time for which a task or a workflow was submitted.
    last_fire_time: datetime | None
    created_at: datetime
    updated_at: datetime
    revision: int


class SchedulePage(Answer):
    items: list[ScheduleAnswer]
    #: Give it as `cursor` to get the next page; null on the last one.
    next_cursor: str | None


class FiringAnswer(Answer):
    #: Nominal.
    fire_time: datetime
    #: submitted, skipped_overlap, skipped_misfire or failed.
    outcome: str
    task_id: UUID | None
    workflow_id: UUID | None
    fired_at: datetime
    #: Why nothing was submitted, or who fired by hand.
    detail: str | None


class FiringPage(Answer):
    items: list[FiringAnswer]
    #: Give it as `cursor` to get the next page; null on the last one.
    next_cursor: str | None


class PreviewTime(Answer):
    utc: datetime
    local: datetime


class Preview(Answer):
    #: Fewer than asked for where no more come within five years.
    times: list[PreviewTime]
