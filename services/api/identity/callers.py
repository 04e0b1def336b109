"""Finds the account and the rights for the credentials of a request.

The result is usually cached in memory.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Self
from uuid import UUID

from services.api.http.errors import NotSignedIn
from services.api.identity import api_keys
from services.api.identity.access_tokens import AccessTokens, Named
from services.api.identity.account_schemas import Account
from services.api.identity.api_keys import StoredKey
from services.api.identity.cookie_sessions import CookieSessions, Held
from services.api.identity.remembered import Remembered
from services.api.identity.rights import Scope
from services.api.identity.sessions import Sessions
from shared.ledger.database import Database


@dataclass(frozen=True, slots=True)
class Credential:
    """The checked credentials of a request, and the rights that they give."""

    #: Scopes of the API key. None for a session, which has all rights of its account.
    scopes: frozenset[Scope] | None = None
    #: Id of the session or of the API key that the request used.
    session: UUID | None = None
    key: UUID | None = None
    #: Time at which the access token expires, in seconds since 1970; None for an API key.
    expires_at: float | None = None


class Caller(NamedTuple):
    """The account that sent a request, and the credentials that it used."""

    account: Account
    credential: Credential


class Callers:
    """Caches the callers that this process has identified for a moment, so that Postgres is not
    asked for each request.
    """

    def __init__(
        self, database: Database, access: AccessTokens, sessions: Sessions, cookies: CookieSessions
    ) -> None:
        self._database = database
        self._access = access
        self._sessions = sessions
        self._by_cookie = Remembered(cookies.holder)
        self._by_session = Remembered(self._of_session)
        self._by_key = Remembered(self._of_key)

    def __deepcopy__(self, _: object) -> Self:
        """Return itself. Litestar copies middleware for each router, but there must be only one
        cache and one connection pool.
        """
        return self

    def forget(self) -> None:
        """Drop all cached callers, so that each one is read from Postgres again. Called when the
        rights of an account have changed.
        """
        self._by_cookie.forget()
        self._by_session.forget()
        self._by_key.forget()

    async def known(self, header: str) -> Caller:
        """Find the caller that the value of an Authorization header identifies. Raises NotSignedIn
        or ServerUnavailable.
        """
        scheme, _, shown = header.partition(" ")
        shown = shown.strip()
        if scheme.lower() != "bearer" or not shown:
            raise NotSignedIn(
                "Get an access token from POST /api/v1/auth/login and send it as `Authorization: Bearer …`."
            )
        if shown.startswith(api_keys.PREFIX):
            key_id, secret = api_keys.parse(shown)
            key = await self._by_key.get(key_id)
            await api_keys.check(self._database, key, secret)
            caller = Caller(key.owner, Credential(key.scopes, key=key.id))
        else:
            caller = await self._by_session.get(self._access.read(shown))
        if not caller.account.is_active:
            raise NotSignedIn("This account is not active. Ask an administrator.")
        return caller

    async def holds(self, cookie: str) -> Held:
        """Find the caller whose session a browser's cookie identifies. Raises NotSignedIn or
        ServerUnavailable.
        """
        held = await self._by_cookie.get(cookie)
        if held.ends_at <= datetime.now(UTC):
            raise NotSignedIn("Your session has ended. Sign in again.")
        if not held.account.is_active:
            raise NotSignedIn("This account is not active. Ask an administrator.")
        return held

    async def _of_session(self, named: Named) -> Caller:
        credential = Credential(session=named.session, expires_at=named.ends_at)
        return Caller(await self._sessions.holder(named), credential)

    async def _of_key(self, key_id: UUID) -> StoredKey:
        return await api_keys.load(self._database, key_id)
