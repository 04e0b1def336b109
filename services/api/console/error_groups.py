"""The console's pages of error groups, which collect failed attempts by cause: the list of groups,
one group, and the forms with which operators acknowledge, mute or resolve it.
"""

from datetime import timedelta
from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from services.api.console import addresses, charts, notices
from services.api.console.pages import Pages
from services.api.identity.rights import Reader
from services.api.operations.error_groups import ErrorFilter, ErrorGroups
from services.api.operations.error_schemas import Decision, ErrorChange
from shared.errors import FieldProblem, InvalidFields
from shared.ledger.database import Database
from shared.ledger.error_groups import State

PATH: Final = "/console/errors"
PAGE_SIZE: Final = 50
#: Tabs of the list of error groups: the label, the value in the address, and the states that the
#: tab shows.
TABS: Final[tuple[tuple[str, str | None, tuple[State, ...]], ...]] = (
    ("To look at", None, (State.OPEN, State.REGRESSED)),
    ("Acknowledged", "acknowledged", (State.ACKNOWLEDGED,)),
    ("Muted", "muted", (State.MUTED,)),
    ("Resolved", "resolved", (State.RESOLVED,)),
    ("All", "all", ()),
)
#: The durations for which a group can be muted: hours, and their labels.
MUTES: Final = ((4, "4 hours"), (24, "a day"), (168, "a week"), (720, "30 days"))
#: Maximum length of a note on an error group, as in the API.
NOTE_LENGTH: Final = 2_000


@get("/errors")
async def list_errors(
    request: Request[Any, Any, Any],
    error_groups: NamedDependency[ErrorGroups],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    show, name = request.query_params.get("show"), request.query_params.get("name", "").strip()[:100]
    cursor = request.query_params.get("cursor")
    states = next((states for _, value, states in TABS if value == show), TABS[0][2])
    wanted = ErrorFilter(state=states or None, name=name.replace("\x00", "") or None)
    found = await error_groups.page(wanted, limit=PAGE_SIZE, cursor=cursor)
    filters = [(field, value) for field, value in (("show", show), ("name", name)) if value]
    return pages.answer(
        request,
        "errors.html.j2",
        found=found,
        name=name,
        show=show,
        tabs=[(word, addresses.changed(PATH, filters, show=value), value == show) for word, value, _ in TABS],
        cursor=cursor,
        older=addresses.changed(PATH, filters, cursor=found.next_cursor),
        newest=addresses.changed(PATH, filters),
    )


@get("/errors/{fingerprint:str}")
async def show_error(
    request: Request[Any, Any, Any],
    fingerprint: FromPath[str],
    error_groups: NamedDependency[ErrorGroups],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    group = await error_groups.find(fingerprint)
    return pages.answer(
        request,
        "error.html.j2",
        group=group,
        bars=charts.hours(group.hours),
        tasks=group.links.tasks.replace("/api/v1/", "/console/", 1),
        mutes=MUTES,
        note_length=NOTE_LENGTH,
    )


@post("/errors/{fingerprint:str}")
async def decide(
    request: Request[Any, Any, Any],
    fingerprint: FromPath[str],
    reader: NamedDependency[Reader],
    error_groups: NamedDependency[ErrorGroups],
    database: NamedDependency[Database],
) -> Response[Any]:
    form = addresses.fields(await request.form())
    if form.get("state") not in set(Decision):
        raise InvalidFields([FieldProblem("state", f"must be one of {', '.join(Decision)}")])
    hours = next((hours for hours, _ in MUTES if str(hours) == form.get("hours")), None)
    state = Decision(form["state"])
    until = database.now() + timedelta(hours=hours) if state is Decision.MUTED and hours else None
    note = form["note"].replace("\r", "").strip()[:NOTE_LENGTH] if "note" in form else None
    changed = await error_groups.change(fingerprint, ErrorChange(state, until, note), reader)
    return notices.back(request, f"{PATH}/{fingerprint}", f"The group is {changed.state} now.")
