"""The routes that create, list and revoke API keys."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from services.api.audit.actor import Actor
from services.api.http import paging
from services.api.http.documentation import example
from services.api.http.errors import NotAllowed, UnknownAccount, documented
from services.api.identity import accounts, api_keys
from services.api.identity.account_schemas import Account
from services.api.identity.key_schemas import KeyPage, KeysRevoked, NewKey, NewKeyBody
from services.api.identity.rights import Reach, Reader, Rights
from shared.ledger.database import Database

Owner = Annotated[int | None, QueryParameter(description="id of an account; left out: your own")]


@post(
    "/keys",
    summary="Make an API key",
    operation_class=example({"name": "nightly import", "scopes": ["tasks:read", "tasks:write"]}),
    description="The key acts as your account, within its scopes. Only this answer contains the key itself.",
    responses=documented(400, 401, 403, 409, 413),
)
async def make(
    data: JSONBody[NewKeyBody],
    user: NamedDependency[Account],
    rights: NamedDependency[Rights],
    actor: NamedDependency[Actor],
    database: NamedDependency[Database],
) -> NewKey:
    made, key = await api_keys.make(database, rights, user, data, actor)
    return NewKey(**msgspec.structs.asdict(made), key=key)


@get("/keys", summary="List API keys, newest first", responses=documented(400, 401, 403, 422))
async def list_keys(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    database: NamedDependency[Database],
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, QueryParameter(description="next_cursor of an earlier answer")] = None,
    owner: Owner = None,
) -> KeyPage:
    paging.refuse_unknown(request.query_params, ("limit", "cursor", "owner"))
    whose = await _whose(database, reader, owner)
    return await api_keys.page(database, whose, limit=limit, cursor=cursor)


@delete(
    "/keys/{key_id:uuid}",
    summary="Revoke an API key",
    description="The key is refused from now on and cannot be restored.",
    responses=documented(400, 401, 403, 404),
)
async def revoke(
    key_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    actor: NamedDependency[Actor],
    database: NamedDependency[Database],
) -> None:
    await api_keys.revoke(database, key_id, reader, actor)


@delete(
    "/keys",
    summary="Revoke all API keys",
    description="All keys of the account are refused from now on. Sessions are not affected.",
    status_code=200,
    responses=documented(400, 401, 403, 422),
)
async def revoke_all(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    actor: NamedDependency[Actor],
    database: NamedDependency[Database],
    owner: Owner = None,
) -> KeysRevoked:
    paging.refuse_unknown(request.query_params, ("owner",))
    whose = await _whose(database, reader, owner)
    return KeysRevoked(await api_keys.revoke_all(database, whose, actor))


async def _whose(database: Database, reader: Reader, owner: int | None) -> int:
    """The account whose API keys the request is about. Raises NotAllowed or UnknownAccount."""
    if owner is None or owner == reader.id:
        return reader.id
    if reader.reach is not Reach.ALL:
        raise NotAllowed("owner", "must be your own id")
    if owner not in await accounts.existing(database, [owner]):
        raise UnknownAccount("owner")
    return owner
