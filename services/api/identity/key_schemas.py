"""API keys as they are asked for and as they are listed."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta

from services.api.http.schemas import Answer, Body
from services.api.identity.rights import Scope


class NewKeyBody(Body):
    name: Annotated[str, Meta(min_length=1, max_length=100, description="What the key is for")]
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=len(Scope))]
    expires_in_days: Annotated[int, Meta(ge=1, le=366)] = 90


class Key(Answer):
    id: UUID
    #: Id of the account as which it acts.
    owner: int
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime
    #: To the minute.
    last_used_at: datetime | None
    revoked_at: datetime | None


class NewKey(Key, kw_only=True):
    #: Send it as `Authorization: Bearer …`. It is told this once and cannot be looked up again.
    key: str


class KeysRevoked(Answer):
    #: How many usable keys there were.
    revoked: int


class KeyPage(Answer):
    items: list[Key]
    #: Give it as `cursor` to get the next page; null on the last one.
    next_cursor: str | None
