"""Request and response bodies of the routes for API keys."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta

from services.api.http.schemas import Answer, Body
from services.api.identity.rights import Scope

MAX_NAME: Final = 100
DEFAULT_DAYS: Final = 90
MAX_DAYS: Final = 366


class NewKeyBody(Body):
    name: Annotated[str, Meta(min_length=1, max_length=MAX_NAME, description="What the key is for")]
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=len(Scope))]
    expires_in_days: Annotated[int, Meta(ge=1, le=MAX_DAYS)] = DEFAULT_DAYS


class Key(Answer):
    id: UUID
    #: Id of the account that owns the key and whose rights it has.
    owner: int
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime
    #: Time at which the key was last used, to the minute.
    last_used_at: datetime | None
    revoked_at: datetime | None


class NewKey(Key, kw_only=True):
    #: The new API key, which clients send as `Authorization: Bearer …`. It is shown only once and
    #: cannot be read again.
    key: str


class KeysRevoked(Answer):
    #: Number of API keys that were revoked, not counting those that were already revoked or
    #: expired.
    revoked: int


class KeyPage(Answer):
    items: list[Key]
    #: Cursor of the next page, to be sent as the parameter `cursor`. Null on the last page.
    next_cursor: str | None
