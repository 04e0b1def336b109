"""The console's page of accounts, for administrators: which role each account has, and whether it
may sign in.
"""

from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import UNSET

from services.api.audit.actor import Actor
from services.api.console import addresses, notices
from services.api.console.pages import Pages
from services.api.identity import administration
from services.api.identity.account_schemas import AccountChange
from services.api.reads import Reads
from shared.errors import FieldProblem, InvalidFields
from shared.identity.tables import Role
from shared.ledger.database import Database

PATH: Final = "/console/accounts"
PAGE_SIZE: Final = 50


@get("/accounts")
async def list_accounts(
    request: Request[Any, Any, Any], reads: NamedDependency[Reads], pages: NamedDependency[Pages]
) -> Response[Any]:
    cursor = request.query_params.get("cursor")
    email = request.query_params.get("email", "").strip()[:320].replace("\x00", "")
    found = await administration.page(reads, limit=PAGE_SIZE, cursor=cursor, email=email or None)
    filters = [("email", email)] if email else []
    return pages.answer(
        request,
        "accounts.html.j2",
        found=found,
        email=email,
        roles=list(Role),
        cursor=cursor,
        older=addresses.changed(PATH, filters, cursor=found.next_cursor),
        newest=addresses.changed(PATH, filters),
    )


@post("/accounts/{account_id:int}")
async def change(
    request: Request[Any, Any, Any],
    account_id: FromPath[int],
    actor: NamedDependency[Actor],
    database: NamedDependency[Database],
) -> Response[Any]:
    """Handle the forms that change an account's role, or allow or forbid the account to sign in."""
    form = addresses.fields(await request.form())
    role, active = form.get("role"), form.get("active")
    if role is not None and role not in set(Role):
        raise InvalidFields([FieldProblem("role", f"must be one of {', '.join(Role)}")])
    wanted = AccountChange(
        role=UNSET if role is None else Role(role),
        is_active=UNSET if active is None else active == "yes",
        reason=addresses.reason(form),
    )
    account = await administration.change(database, account_id, wanted, actor)
    state = (
        f"is {account.role} now"
        if role is not None
        else ("may sign in" if account.is_active else "is shut out")
    )
    return notices.back(request, addresses.local(form.get("next"), PATH), f"{account.email} {state}.")
