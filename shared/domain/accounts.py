"""People of the hotel application and their sessions."""

from enum import StrEnum

from piccolo.columns import BigSerial, Boolean, Bytea, ForeignKey, Text, Timestamptz
from piccolo.table import Table


class Role(StrEnum):
    """What somebody is for; services/api/rights.py says what that allows."""

    #: Works on what is his own.
    USER = "user"
    #: Looks at everything, changes nothing.
    VIEWER = "viewer"
    #: Keeps everybody's tasks and schedules going.
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"


class User(Table, tablename="account"):
    """A person with a login."""

    id = BigSerial(primary_key=True)
    #: Lower case, unique.
    email = Text(unique=True)
    #: Argon2id.
    password_hash = Text(secret=True)
    full_name = Text(null=True, default=None)
    is_active = Boolean(default=True)
    #: A `Role`.
    role = Text(default=Role.USER.value)
    created_at = Timestamptz()


class RefreshToken(Table, tablename="refresh_token"):
    """A way to a new access token; only its SHA-256 is stored."""

    id = BigSerial(primary_key=True)
    user = ForeignKey(User, null=False)
    token_hash = Bytea(unique=True)
    expires_at = Timestamptz()
    revoked_at = Timestamptz(null=True, default=None)
    created_at = Timestamptz()


TABLES: tuple[type[Table], ...] = (User, RefreshToken)
