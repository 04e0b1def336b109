"""The console's page of one task: its state, its timeline, and one of several tabs."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from services.api.audit import audit_list
from services.api.audit.audit_list import AuditFilter
from services.api.console import documents, timeline, trace_link, traceback
from services.api.console.pages import Pages
from services.api.identity.rights import Reader
from services.api.reads import Reads
from services.api.tasks import attempt_view, place
from services.api.tasks.ledger_view import LedgerView
from services.api.tasks.schemas import AttemptAnswer, TaskAnswer
from shared.ledger.database import Database
from shared.ledger.lifecycle import FINAL, ErrorKind, Status
from shared.ledger.task_filter import TaskFilter
from shared.settings import Settings

#: Number of log lines that the page contains when it is loaded. An event stream adds later lines.
LINES: Final = 200
RELATED: Final = 20
#: Number of attempts that the page shows with their tracebacks. The API lists all attempts.
ATTEMPTS: Final = 20
#: States in which a task has a position in its queue, which the page shows.
WAITING: Final = frozenset({Status.PENDING, Status.RETRY})
#: Tabs of a task's page: the value in the address, and the label of the tab.
TABS: Final[tuple[tuple[str, str], ...]] = (
    ("attempts", "Attempts"),
    ("log", "Log"),
    ("params", "Parameters"),
    ("result", "Result"),
    ("related", "Related"),
    ("audit", "Audit"),
)


@get("/tasks/{task_id:uuid}")
async def show_task(
    request: Request[Any, Any, Any],
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    database: NamedDependency[Database],
    reads: NamedDependency[Reads],
    pages: NamedDependency[Pages],
    settings: NamedDependency[Settings],
) -> Response[Any]:
    row = await ledger.find(task_id, reader)
    task = ledger.answer(row, reader)
    attempts = await attempt_view.attempts(database, row, reader)
    tabs = [each for each in TABS if each[0] != "audit" or pages.may(reader.role, "GET /api/v1/audit")]
    tab = request.query_params.get("show", "attempts")
    if tab not in dict(tabs):
        tab = "attempts"
    total, lines = await attempt_view.last_lines(database, task_id, limit=LINES if tab == "log" else 1)
    of_tab: dict[str, Callable[[], Awaitable[Mapping[str, Any]]]] = {
        "related": lambda: _related(row, reader, ledger),
        "audit": lambda: _audit(task_id, reads),
    }
    more = await of_tab[tab]() if tab in of_tab else {}
    return pages.answer(
        request,
        "task.html.j2",
        task=task,
        row=row,
        is_final=task.status in FINAL,
        in_crash_loop=task.error_kind == ErrorKind.CRASH_LOOP,
        waited_s=_waited_s(task, attempts),
        attempts=_shown(attempts),
        attempt_count=len(attempts),
        place=traceback.place,
        in_queue=await place.find(database, task_id) if task.status in WAITING else None,
        trace=trace_link.of(row["trace_context"], settings),
        timeline=timeline.draw(task, attempts, ledger.now()),
        tabs=tabs,
        tab=tab,
        lines=lines,
        total_lines=total,
        last_id=f"r{task.revision}.{lines[-1]['claim']}.{lines[-1]['ordinal']}" if lines else "",
        as_json=request.query_params.get("as") == "json",
        documents=documents,
        **more,
    )


async def _related(row: Mapping[str, Any], reader: Reader, ledger: LedgerView) -> Mapping[str, Any]:
    children = await ledger.page(reader, TaskFilter(parent=row["id"]), limit=RELATED, cursor=None)
    return {"children": children}


async def _audit(task_id: UUID, reads: Reads) -> Mapping[str, Any]:
    wanted = AuditFilter(target_kind="task", target=str(task_id))
    return {"audit": await audit_list.page(reads, wanted, limit=50, cursor=None)}


def _shown(attempts: list[AttemptAnswer]) -> list[tuple[AttemptAnswer, list[traceback.Raised]]]:
    """The newest attempts of a task, latest first, with their tracebacks. Their number is limited,
    because a task may have hundreds of attempts.
    """
    newest = attempts[: -ATTEMPTS - 1 : -1]
    return [(each, traceback.read(each.error_traceback or "")) for each in newest]


def _waited_s(task: TaskAnswer, attempts: list[AttemptAnswer]) -> float | None:
    """Number of seconds between the task's submission and its first start; None if it has not
    started.
    """
    first = next((each.started_at for each in attempts if each.started_at), task.started_at)
    return None if first is None else max(0.0, (first - task.created_at).total_seconds())
