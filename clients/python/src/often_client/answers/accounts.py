"""Answers about accounts, sessions and API keys."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct


class Account(Struct, kw_only=True):
    id: int
    email: str
    full_name: str | None
    is_active: bool
    role: str
    created_at: datetime
    verified: bool


class Tokens(Struct):
    access_token: str
    refresh_token: str
    expires_in: int


class NewKey(Struct, kw_only=True):
    id: UUID
    owner: int
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime
    #: The API key itself, as `Client` needs it. The API shows it only in this answer.
    key: str


class Key(Struct, kw_only=True):
    id: UUID
    owner: int
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
