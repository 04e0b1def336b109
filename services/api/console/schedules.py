"""The console's pages of schedules: when each one fires, how its tasks ended, and the forms to fire
it now, pause it and resume it.
"""

from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from services.api.console import addresses, documents, notices
from services.api.console.pages import Pages
from services.api.identity.rights import Reader
from services.api.schedules.schedule_view import ScheduleView
from services.api.schedules.schedules import Schedules
from services.api.schedules.schemas import ScheduleChange

PATH: Final = "/console/schedules"
PAGE_SIZE: Final = 50
FIRINGS: Final = 25


@get("/schedules")
async def list_schedules(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    view: NamedDependency[ScheduleView],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    cursor = request.query_params.get("cursor")
    found = await view.page(reader, limit=PAGE_SIZE, cursor=cursor, enabled=None, task_name=None)
    return pages.answer(
        request,
        "schedules.html.j2",
        found=found,
        cursor=cursor,
        older=addresses.changed(PATH, [], cursor=found.next_cursor),
    )


@get("/schedules/{name:str}")
async def show_schedule(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    reader: NamedDependency[Reader],
    view: NamedDependency[ScheduleView],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    cursor = request.query_params.get("cursor")
    return pages.answer(
        request,
        "schedule.html.j2",
        schedule=await view.find(name, reader),
        firings=await view.firings(name, limit=FIRINGS, cursor=cursor),
        cursor=cursor,
        documents=documents,
    )


@post("/schedules/{name:str}/fire")
async def fire(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    reader: NamedDependency[Reader],
    schedules: NamedDependency[Schedules],
) -> Response[Any]:
    fired = await schedules.fire(name, reader)
    kind = "tasks" if fired.is_task else "workflows"
    return notices.back(request, f"/console/{kind}/{fired.id}", f"{name} is fired.")


@post("/schedules/{name:str}/switch")
async def switch(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    reader: NamedDependency[Reader],
    schedules: NamedDependency[Schedules],
) -> Response[Any]:
    """Handle the forms that pause or resume a schedule."""
    form = addresses.fields(await request.form())
    on = form.get("enabled") == "yes"
    await schedules.change(name, ScheduleChange(enabled=on), reader)
    text = f"{name} fires again by the clock." if on else f"{name} is paused: it does not fire."
    return notices.back(request, addresses.local(form.get("next"), PATH), text)
