"""Route handlers that show one task and its log lines.

They are factories, because an application may offer the same routes at its own paths too.
"""

from typing import Annotated, Literal
from uuid import UUID

from litestar import get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from services.api.audit.trail import Target
from services.api.audit.unmasking import Unmask, unmasked
from services.api.http.errors import documented
from services.api.identity.rights import Reader
from services.api.tasks import attempt_view
from services.api.tasks.ledger_view import LedgerView
from services.api.tasks.schemas import TaskAnswer, TaskLogs
from shared.ledger.database import Database

Level = Literal["debug", "info", "warning", "error", "critical"]
LowestLevel = Annotated[Level, QueryParameter(description="The lowest level to return")]

REFUSALS = documented(400, 401, 403, 404)


def task_at(path: str, summary: str) -> HTTPRouteHandler:
    """Create a route that shows the task whose id is the path parameter `task_id`."""
    return get(path, summary=summary, responses=REFUSALS)(_task)


def logs_at(path: str, summary: str) -> HTTPRouteHandler:
    """Create a route that shows the last log lines of the task whose id is the path parameter
    `task_id`.
    """
    return get(path, summary=summary, responses=REFUSALS)(_logs)


async def _task(
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    database: NamedDependency[Database],
    unmask: Unmask = False,
) -> TaskAnswer:
    task = await ledger.find(task_id, reader)
    sees = await unmasked(database, reader, Target("task", task_id), task["owner"], unmask=unmask)
    return ledger.answer(task, sees)


async def _logs(
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    database: NamedDependency[Database],
    level: LowestLevel = "debug",
    limit: Annotated[int, QueryParameter(ge=1, le=1000, description="The last lines")] = 100,
) -> TaskLogs:
    task = await ledger.find(task_id, reader)
    return await attempt_view.logs(database, task, level=level, limit=limit)
