"""The API route that lists the audit log, for operators and administrators."""

from typing import Annotated, Any

from litestar import Request, Router, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from services.api.audit import audit_list
from services.api.audit.audit_list import AuditFilter
from services.api.audit.schemas import AuditPage
from services.api.http import moments, paging
from services.api.http.errors import documented
from services.api.http.moments import Moment
from services.api.reads import Reads
from shared.contracts.patterns import whole
from shared.errors import FieldProblem, InvalidFields

Word = Annotated[str | None, QueryParameter(pattern=whole(r"[a-z0-9_.]{1,100}"))]


@get(
    "/audit",
    summary="List what was done, newest first",
    description="Actions of operators and administrators, sign-ins, and refused requests. `target` can be "
    "given together with `target_kind` only.",
    responses=documented(400, 401, 403, 504),
)
async def list_audit(
    request: Request[Any, Any, Any],
    reads: NamedDependency[Reads],
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, QueryParameter(description="next_cursor of an earlier answer")] = None,
    account: Annotated[
        int | None, QueryParameter(name="actor", ge=1, le=2**63 - 1, description="id of an account")
    ] = None,
    action: Word = None,
    target_kind: Word = None,
    target: Annotated[
        str | None, QueryParameter(pattern=whole(r"[ -~]{1,200}"), description="id of what was changed")
    ] = None,
    since: Moment = None,
    until: Moment = None,
) -> AuditPage:
    paging.refuse_unknown(request.query_params, ("limit", "cursor", *AuditFilter.__dataclass_fields__))
    if target is not None and target_kind is None:
        raise InvalidFields([FieldProblem("target_kind", "must be given together with target")])
    wanted = AuditFilter(
        actor=account,
        action=action,
        target_kind=target_kind,
        target=target,
        since=moments.read(since, "since"),
        until=moments.read(until, "until"),
    )
    return await audit_list.page(reads, wanted, limit=limit, cursor=cursor)


ROUTER = Router("", route_handlers=[list_audit], tags=["audit"])
