"""The routes of task statistics."""

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from services.api.http.errors import documented
from services.api.identity.rights import Reader
from services.api.tasks.statistics import StatisticsView
from services.api.tasks.statistics_schemas import Kinds, Series, TaskSummary, Waits
from shared.contracts.patterns import whole
from shared.ledger.rollup import HOUR_DAYS

Name = Annotated[str | None, QueryParameter(pattern=whole(r"[a-z0-9_.]{1,100}"))]
#: Query parameter for the time span in hours. It is limited to a month, because computing quantiles
#: over more rows would take too long.
Hours = Annotated[int, QueryParameter(ge=1, le=24 * 31, description="How far back")]


@get(
    "/tasks/stats/summary",
    summary="Count tasks",
    description="Users get the counts of their own tasks. Operators and administrators get the "
    "counts of all; for them, ended tasks are those of the last 30 days, from "
    "statistics that are some seconds old.",
    responses=documented(401, 403, 504),
)
async def summarise(
    reader: NamedDependency[Reader], statistics: NamedDependency[StatisticsView]
) -> TaskSummary:
    return await statistics.summary(reader)


@get(
    "/tasks/stats/series",
    summary="Ended tasks over time",
    description="From statistics that are some seconds old.",
    responses=documented(400, 401, 403, 504),
)
async def series(
    statistics: NamedDependency[StatisticsView],
    hours: Annotated[int, QueryParameter(ge=1, le=24 * HOUR_DAYS, description="How far back")] = 24,
    queue: Name = None,
    name: Name = None,
) -> Series:
    return await statistics.series(hours, queue, name)


@get(
    "/tasks/stats/kinds",
    summary="Outcomes and times of each kind of task",
    description="From statistics that are some seconds old. Quantiles are estimates from a histogram.",
    responses=documented(400, 401, 403, 504),
)
async def kinds(statistics: NamedDependency[StatisticsView], hours: Hours = 24) -> Kinds:
    return await statistics.kinds(hours)


@get(
    "/tasks/stats/waits",
    summary="Waiting tasks, and how long tasks waited",
    description="At most 10,000 tasks each are counted as waiting, as due later and as held by "
    "workers; `exact: false` means that there are more.",
    responses=documented(400, 401, 403, 504),
)
async def waits(statistics: NamedDependency[StatisticsView], hours: Hours = 1) -> Waits:
    return await statistics.waits(hours)
