"""The routes that create, show, change, remove and fire schedules."""

from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import Request, Response, Router, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter

from services.api.audit.trail import Target
from services.api.audit.unmasking import Unmask, unmasked
from services.api.http import paging
from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.identity.rights import Reader
from services.api.schedules import schedule_view
from services.api.schedules.backfills import Backfills
from services.api.schedules.schedule_view import ScheduleView
from services.api.schedules.schedules import Schedules
from services.api.schedules.schemas import (
    Backfill,
    BackfillBody,
    FiringPage,
    NewScheduleBody,
    Preview,
    PreviewBody,
    PreviewTime,
    ScheduleAnswer,
    ScheduleChange,
    SchedulePage,
)
from services.api.tasks.schemas import Submitted
from services.api.workflows.schemas import WorkflowSubmitted
from shared.contracts.patterns import whole
from shared.ledger.database import Database
from shared.schedules.timetable import Timing

Limit = Annotated[int, QueryParameter(ge=1, le=100)]
Cursor = Annotated[str | None, QueryParameter(max_length=200, description="next_cursor of an earlier answer")]


@get("/schedules", summary="List schedules by name", responses=documented(400, 401, 403))
async def list_schedules(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    view: NamedDependency[ScheduleView],
    limit: Limit = 50,
    cursor: Cursor = None,
    enabled: Annotated[bool | None, QueryParameter()] = None,
    task_name: Annotated[str | None, QueryParameter(pattern=whole(r"[a-z0-9_.]{1,100}"))] = None,
) -> SchedulePage:
    paging.refuse_unknown(request.query_params, ("limit", "cursor", "enabled", "task_name"))
    return await view.page(reader, limit=limit, cursor=cursor, enabled=enabled, task_name=task_name)


@post(
    "/schedules",
    summary="Create a schedule",
    operation_class=example(
        {
            "name": "health.hourly",
            "task_name": "system.health_check",
            "params": {},
            "kind": "interval",
            "expression": "1 h",
        }
    ),
    description="You own the tasks that it submits. POST /api/v1/schedules/preview shows when it would fire.",
    responses=documented(400, 401, 403, 409, 413, 422),
)
async def make(
    data: JSONBody[NewScheduleBody],
    reader: NamedDependency[Reader],
    schedules: NamedDependency[Schedules],
    view: NamedDependency[ScheduleView],
) -> ScheduleAnswer:
    await schedules.make(data, reader)
    return await view.find(data.name, reader)


@post(
    "/schedules/preview",
    summary="When a schedule would fire",
    operation_class=example({"kind": "cron", "expression": "15 3 * * mon-fri", "time_zone": "Europe/Berlin"}),
    description="Intervals are counted from now.",
    status_code=200,
    responses=documented(400, 401, 403, 413),
)
async def preview(data: JSONBody[PreviewBody]) -> Preview:
    timing = Timing(data.kind, data.expression, data.time_zone)
    times = schedule_view.preview(timing, datetime.now(UTC), data.count)
    return Preview([PreviewTime(time, time.astimezone(timing.zone)) for time in times])


@get("/schedules/{name:str}", summary="Look up a schedule", responses=documented(400, 401, 403, 404))
async def get_schedule(
    name: FromPath[str],
    reader: NamedDependency[Reader],
    view: NamedDependency[ScheduleView],
    database: NamedDependency[Database],
    unmask: Unmask = False,
) -> ScheduleAnswer:
    schedule = await view.find(name, reader)
    sees = await unmasked(database, reader, Target("schedule", name), schedule.owner, unmask=unmask)
    return schedule if sees is reader else await view.find(name, sees)


@patch(
    "/schedules/{name:str}",
    summary="Change a schedule",
    operation_class=example({"enabled": False}),
    description="If a schedule that is declared in code is changed in more than `enabled`, it no "
    "longer follows its declaration.",
    responses=documented(400, 401, 403, 404, 413, 422),
)
async def change(
    name: FromPath[str],
    data: JSONBody[ScheduleChange],
    reader: NamedDependency[Reader],
    schedules: NamedDependency[Schedules],
    view: NamedDependency[ScheduleView],
) -> ScheduleAnswer:
    await schedules.change(name, data, reader)
    return await view.find(name, reader)


@delete("/schedules/{name:str}", summary="Remove a schedule", responses=documented(400, 401, 403, 404, 409))
async def remove(
    name: FromPath[str], reader: NamedDependency[Reader], schedules: NamedDependency[Schedules]
) -> None:
    await schedules.remove(name, reader)


@post(
    "/schedules/{name:str}/fire",
    summary="Fire a schedule now",
    description="Submits its task or workflow once, whether or not the schedule is enabled. Its "
    "regular times do not change. The answer has a task_id, or a workflow_id if the "
    "schedule starts a workflow.",
    status_code=202,
    responses=documented(400, 401, 403, 404, 409, 422),
)
async def fire(
    name: FromPath[str], reader: NamedDependency[Reader], schedules: NamedDependency[Schedules]
) -> Submitted | WorkflowSubmitted:
    fired = await schedules.fire(name, reader)
    path = "tasks" if fired.is_task else "workflows"
    message = f"Schedule {name} was fired; GET /api/v1/{path}/{fired.id} shows its progress."
    if fired.is_task:
        return Submitted(fired.id, "queued", message)
    return WorkflowSubmitted(fired.id, "running", message)


@post(
    "/schedules/{name:str}/backfill",
    summary="Submit the missing times of a schedule",
    operation_class=example({"from": "2026-01-01T00:00:00Z", "to": "2026-01-08T00:00:00Z", "dry_run": True}),
    description="Submits the nominal times from `from` to just before `to` for which nothing was submitted, "
    "because the schedule was off, no scheduler was running, or its overlap skipped them. With "
    "`dry_run`, the answer is 200 and only shows the times. No time is submitted twice. Times may "
    "be 29 days old, and a span may have 1,000 of them, or 50 if the schedule starts workflows.",
    status_code=202,
    responses={
        200: ResponseSpec(Backfill, description="The times"),
        **documented(400, 401, 403, 404, 409, 413, 422),
    },
)
async def backfill(
    name: FromPath[str],
    data: JSONBody[BackfillBody],
    reader: NamedDependency[Reader],
    backfills: NamedDependency[Backfills],
) -> Response[Backfill]:
    answer = (
        await backfills.preview(name, data) if data.dry_run else await backfills.submit(name, data, reader)
    )
    return Response(answer, status_code=200 if data.dry_run else 202)


@get(
    "/schedules/{name:str}/firings",
    summary="Outcomes of a schedule's nominal times, newest first",
    responses=documented(400, 401, 403, 404),
)
async def list_firings(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    view: NamedDependency[ScheduleView],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> FiringPage:
    paging.refuse_unknown(request.query_params, ("limit", "cursor"))
    return await view.firings(name, limit=limit, cursor=cursor)


ROUTER = Router(
    "",
    route_handlers=[
        list_schedules,
        make,
        preview,
        get_schedule,
        change,
        remove,
        fire,
        backfill,
        list_firings,
    ],
    tags=["schedules"],
)
