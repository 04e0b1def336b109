"""Finds the account and the rights behind the credentials of a request, most of the time in memory."""

from dataclasses import dataclass
from typing import NamedTuple, Self
from uuid import UUID

from services.api.http.errors import NotSignedIn
from services.api.identity import api_keys
from services.api.identity.access_tokens import AccessTokens, Named
from services.api.identity.account_schemas import Account
from services.api.identity.api_keys import StoredKey
from services.api.identity.remembered import Remembered
from services.api.identity.rights import Scope
from services.api.identity.sessions import Sessions
from shared.ledger.database import Database


@dataclass(frozen=True, slots=True)
class Credential:
    """What the caller may do with the credentials that it sent."""

    #: None: a session, which may do all that its account may do.
    scopes: frozenset[Scope] | None = None
    #: The session, or the API key, that the caller has shown.
    session: UUID | None = None
    key: UUID | None = None


class Caller(NamedTuple):
    """Who asks, and with which credentials."""

    account: Account
    credential: Credential


class Callers:
    """The callers of one process. What Postgres says of one is used again for a moment."""

    def __init__(self, database: Database, access: AccessTokens, sessions: Sessions) -> None:
        self._database = database
        self._access = access
        self._sessions = sessions
        self._by_session = Remembered(self._of_session)
        self._by_key = Remembered(self._of_key)

    def __deepcopy__(self, _: object) -> Self:
        """Litestar copies middleware when it takes in a router; the pool of connections must stay one."""
        return self

    def forget(self) -> None:
        """Forget all callers, so that each is read again: the rights of an account have changed."""
        self._by_session.forget()
        self._by_key.forget()

    async def known(self, header: str) -> Caller:
        """The caller by the value of the Authorization header. Raises NotSignedIn or ServerUnavailable."""
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

    async def _of_session(self, named: Named) -> Caller:
        return Caller(await self._sessions.holder(named), Credential(session=named.session))

    async def _of_key(self, key_id: UUID) -> StoredKey:
        return await api_keys.load(self._database, key_id)
