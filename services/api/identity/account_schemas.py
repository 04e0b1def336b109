"""People, their credentials and tokens."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from services.api.http.schemas import Answer, Body, Reason, Text
from shared.identity.tables import Role

MIN_PASSWORD = 8
#: The upper bound keeps Argon2 from hashing megabytes.
NewPassword = Annotated[str, Meta(min_length=MIN_PASSWORD, max_length=1024)]
FullName = Annotated[str, Meta(max_length=100)]


class Registration(Body):
    email: Text
    password: NewPassword
    full_name: FullName | None = None


class Credentials(Body):
    email: Text
    password: Annotated[str, Meta(max_length=1024)]


class Refresh(Body):
    refresh_token: Annotated[str, Meta(max_length=200)]


class PasswordChange(Body):
    current_password: Annotated[str, Meta(max_length=1024)]
    new_password: NewPassword


class AddressChange(Body):
    email: Text
    #: The one that you signed in with.
    password: Annotated[str, Meta(max_length=1024)]


class ConfirmationToken(Body):
    #: The end of the link in the mail.
    token: Annotated[str, Meta(max_length=200)]


class AccountChange(Body):
    """What is left out stays as it is."""

    role: Role | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    full_name: FullName | UnsetType | None = UNSET
    reason: Reason | None = None


class Account(Answer):
    id: int
    email: str
    full_name: str | None
    is_active: bool
    role: Role
    created_at: datetime
    #: Whether the address was confirmed. Until then no mail goes to it but the one that asks.
    verified: bool


class AddressAnswer(Answer):
    #: Whether a mail is on its way. False: nothing has to be confirmed, because no application sends mail.
    mail_sent: bool
    message: str


class AddressConfirmed(Answer):
    email: str


class AccountPage(Answer):
    items: list[Account]
    #: Give it as `cursor` to get the next page; null on the last one.
    next_cursor: str | None


class Tokens(Answer):
    access_token: str
    refresh_token: str
    #: Seconds that the access token lives.
    expires_in: int
    token_type: str = "bearer"


class MailChoice(Body):
    price_alerts: bool
