"""The console's form for a backfill: after a preview, it submits the runs that a schedule missed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from services.api.console import addresses, notices, task_form
from services.api.console.pages import Pages
from services.api.http.errors import NotAllowed, UnknownAccount
from services.api.identity.rights import Reader
from services.api.schedules.backfills import Backfills
from services.api.schedules.refusals import ScheduleRunsAlone, ScheduleStillRunning
from services.api.schedules.schedule_view import ScheduleView
from services.api.schedules.schemas import Backfill, BackfillBody
from services.api.words import plural
from shared.contracts import broken_rules
from shared.errors import FieldProblem, InvalidFields

#: Number of nominal times that a preview lists. A backfill may have up to 1,000.
SHOWN: Final = 100
_EMPTY: Final = {"from": "", "to": "", "reason": ""}


@get("/schedules/{name:str}/backfill")
async def show_backfill(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    reader: NamedDependency[Reader],
    view: NamedDependency[ScheduleView],
    backfills: NamedDependency[Backfills],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    """Show the nominal times of the schedule within a time span, without submitting anything. If
    the request has no time span, show the form that asks for one.
    """
    await view.find(name, reader)
    given = _EMPTY | {field: value for field, value in request.query_params.items() if field in _EMPTY}
    return await _answer(request, name, given, backfills, pages, ())


@post("/schedules/{name:str}/backfill")
async def submit(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    reader: NamedDependency[Reader],
    backfills: NamedDependency[Backfills],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    form = addresses.fields(await request.form())
    given = _EMPTY | {field: form[field].strip() for field in _EMPTY if field in form}
    try:
        done = await backfills.submit(name, _body(given), reader)
    except InvalidFields as error:
        problems = error.problems
    except NotAllowed as error:
        problems = [error.problem]
    except (ScheduleRunsAlone, ScheduleStillRunning, UnknownAccount) as error:
        problems = [FieldProblem("", str(error))]
    else:
        text = f"{plural(done.number, 'missing time')} of {name} submitted."
        return notices.back(request, f"/console/schedules/{name}", text)
    return await _answer(request, name, given, backfills, pages, problems)


async def _answer(
    request: Request[Any, Any, Any],
    name: str,
    given: Mapping[str, str],
    backfills: Backfills,
    pages: Pages,
    problems: Any,
) -> Response[Any]:
    preview: Backfill | None = None
    rules = task_form.by_field(list(problems))
    if given["from"] or given["to"]:
        try:
            preview = await backfills.preview(name, _body({**given, "reason": ""}))
        except InvalidFields as error:
            rules = task_form.by_field(list(error.problems))
    return pages.answer(
        request,
        "backfill.html.j2",
        name=name,
        given=given,
        preview=preview,
        rules=rules,
        others=[rule for field, rule in rules.items() if field not in _EMPTY],
        shown=SHOWN,
    )


def _body(given: Mapping[str, str]) -> BackfillBody:
    """Validate the form of a backfill. Raises InvalidFields."""
    raw = {field: value for field, value in given.items() if value}
    raw |= {field: _in_utc(raw[field]) for field in ("from", "to") if field in raw}
    try:
        return msgspec.convert(raw, BackfillBody)
    except msgspec.ValidationError as error:
        found = broken_rules.find(raw, BackfillBody, "")
        raise InvalidFields(found or [FieldProblem("", str(error))]) from None


def _in_utc(text: str) -> str:
    """Add the time zone UTC to a time from the form, because browsers send it without one
    (`2026-11-30T12:00`).
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
