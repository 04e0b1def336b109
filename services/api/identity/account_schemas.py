"""Request and response bodies of the routes for accounts, credentials and tokens."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from services.api.http.schemas import Answer, Body, Reason, Text
from shared.identity.tables import Role

MIN_PASSWORD = 8
#: A new password. The maximum length keeps clients from making Argon2 hash megabytes.
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
    #: The account's current password, which must be repeated to change the address.
    password: Annotated[str, Meta(max_length=1024)]


class ConfirmationToken(Body):
    #: The token in the confirmation mail, which is the last part of its link.
    token: Annotated[str, Meta(max_length=200)]


class AccountChange(Body):
    """The changes that an administrator makes to an account. Fields that are left out stay
    unchanged.
    """

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
    #: True if the account's mail address was confirmed. Until then, the address gets no mail except
    #: the confirmation mail.
    verified: bool


class AddressAnswer(Answer):
    #: True if a confirmation mail was sent. False if no application sends mail; then nothing has to
    #: be confirmed.
    mail_sent: bool
    message: str


class AddressConfirmed(Answer):
    email: str


class AccountPage(Answer):
    items: list[Account]
    #: Cursor of the next page, to be sent as the parameter `cursor`. Null on the last page.
    next_cursor: str | None


class Tokens(Answer):
    access_token: str
    refresh_token: str
    #: Lifetime of the access token in seconds.
    expires_in: int
    token_type: str = "bearer"


class MailChoice(Body):
    price_alerts: bool
