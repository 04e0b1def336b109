"""The console's start page: first the current problems, then the current activity.

The parts of the page are read concurrently. If one cannot be read, the others are shown.
"""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any, Final, TypeVar
from urllib.parse import quote

from litestar import Request, Response, get
from litestar.di import NamedDependency

from services.api.bulk.bulk_view import BulkView
from services.api.bulk.schemas import BulkPage
from services.api.console import bulk_form, bulk_progress, charts
from services.api.console.overview_figures import ACTS, OverviewFigures
from services.api.console.pages import Pages
from services.api.identity.rights import Reach, Reader
from services.api.operations.health import Health
from services.api.operations.health_schemas import Problem
from services.api.tasks.statistics import StatisticsView
from services.api.tasks.statistics_schemas import Series
from shared.errors import OftenError

T = TypeVar("T")

#: Address of the page that shows the object of a problem, by the kind of object.
_LISTS: Final = {
    "queue": "/console/queues#{}",
    "kind": "/console/tasks?status=failure&name={}",
    "worker": "/console/workers#{}",
    "schedule": "/console/schedules/{}",
    "server": "/console/servers#{}",
    "error": "/console/errors/{}",
    "errors": "/console/errors",
    "bulk": "/console/bulk/{}",
}


@get("/")
async def overview(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    statistics: NamedDependency[StatisticsView],
    overview_figures: NamedDependency[OverviewFigures],
    system_health: NamedDependency[Health],
    bulk_view: NamedDependency[BulkView],
    pages: NamedDependency[Pages],
) -> Response[bytes]:
    if reader.reach is not Reach.ALL:
        summary = await statistics.summary(reader)
        own = await _or_none(bulk_view.page(reader.owned_by, limit=ACTS, cursor=None))
        return pages.answer(request, "overview_own.html.j2", summary=summary, **_under_way(own))
    shared = overview_figures
    (health, hour, day, waits), (queues, alive, firings, acts) = await asyncio.gather(
        asyncio.gather(
            system_health.look(),
            _or_none(shared.hour.get()),
            _or_none(shared.day.get()),
            _or_none(shared.waits.get()),
        ),
        asyncio.gather(
            _or_none(shared.queues.get()),
            _or_none(shared.workers.get()),
            _or_none(shared.firings.get()),
            _or_none(shared.acts.get()),
        ),
    )
    return pages.answer(
        request,
        "overview.html.j2",
        health=health,
        link=link,
        rates=_rates(hour, health.checked_at),
        bars=charts.bars(charts.filled(day, health.checked_at), day.step_s) if day else None,
        day=day,
        waits=waits,
        queues=queues,
        workers=alive,
        firings=firings,
        **_under_way(acts),
    )


async def _or_none(reading: Awaitable[T]) -> T | None:
    """Return the result of a read, or None if it fails. The page then shows an error in place of
    this part.
    """
    with contextlib.suppress(OftenError):
        return await reading
    return None


def _under_way(found: BulkPage | None) -> dict[str, Any]:
    """The template variables that show the running bulk operations."""
    acts = [act for act in found.items if act.state in bulk_progress.MOVING] if found else []
    return {"acts": acts, "deeds": bulk_form.DEEDS, "progress": bulk_progress.of}


def _rates(hour: Series | None, now: Any) -> dict[str, Any] | None:
    """Rates of the last hour, for each minute. The current minute is left out, because it is
    incomplete.
    """
    if hour is None:
        return None
    points = charts.filled(hour, now)[:-1]
    ended = [point.success + point.failure + point.revoked for point in points]
    failed = [point.failure for point in points]
    waited = [point.mean_wait_s or 0.0 for point in points]
    return {
        "ended": (sum(ended), charts.spark(ended)),
        "failed": (sum(failed), charts.spark(failed)),
        "waited": (
            next((p.mean_wait_s for p in reversed(points) if p.mean_wait_s is not None), None),
            charts.spark(waited),
        ),
    }


def link(problem: Problem) -> str | None:
    """Address of the page that shows the object of a problem; None if there is no such page."""
    target = problem.target
    if problem.code == "tasks-parked" and target:
        return f"/console/tasks?name={quote(target.name, safe='')}"
    address = _LISTS.get(target.kind) if target else None
    return address.format(quote(target.name, safe="")) if address and target else None
