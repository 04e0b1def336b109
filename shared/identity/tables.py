"""Accounts, their sessions and API keys, and the audit log."""

from enum import StrEnum

from piccolo.columns import (
    JSONB,
    UUID,
    Array,
    BigInt,
    BigSerial,
    Boolean,
    Bytea,
    ForeignKey,
    Integer,
    Text,
    Timestamptz,
)
from piccolo.columns.defaults.uuid import UUID4
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
    #: Moment at which the address was confirmed. Null: only the mail that asks may go to it.
    verified_at = Timestamptz(null=True, default=None)


class AccountConfirmation(Table, tablename="account_confirmation"):
    """A mail that asks whether an address belongs to an account; its link holds a token that works once."""

    #: SHA-256 of the token.
    token_hash = Bytea(primary_key=True)
    user = ForeignKey(User, null=False)
    #: Becomes the account's address, and verified, once the token is used.
    email = Text()
    created_at = Timestamptz()
    expires_at = Timestamptz()
    #: Moment at which it was used, or ended by a later one.
    used_at = Timestamptz(null=True, default=None)


class Session(Table, tablename="session"):
    """What one login opened: a family of refresh tokens, each spent for the next one."""

    id = UUID(primary_key=True, default=UUID4())
    user = ForeignKey(User, null=False)
    created_at = Timestamptz()
    revoked_at = Timestamptz(null=True, default=None)
    #: Where it was last signed in or renewed: an IPv4 address, or the /64 of an IPv6 address.
    network = Text(null=True, default=None)


class RefreshToken(Table, tablename="refresh_token"):
    """A way to a new access token; only its SHA-256 is stored."""

    id = BigSerial(primary_key=True)
    session = ForeignKey(Session, null=False)
    token_hash = Bytea(unique=True)
    expires_at = Timestamptz()
    #: When it was exchanged for the next one.
    spent_at = Timestamptz(null=True, default=None)
    created_at = Timestamptz()


class ApiKey(Table, tablename="api_key"):
    """Lets a program act as its user; only the SHA-256 of its secret is stored."""

    id = UUID(primary_key=True, default=UUID4())
    user = ForeignKey(User, null=False)
    name = Text()
    secret_hash = Bytea(secret=True)
    scopes = Array(base_column=Text())
    created_at = Timestamptz()
    expires_at = Timestamptz()
    #: Written once a minute at most.
    last_used_at = Timestamptz(null=True, default=None)
    revoked_at = Timestamptz(null=True, default=None)


class LoginFailure(Table, tablename="login_failure"):
    """Wrong passwords under one key of lockout.py, whether an account with the address exists or not."""

    #: SHA-256 of the normalised address, alone or with the network from which the passwords came.
    address_hash = Bytea(primary_key=True)
    #: The last ones, oldest first.
    failed_at = Array(base_column=Timestamptz())
    #: How often it was locked in a row.
    locks = Integer()
    locked_until = Timestamptz(null=True, default=None)
    #: From then on the row means nothing.
    forget_at = Timestamptz()


class Audit(Table, tablename="audit"):
    """Who did what, and when; rows are never changed. See services/api/audit/trail.py."""

    #: Rises with the time of the act.
    id = UUID(primary_key=True)
    #: The time in the id, to the millisecond. Postgres computes it.
    at = Timestamptz()
    #: Id of an account, which may be deleted by now; null without a sign-in.
    actor = BigInt(null=True, default=None)
    #: session, key or command line.
    credential = Text(null=True, default=None)
    #: Id of the session or the API key.
    credential_id = UUID(null=True, default=None)
    network = Text(null=True, default=None)
    action = Text()
    target_kind = Text(null=True, default=None)
    #: Id of what the act changed.
    target = Text(null=True, default=None)
    #: The values that the act changed, as they were and as they are then.
    before = JSONB(null=True, default=None)
    after = JSONB(null=True, default=None)
    reason = Text(null=True, default=None)
    request_id = Text(null=True, default=None)


TABLES: tuple[type[Table], ...] = (
    *(User, AccountConfirmation, Session, RefreshToken, ApiKey, LoginFailure, Audit),
)
