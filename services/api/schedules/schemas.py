"""Schemas of the request bodies and responses of the schedule routes."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType, field

from services.api.http.schemas import Answer, Body, Reason
from shared.contracts.contract import HIGHEST_PRIORITY, LOWEST_PRIORITY

MONTH_S = 31 * 86_400

Name = Annotated[str, Meta(max_length=200, description="Lower case words joined by dots, unique")]
#: The choices for `kind`, `misfire` and `overlap` are checked in code instead of by an enum type,
#: because msgspec's error message for an enum would not list the choices.
Kind = Annotated[str, Meta(max_length=20, description="cron, interval or once")]
Expression = Annotated[
    str,
    Meta(
        max_length=200,
        description="cron: `15 3 * * mon-fri`; interval: `90 s`, `15 min`, `6 h`, `1 d`; "
        "once: `2026-12-24T18:00:00+01:00`",
    ),
]
Zone = Annotated[str, Meta(max_length=100, description="IANA name of the time zone of a cron expression")]
Jitter = Annotated[float, Meta(ge=0, description="Maximum random delay of a firing, in seconds")]
Misfire = Annotated[
    str,
    Meta(max_length=20, description="Which missed times fire later: skip (none), once (the latest) or all"),
]
Grace = Annotated[
    float,
    Meta(
        ge=5,
        le=MONTH_S,
        description="With misfire skip: a time that is at most this many seconds late still fires",
    ),
]
CatchUp = Annotated[
    float,
    Meta(ge=10, le=MONTH_S, description="Times that were missed more than this many seconds ago never fire"),
]
Overlap = Annotated[str, Meta(max_length=20, description="allow, or skip a time while an earlier task runs")]
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
    """A request to change a schedule. Fields that are left out stay unchanged."""

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
    #: Name of the task that the schedule submits; null if the schedule starts a workflow.
    task_name: str | None
    #: Name of the workflow that the schedule starts; null if it submits a task.
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
    #: Priority of the submitted tasks; null if they get the default priority of their contract.
    priority: int | None
    #: Origin of the schedule: "contract" if it is declared in code, for a task or a workflow; "api"
    #: if it was created through the API.
    source: str
    #: Id of the account that created the schedule and owns its tasks; null for a declared schedule.
    owner: int | None
    enabled: bool
    #: Time at which an operator switched the schedule off, and the operator's account id. Both are
    #: null if the schedule is on, or if it was switched off automatically because the code no
    #: longer declares it or its timing cannot be read.
    paused_at: datetime | None
    paused_by: int | None
    #: Time at which an operator changed a schedule that is declared in code, and the operator's
    #: account id. After such a change, the schedule ignores its declaration.
    overridden_at: datetime | None
    overridden_by: int | None
    #: Time at which the schedule or its current timing started. Intervals are counted from it.
    starts_at: datetime
    #: The next times at which the schedule is due, earliest first.
    next_fire_times: list[datetime]
    #: The latest nominal time (time at which the schedule was due) for which a task or a workflow
    #: was submitted.
    last_fire_time: datetime | None
    created_at: datetime
    updated_at: datetime
    revision: int


class SchedulePage(Answer):
    items: list[ScheduleAnswer]
    #: Value to send as `cursor` to get the next page; null on the last page.
    next_cursor: str | None


class BackfillBody(Body, kw_only=True):
    start: Annotated[datetime, Meta(tz=True, description="The first moment of the span")] = field(name="from")
    end: Annotated[datetime, Meta(tz=True, description="The span ends before it; not in the future")] = field(
        name="to"
    )
    dry_run: Annotated[bool, Meta(description="Only show the times, and submit nothing")] = False
    reason: Reason | None = None


class BackfillTime(Answer):
    #: Nominal time: a time at which the schedule was due.
    fire_time: datetime
    #: True if a task or workflow was already submitted for this nominal time. The backfill then
    #: skips the time.
    fired_already: bool
    task_id: UUID | None
    workflow_id: UUID | None


class Backfill(Answer):
    #: All nominal times of the requested span. Each has the id of the task or workflow that was
    #: submitted for it, either by this request or earlier.
    times: list[BackfillTime]
    #: Number of nominal times that were missing. With `dry_run`, this many tasks or workflows would
    #: be submitted; without it, they were submitted.
    number: int
    message: str


class FiringAnswer(Answer):
    #: Nominal time: the time at which the schedule was due.
    fire_time: datetime
    #: Outcome of the nominal time: submitted, skipped_overlap, skipped_misfire or
    #: failed.
    outcome: str
    task_id: UUID | None
    workflow_id: UUID | None
    fired_at: datetime
    #: The reason why nothing was submitted, or the operator who fired the schedule by request.
    detail: str | None


class FiringPage(Answer):
    items: list[FiringAnswer]
    #: Value to send as `cursor` to get the next page; null on the last page.
    next_cursor: str | None


class PreviewTime(Answer):
    utc: datetime
    local: datetime


class Preview(Answer):
    #: The next nominal times, that is, times at which the schedule would be due. There are fewer
    #: than requested if the schedule has no more within five years.
    times: list[PreviewTime]
