"""People of the hotel application and their sessions."""

from piccolo.columns import BigSerial, Boolean, Bytea, ForeignKey, Text, Timestamptz
from piccolo.table import Table


class User(Table, tablename="account"):
    """A person with a login."""

    id = BigSerial(primary_key=True)
    #: Lower case, unique.
    email = Text(unique=True)
    #: Argon2id.
    password_hash = Text(secret=True)
    full_name = Text(null=True, default=None)
    is_active = Boolean(default=True)
    is_admin = Boolean(default=False)
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
