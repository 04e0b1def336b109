"""The console's pages for bulk operations on all tasks that a filter of the task list finds:
preview, start, progress and stop.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from services.api.bulk import stopping
from services.api.bulk.bulk_acts import MAX_UNFINISHED, BulkActs
from services.api.bulk.bulk_view import BulkView
from services.api.bulk.counting import MAX_COUNT
from services.api.bulk.refusals import MatchesMoved, TooManyBulkOperations
from services.api.bulk.schemas import MAX_RATE, BulkBody, BulkPreview
from services.api.console import addresses, bulk_form, bulk_progress, notices
from services.api.console.bulk_form import DEEDS, Asked
from services.api.console.pages import Pages
from services.api.http.errors import NotAllowed
from services.api.identity.rights import Reader
from services.api.operations.queues import QueueControls
from services.api.operations.refusals import QueueNotFound
from shared.bulk import act as acts
from shared.errors import FieldProblem, InvalidFields
from shared.ledger.database import Database
from shared.transport.events import Publisher
from shared.transport.queues import Queues

PATH: Final = "/console/bulk"
PAGE_SIZE: Final = 50


@get("/bulk")
async def list_acts(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    bulk_view: NamedDependency[BulkView],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    cursor = request.query_params.get("cursor")
    found = await bulk_view.page(reader.owned_by, limit=PAGE_SIZE, cursor=cursor)
    return pages.answer(
        request,
        "bulk.html.j2",
        found=found,
        deeds=DEEDS,
        words=lambda act: bulk_form.in_words(bulk_form.pairs(act.filter), act.kind),
        progress=bulk_progress.of,
        cursor=cursor,
        older=addresses.changed(PATH, [], cursor=found.next_cursor),
    )


@get("/bulk/new")
async def show_preview(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    bulk_acts: NamedDependency[BulkActs],
    queue_controls: NamedDependency[QueueControls],
    database: NamedDependency[Database],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    """Count the tasks that match, without changing anything. If the request has no action, show the
    form that asks for one.
    """
    asked = bulk_form.read(list(request.query_params.multi_items()), database.now())
    return await _preview(request, reader, bulk_acts, queue_controls, pages, asked, asked.problems)


@post("/bulk/new")
async def start(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    bulk_acts: NamedDependency[BulkActs],
    queue_controls: NamedDependency[QueueControls],
    database: NamedDependency[Database],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    """Start the bulk operation. If it is refused, show a new preview that says why."""
    form = await request.form()
    given = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    asked = bulk_form.read(given, database.now())
    problems = asked.problems
    if asked.body is not None and not problems:
        try:
            bulk_id, _ = await bulk_acts.start(asked.body, reader)
        except (InvalidFields, MatchesMoved, TooManyBulkOperations) as error:
            problems = _refused(error)
        else:
            return notices.back(request, f"{PATH}/{bulk_id}", "The bulk operation begins within a second.")
    return await _preview(request, reader, bulk_acts, queue_controls, pages, asked, problems)


def _refused(error: InvalidFields | MatchesMoved | TooManyBulkOperations) -> tuple[FieldProblem, ...]:
    """Explain in the words of the page why a bulk operation was not started."""
    if isinstance(error, MatchesMoved):
        rule = "has changed by more than 10 % since the preview. This is a new preview: check it first"
        return (FieldProblem("What matches", rule),)
    if isinstance(error, TooManyBulkOperations):
        rule = f"have {MAX_UNFINISHED} bulk operations that have not ended. Wait for one, or stop one"
        return (FieldProblem("You", rule),)
    if any(each.field in ("token", "expected") for each in error.problems):
        rule = "has expired or belongs to another operation. This is a new preview: check it first"
        return (FieldProblem("The preview", rule),)
    return tuple(error.problems)


async def _preview(
    request: Request[Any, Any, Any],
    reader: Reader,
    bulk_acts: BulkActs,
    queue_controls: QueueControls,
    pages: Pages,
    asked: Asked,
    problems: Sequence[FieldProblem],
) -> Response[Any]:
    preview = None
    if asked.body is not None:
        preview, broken = await _count(asked.body, reader, bulk_acts)
        problems = [*problems, *broken]
    elif not asked.filters and not problems:
        problems = [
            FieldProblem(
                "The filter", "must name at least one field: a bulk operation on everything is refused"
            )
        ]
    return pages.answer(
        request,
        "bulk_preview.html.j2",
        asked=asked,
        problems=problems,
        preview=preview,
        words=bulk_form.in_words(asked.filters) if asked.filters else "",
        change=bulk_form.change_in_words(_changes(asked.body)),
        deed=DEEDS.get(asked.values["action"]),
        actions=[
            (deed, addresses.changed(f"{PATH}/new", asked.filters, action=action), action)
            for action, deed in DEEDS.items()
            if acts.may(reader.role, action)
        ],
        queues=await queue_controls.known() if asked.values["action"] == acts.Action.CHANGE else [],
        tasks=addresses.changed("/console/tasks", asked.filters),
        max_count=MAX_COUNT,
        max_rate=MAX_RATE,
    )


async def _count(
    body: BulkBody, reader: Reader, bulk_acts: BulkActs
) -> tuple[BulkPreview | None, list[FieldProblem]]:
    """Return the preview of a bulk operation, or the rules that the request breaks. Raises
    RoleForbids and ReadTooSlow.
    """
    try:
        return await bulk_acts.preview(body, reader), []
    except InvalidFields as error:
        return None, list(error.problems)
    except NotAllowed as error:
        return None, [error.problem]
    except QueueNotFound:
        return None, [FieldProblem("to_queue", "names no queue that a task of this system uses")]


def _changes(body: BulkBody | None) -> dict[str, Any]:
    changes = body.changes if body else None
    return {"priority": changes.priority, "queue": changes.queue} if changes else {}


@get("/bulk/{bulk_id:uuid}")
async def show_act(
    request: Request[Any, Any, Any],
    bulk_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    bulk_view: NamedDependency[BulkView],
    database: NamedDependency[Database],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    act = await bulk_view.find(bulk_id, reader)
    filters = bulk_form.pairs(act.filter)
    return pages.answer(
        request,
        "bulk_act.html.j2",
        act=act,
        deed=DEEDS.get(act.action),
        words=bulk_form.in_words(filters, act.kind),
        change=bulk_form.change_in_words(act.changes),
        progress=bulk_progress.of(act, database.now()),
        is_moving=act.state in bulk_progress.MOVING,
        can_be_stopped=act.state in bulk_progress.STOPPABLE,
        tasks=addresses.changed(f"/console/{act.kind}s", filters),
    )


@post("/bulk/{bulk_id:uuid}/stop")
async def stop(
    request: Request[Any, Any, Any],
    bulk_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    bulk_acts: NamedDependency[BulkActs],
    bulk_view: NamedDependency[BulkView],
    queues: NamedDependency[Queues],
    publisher: NamedDependency[Publisher],
) -> Response[Any]:
    row = await bulk_acts.stop(await bulk_view.find(bulk_id, reader), reader)
    await stopping.announce(row, queues, publisher)
    text = "The bulk operation stops within a second. What it has done stays."
    return notices.back(request, f"{PATH}/{bulk_id}", text)
