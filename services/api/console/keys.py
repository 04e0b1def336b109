"""The console's page of API keys, for administrators.

It lists the keys of an account, creates keys for the administrator's own account, and revokes any
key.
"""

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from services.api.audit.actor import Actor
from services.api.console import addresses, key_form, notices, numbers
from services.api.console.key_form import KeyForm
from services.api.console.pages import Pages
from services.api.http.refusals import AccountNotFound
from services.api.identity import administration, api_keys
from services.api.identity.account_schemas import Account
from services.api.identity.key_schemas import MAX_DAYS, MAX_NAME
from services.api.identity.rights import Reader, Rights
from services.api.words import plural
from shared.errors import InvalidFields
from shared.ledger.database import Database

PATH: Final = "/console/keys"
PAGE_SIZE: Final = 50
#: Headers that keep browsers from storing a page that shows a new API key.
SECRET: Final = {"Cache-Control": "no-store"}


@get("/keys")
async def list_keys(
    request: Request[Any, Any, Any],
    user: NamedDependency[Account],
    rights: NamedDependency[Rights],
    database: NamedDependency[Database],
    pages: NamedDependency[Pages],
) -> Response[bytes]:
    """List the caller's API keys, or those of the account in the query parameter `owner`."""
    owner = await _owner(database, request.query_params.get("owner", "").strip(), user)
    return await _answer(request, rights, database, pages, owner, cursor=request.query_params.get("cursor"))


@post("/keys")
async def make(
    request: Request[Any, Any, Any],
    user: NamedDependency[Account],
    rights: NamedDependency[Rights],
    actor: NamedDependency[Actor],
    database: NamedDependency[Database],
    pages: NamedDependency[Pages],
) -> Response[bytes]:
    """Create an API key and answer with a page that shows it. It cannot be shown again."""
    form = key_form.read(await request.form())
    try:
        _, secret = await api_keys.make(database, rights, user, form.body(), actor)
    except InvalidFields as error:
        form = form._replace(rules={each.field: each.rule for each in error.problems})
        return await _answer(request, rights, database, pages, user, form=form)
    page = await _answer(request, rights, database, pages, user, secret=secret)
    page.headers.update(SECRET)
    return page


@post("/keys/{key_id:uuid}/revoke")
async def revoke(
    request: Request[Any, Any, Any],
    key_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    actor: NamedDependency[Actor],
    database: NamedDependency[Database],
) -> Response[Any]:
    form = addresses.fields(await request.form())
    await api_keys.revoke(database, key_id, reader, actor)
    return notices.back(request, addresses.local(form.get("next"), PATH), "The key is refused from now on.")


@post("/keys/revoke")
async def revoke_all(
    request: Request[Any, Any, Any],
    user: NamedDependency[Account],
    actor: NamedDependency[Actor],
    database: NamedDependency[Database],
) -> Response[Any]:
    form = addresses.fields(await request.form())
    owner = await _owner(database, form.get("owner", ""), user)
    count = await api_keys.revoke_all(database, owner.id, actor)
    text = f"{plural(count, 'key')} of {owner.email} revoked."
    return notices.back(request, addresses.local(form.get("next"), PATH), text)


async def _owner(database: Database, text: str, user: Account) -> Account:
    """Find the account with this id, or return the caller's own account if the text is empty.
    Raises AccountNotFound.
    """
    if not text:
        return user
    owner = numbers.read(text)
    if owner is None:
        raise AccountNotFound(text[:100])
    return await administration.find(database, owner)


async def _answer(
    request: Request[Any, Any, Any],
    rights: Rights,
    database: Database,
    pages: Pages,
    owner: Account,
    *,
    cursor: str | None = None,
    form: KeyForm | None = None,
    secret: str | None = None,
) -> Response[bytes]:
    """Render the page of API keys. `form` is a form that was refused; `secret` is a key that was
    just created.
    """
    found = await api_keys.page(database, owner.id, limit=PAGE_SIZE, cursor=cursor)
    filters = [] if owner.id == request.user.id else [("owner", str(owner.id))]
    return pages.answer(
        request,
        "keys.html.j2",
        found=found,
        owner=owner,
        scopes=sorted(rights.scopes_of(request.user.role)),
        form=form or KeyForm(),
        secret=secret,
        cursor=cursor,
        here=addresses.changed(PATH, filters),
        older=addresses.changed(PATH, filters, cursor=found.next_cursor),
        max_name=MAX_NAME,
        max_days=MAX_DAYS,
    )
