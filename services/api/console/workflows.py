"""The console's page that lists workflows."""

from typing import Any, Final

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.response import Redirect

from services.api.console import addresses
from services.api.console.pages import Pages
from services.api.http import texts
from services.api.identity.rights import Reader
from services.api.workflows.view import WorkflowView
from shared.ledger.workflow_filter import WorkflowFilter
from shared.workflows.states import Status

PATH: Final = "/console/workflows"
PAGE_SIZE: Final = 50
#: Tabs of the list of workflows: the label, and the status that the tab shows.
TABS: Final = (
    ("All", None),
    ("Running", "running"),
    ("Failed", "failure"),
    ("Succeeded", "success"),
    ("Canceled", "revoked"),
)


@get("/workflows")
async def list_workflows(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    workflows: NamedDependency[WorkflowView],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    given = dict(request.query_params)
    filters = [(name, given[name].strip()) for name in ("status", "name") if given.get(name, "").strip()]
    values = {"status": None, "name": None, **dict(filters)}
    if values["status"] not in (None, *Status):
        return Redirect(PATH, status_code=303)
    texts.refuse_unstorable(name=values["name"])
    status, name = ([value] if (value := values[field]) else None for field in ("status", "name"))
    wanted = WorkflowFilter(status=status, name=name)
    cursor = given.get("cursor")
    found = await workflows.page(reader, wanted, limit=PAGE_SIZE, cursor=cursor)
    return pages.answer(
        request,
        "workflows.html.j2",
        found=found,
        filters=filters,
        values=values,
        tabs=[
            (word, addresses.changed(PATH, filters, status=status), values["status"] == status)
            for word, status in TABS
        ],
        cursor=cursor,
        older=addresses.changed(PATH, filters, cursor=found.next_cursor),
        newest=addresses.changed(PATH, filters),
    )
