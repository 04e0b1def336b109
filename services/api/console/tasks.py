"""The console's list of tasks, and the actions on one task or on the selected ones."""

from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from services.api.console import addresses, notices, task_filter, views
from services.api.console.pages import Pages
from services.api.console.task_export import MAX_TASKS
from services.api.console.task_files import CSV, JSON_LINES
from services.api.http import errors
from services.api.identity.rights import Reader
from services.api.tasks.acts import Acts
from services.api.tasks.contract_view import ContractView
from services.api.tasks.ledger_view import LedgerView
from services.api.tasks.schemas import TaskPage, TaskRetryBody
from services.api.words import plural
from shared.errors import InvalidFields, OftenError, ServerUnavailable

PATH: Final = "/console/tasks"
PAGE_SIZE: Final = 50
#: Tabs of the task list: the label, and the task status that the tab shows.
TABS: Final = (
    ("All", None),
    ("Waiting", "pending"),
    ("Running", "started"),
    ("Retrying", "retry"),
    ("Failed", "failure"),
    ("Succeeded", "success"),
    ("Canceled", "revoked"),
)
#: Filters of the task list that have a control in the filter bar.
BAR: Final = ("name", "queue", "since", "error", "owner")


@get("/tasks")
async def list_tasks(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    contracts: NamedDependency[ContractView],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    given = list(request.query_params.multi_items())
    tidy = task_filter.canonical(given)
    if tidy is not None:
        return Redirect(addresses.changed(PATH, tidy), status_code=303)
    found, problems = await _search(given, reader, ledger)
    filters = [(name, value) for name, value in given if name != "cursor"]
    kinds = contracts.visible_to(reader)
    return pages.answer(
        request,
        "tasks.html.j2",
        found=found,
        problems=problems,
        filters=filters,
        values=_in_bar(filters),
        beside=task_filter.beside(filters),
        tabs=_tabs(filters),
        cursor=dict(given).get("cursor"),
        without=lambda name: addresses.changed(PATH, filters, **{name: None}),
        older=addresses.changed(PATH, filters, cursor=found.next_cursor),
        newest=addresses.changed(PATH, filters),
        bulk=lambda action: addresses.changed("/console/bulk/new", filters, action=action),
        stream=_stream(filters),
        views=[(view, view.shows(filters)) for view in views.read(request)],
        max_view_name=views.MAX_NAME,
        exports=[
            (word, addresses.changed(f"{PATH}.{suffix}", filters))
            for word, suffix in (("CSV", CSV.suffix), ("JSON lines", JSON_LINES.suffix))
        ],
        max_exported=MAX_TASKS,
        names=[each.name for each in kinds],
        queues=sorted({each.queue for each in kinds}),
    )


async def _search(given: task_filter.Given, reader: Reader, ledger: LedgerView) -> tuple[TaskPage, list[Any]]:
    """Search for one page of tasks. Also returns the problems of the query string; if there are
    any, the page is empty.
    """
    asked = task_filter.read(given, ledger.now())
    problems = list(asked.problems)
    if not problems:
        try:
            cursor = dict(given).get("cursor")
            return await ledger.page(reader, asked.wanted, limit=PAGE_SIZE, cursor=cursor), []
        except InvalidFields as error:
            problems = list(error.problems)
    return TaskPage([], None), problems


def _in_bar(filters: task_filter.Given) -> dict[str, str]:
    """The values that the controls of the filter bar show. Fields with several values are left out,
    because the page shows them as chips.
    """
    elsewhere = task_filter.beside(filters)
    return dict.fromkeys(BAR, "") | {name: value for name, value in filters if (name, value) not in elsewhere}


def _tabs(filters: task_filter.Given) -> list[tuple[str, str, bool]]:
    """The tabs of the page: for each tab its label, its address, and whether it is the current one."""
    states = [value for name, value in filters if name == "status"]
    return [
        (word, addresses.changed(PATH, filters, status=status), states == ([status] if status else []))
        for word, status in TABS
    ]


def _stream(filters: task_filter.Given) -> str:
    """Address of the event stream for this list.

    The stream supports fewer filters, and does not filter by status, because the page must learn
    when a task it shows has changed to another status.
    """
    values = dict(filters)
    kept = {name: value for name, value in values.items() if name in ("name", "queue", "owner")}
    several = [name for name in kept if [field for field, _ in filters].count(name) > 1]
    return addresses.changed("/console/stream", [each for each in kept.items() if each[0] not in several])


@post("/tasks/cancel")
async def cancel(
    request: Request[Any, Any, Any], reader: NamedDependency[Reader], acts: NamedDependency[Acts]
) -> Response[Any]:
    async def act(task_id: UUID) -> None:
        await acts.cancel(task_id, reader)

    return await _each(request, act, "canceled", "Cancel: ")


@post("/tasks/retry")
async def retry(
    request: Request[Any, Any, Any], reader: NamedDependency[Reader], acts: NamedDependency[Acts]
) -> Response[Any]:
    async def act(task_id: UUID) -> None:
        await acts.retry(task_id, TaskRetryBody(), reader)

    return await _each(request, act, "started again", "Retry: ")


async def _each(
    request: Request[Any, Any, Any], act: Callable[[UUID], Awaitable[None]], done_word: str, what: str
) -> Response[Any]:
    """Apply an action, such as retry, to the task whose button was pressed, or else to all selected
    tasks. The notice says how many tasks were refused and why.
    """
    form = await request.form()
    only = form.getall("only", [])
    ids = [found for each in (only or form.getall("id", []))[:PAGE_SIZE] if (found := _id(each))]
    path = addresses.local(form.get("next"), PATH)
    if not ids:
        return notices.back(request, path, f"{what}no task is selected.", tone="bad")
    done, refused = 0, list[str]()
    for task_id in ids:
        try:
            await act(task_id)
            done += 1
        except ServerUnavailable:
            raise
        except OftenError as error:
            refused.append(errors.describe(error).detail)
    text = f"{plural(done, 'task')} {done_word}." if done else ""
    if refused:
        reasons = list(dict.fromkeys(refused))
        text = f"{text} {plural(len(refused), 'task')} not: {' '.join(reasons[:3])}".strip()
    return notices.back(request, path, text, tone="bad" if refused else "good")


def _id(value: object) -> UUID | None:
    try:
        return UUID(str(value))
    except ValueError:
        return None
