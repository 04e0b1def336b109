"""The console's page of the audit log: who did what, and what changed."""

from typing import Any, Final

from litestar import Request, Response, get
from litestar.di import NamedDependency

from services.api.audit import audit_list
from services.api.audit.actions import Action
from services.api.audit.audit_list import AuditFilter
from services.api.console import addresses
from services.api.console.pages import Pages
from services.api.http import texts
from services.api.reads import Reads

PATH: Final = "/console/audit"
PAGE_SIZE: Final = 50
FIELDS: Final = ("action", "actor", "target_kind", "target")
#: The largest id of an account: the maximum of a bigint.
_MAX_ID: Final = 2**63 - 1


@get("/audit")
async def list_audit(
    request: Request[Any, Any, Any], reads: NamedDependency[Reads], pages: NamedDependency[Pages]
) -> Response[Any]:
    given = {name: request.query_params.get(name, "").strip()[:200] for name in FIELDS}
    texts.refuse_unstorable(**given)
    cursor = request.query_params.get("cursor")
    filters = [(name, value) for name, value in given.items() if value]
    actor = int(given["actor"]) if given["actor"].isascii() and given["actor"].isdecimal() else None
    wanted = AuditFilter(
        action=given["action"] or None,
        actor=min(actor, _MAX_ID) if actor is not None else None,
        target_kind=given["target_kind"] or None,
        target=(given["target"] or None) if given["target_kind"] else None,
    )
    found = await audit_list.page(reads, wanted, limit=PAGE_SIZE, cursor=cursor)
    return pages.answer(
        request,
        "audit.html.j2",
        found=found,
        given=given,
        filters=filters,
        actions=sorted(Action),
        cursor=cursor,
        older=addresses.changed(PATH, filters, cursor=found.next_cursor),
        newest=addresses.changed(PATH, filters),
    )
