"""The routes that list error groups, show one group, and store decisions about it."""

from typing import Annotated, Any

from litestar import Request, get, patch
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from services.api.http import moments, paging
from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.http.moments import Moment
from services.api.identity.rights import Reader
from services.api.operations.error_groups import ErrorFilter, ErrorGroups
from services.api.operations.error_schemas import ErrorChange, ErrorDetail, ErrorPage
from shared.contracts.patterns import whole
from shared.ledger.error_groups import State


@get(
    "/operations/errors",
    summary="List error groups, last seen first",
    description="Failed attempts with the same cause form one group. Counts are some seconds old. A group "
    "with a new failure moves to the first page, even while you turn pages.",
    responses=documented(400, 401, 403, 504),
)
async def list_errors(
    request: Request[Any, Any, Any],
    error_groups: NamedDependency[ErrorGroups],
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, QueryParameter(description="next_cursor of an earlier answer")] = None,
    states: Annotated[
        list[State] | None,
        QueryParameter(
            name="state", max_items=len(State), description="Any of these states; may be given several times"
        ),
    ] = None,
    name: Annotated[
        str | None, QueryParameter(pattern=whole(r"[a-z0-9_.]{1,100}"), description="The kind of task")
    ] = None,
    since: Moment = None,
) -> ErrorPage:
    paging.refuse_unknown(request.query_params, ("limit", "cursor", *ErrorFilter.__dataclass_fields__))
    wanted = ErrorFilter(state=states, name=name, since=moments.read(since, "since"))
    return await error_groups.page(wanted, limit=limit, cursor=cursor)


@get(
    "/operations/errors/{fingerprint:str}",
    summary="Look up an error group, with its last 24 hours",
    responses=documented(400, 401, 403, 404, 504),
)
async def get_error(fingerprint: FromPath[str], error_groups: NamedDependency[ErrorGroups]) -> ErrorDetail:
    return await error_groups.find(fingerprint)


@patch(
    "/operations/errors/{fingerprint:str}",
    summary="Acknowledge, mute, resolve or reopen an error group",
    operation_class=example({"state": "acknowledged", "note": "the provider knows"}),
    description="`until` can be given with the state muted; without it, the group stays muted. A resolved "
    "group whose error comes back in a newer release becomes regressed. A note that is left out stays "
    "unchanged.",
    responses=documented(400, 401, 403, 404, 413, 504),
)
async def change_error(
    fingerprint: FromPath[str],
    data: JSONBody[ErrorChange],
    reader: NamedDependency[Reader],
    error_groups: NamedDependency[ErrorGroups],
) -> ErrorDetail:
    return await error_groups.change(fingerprint, data, reader)
