"""Register, sign in, renew, who am I."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from services.api import accounts
from services.api.errors import AddressTaken, NotSignedIn, documented
from services.api.passwords import Passwords
from services.api.schemas.accounts import Account, Credentials, Refresh, Registration, Tokens
from services.api.sessions import Sessions


@post("/auth/register", summary="Create an account", tags=["accounts"], responses=documented(400, 409))
async def register(data: JSONBody[Registration], passwords: NamedDependency[Passwords]) -> Account:
    account = await accounts.register(passwords, data)
    if account is None:
        raise AddressTaken
    return account


@post("/auth/login", summary="Sign in", status_code=200, tags=["accounts"], responses=documented(400, 401))
async def login(
    data: JSONBody[Credentials], passwords: NamedDependency[Passwords], sessions: NamedDependency[Sessions]
) -> Tokens:
    account_id = await accounts.authenticate(passwords, data.email, data.password)
    if account_id is None:
        raise NotSignedIn("The address or the password is wrong. Correct them, or register.")
    return await sessions.open(account_id)


@post(
    "/auth/refresh",
    summary="Renew tokens",
    status_code=200,
    tags=["accounts"],
    responses=documented(400, 401),
)
async def refresh(data: JSONBody[Refresh], sessions: NamedDependency[Sessions]) -> Tokens:
    return await sessions.rotate(data.refresh_token)


@get("/auth/me", summary="Who am I", tags=["accounts"], responses=documented(401, 403))
async def me(user: NamedDependency[Account]) -> Account:
    return user
