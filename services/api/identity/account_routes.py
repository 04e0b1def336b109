"""The routes to register, sign in and out, renew tokens and show one's own account, and the routes
with which administrators manage accounts.
"""

from typing import Annotated, Any

from litestar import Request, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from services.api.audit.actor import Actor
from services.api.http import paging
from services.api.http.documentation import example
from services.api.http.errors import AddressTaken, NotSignedIn, documented
from services.api.identity import accounts, administration
from services.api.identity.account_schemas import (
    Account,
    AccountChange,
    AccountPage,
    Credentials,
    PasswordChange,
    Refresh,
    Registration,
    Tokens,
)
from services.api.identity.confirmations import Confirmations
from services.api.identity.logins import Logins
from services.api.identity.passwords import Passwords
from services.api.identity.sessions import Sessions, close, close_all
from services.api.reads import Reads
from shared.errors import FieldProblem, InvalidFields
from shared.ledger.database import Database
from shared.settings import Settings

#: Example of an account in the OpenAPI documentation.
ANN = {"email": "ann@often.example", "password": "correct horse"}
TOKEN = {"refresh_token": "the refresh_token of your last sign-in"}


@post(
    "/auth/register",
    summary="Create an account",
    operation_class=example(ANN | {"full_name": "Ann Lee"}),
    description="A mail with a link to confirm the address is sent. Until then, the address gets no other "
    "mail.",
    responses=documented(400, 409, 413),
)
async def register(
    data: JSONBody[Registration],
    passwords: NamedDependency[Passwords],
    confirmations: NamedDependency[Confirmations],
    settings: NamedDependency[Settings],
    actor: NamedDependency[Actor],
) -> Account:
    with passwords.place(actor.network):
        new = await accounts.prepare(passwords, data, refused_words=settings.refused_words())
    account = await confirmations.sign_up(new, actor)
    if account is None:
        raise AddressTaken
    return account


@post(
    "/auth/login",
    summary="Sign in",
    operation_class=example(ANN),
    description="After five wrong passwords from one network, sign-ins are refused for a minute or longer.",
    status_code=200,
    responses=documented(400, 401, 413),
)
async def login(
    data: JSONBody[Credentials],
    passwords: NamedDependency[Passwords],
    logins: NamedDependency[Logins],
    sessions: NamedDependency[Sessions],
    actor: NamedDependency[Actor],
) -> Tokens:
    with passwords.place(actor.network):
        account_id = await logins.authenticate(data.email, data.password, actor)
    if account_id is None:
        raise NotSignedIn("The address or the password is wrong. Correct them, or register.")
    return await sessions.open(account_id, actor)


@post(
    "/auth/refresh",
    summary="Renew tokens",
    operation_class=example(TOKEN),
    description="Each refresh token works once. Using it again ends its session.",
    status_code=200,
    responses=documented(400, 401, 413),
)
async def refresh(
    data: JSONBody[Refresh], sessions: NamedDependency[Sessions], actor: NamedDependency[Actor]
) -> Tokens:
    return await sessions.rotate(data.refresh_token, actor)


@post(
    "/auth/logout",
    summary="Sign out",
    operation_class=example(TOKEN),
    description="Ends your session at once, and the session of the refresh token if it is another one.",
    status_code=204,
    responses=documented(400, 401, 403, 413),
)
async def logout(
    data: JSONBody[Refresh], actor: NamedDependency[Actor], database: NamedDependency[Database]
) -> None:
    await close(database, actor, data.refresh_token)


@post(
    "/auth/logout-all",
    summary="Sign out everywhere",
    description="Ends all sessions at once. API keys stay valid; revoke them with DELETE /api/v1/keys.",
    status_code=204,
    responses=documented(401, 403),
)
async def logout_all(actor: NamedDependency[Actor], database: NamedDependency[Database]) -> None:
    await close_all(database, actor)


@post(
    "/auth/password",
    summary="Change your password",
    operation_class=example({"current_password": "correct horse", "new_password": "battery staple"}),
    description="Ends all sessions at once: sign in again with the new password. API keys stay valid. A "
    "change of the address that is not confirmed yet is canceled.",
    status_code=204,
    responses=documented(400, 401, 403, 413),
)
async def change_password(
    data: JSONBody[PasswordChange],
    user: NamedDependency[Account],
    passwords: NamedDependency[Passwords],
    logins: NamedDependency[Logins],
    database: NamedDependency[Database],
    settings: NamedDependency[Settings],
    actor: NamedDependency[Actor],
) -> None:
    words = settings.refused_words()
    with passwords.place(actor.network):
        if await logins.authenticate(user.email, data.current_password, actor) is None:
            rule = "is wrong: enter the password of your account"
            raise InvalidFields([FieldProblem("current_password", rule)])
        await administration.change_password(database, passwords, user, data.new_password, actor, words)


@get("/auth/me", summary="Show my account", responses=documented(401, 403))
async def me(user: NamedDependency[Account]) -> Account:
    return user


@get("/accounts", summary="List accounts, oldest first", responses=documented(400, 401, 403, 504))
async def list_accounts(
    request: Request[Any, Any, Any],
    reads: NamedDependency[Reads],
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, QueryParameter(description="next_cursor of an earlier answer")] = None,
    email: Annotated[
        str | None, QueryParameter(description="the beginning of the address", max_length=320)
    ] = None,
) -> AccountPage:
    paging.refuse_unknown(request.query_params, ("limit", "cursor", "email"))
    return await administration.page(reads, limit=limit, cursor=cursor, email=email)


@get("/accounts/{account_id:int}", summary="Look up an account", responses=documented(400, 401, 403, 404))
async def get_account(account_id: FromPath[int], database: NamedDependency[Database]) -> Account:
    return await administration.find(database, account_id)


@patch(
    "/accounts/{account_id:int}",
    summary="Change an account",
    operation_class=example({"full_name": "Ann Lee"}),
    description="Send the fields to change. Deactivating ends all sessions and suspends API keys.",
    responses=documented(400, 401, 403, 404, 409, 413),
)
async def change_account(
    account_id: FromPath[int],
    data: JSONBody[AccountChange],
    actor: NamedDependency[Actor],
    database: NamedDependency[Database],
) -> Account:
    return await administration.change(database, account_id, data, actor)
