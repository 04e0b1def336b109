"""People, their credentials and tokens."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from services.api.schemas.base import Answer, Body, Text
from shared.domain.accounts import Role


class Registration(Body):
    email: Text
    #: The upper bound keeps Argon2 from hashing megabytes.
    password: Annotated[str, Meta(min_length=8, max_length=1024)]
    full_name: Annotated[str, Meta(max_length=100)] | None = None


class Credentials(Body):
    email: Text
    password: Annotated[str, Meta(max_length=1024)]


class Refresh(Body):
    refresh_token: Annotated[str, Meta(max_length=200)]


class Account(Answer):
    id: int
    email: str
    full_name: str | None
    is_active: bool
    role: Role
    created_at: datetime


class Tokens(Answer):
    access_token: str
    refresh_token: str
    #: Seconds that the access token lives.
    expires_in: int
    token_type: str = "bearer"
