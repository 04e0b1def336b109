"""Piccolo tables of accounts, their sessions and API keys, and the audit log."""

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
    """The role of an account; services/api/rights.py lists the rights of each."""

    #: Users may only work on their own data.
    USER = "user"
    #: Viewers may see everything and change nothing.
    VIEWER = "viewer"
    #: Operators manage all tasks and schedules.
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"


class User(Table, tablename="account"):
    """A person who can sign in."""

    id = BigSerial(primary_key=True)
    #: Mail address in lower case; unique.
    email = Text(unique=True)
    #: Argon2id hash of the password.
    password_hash = Text(secret=True)
    full_name = Text(null=True, default=None)
    is_active = Boolean(default=True)
    #: The role of the account: a value of `Role`.
    role = Text(default=Role.USER.value)
    created_at = Timestamptz()
    #: Time at which the owner confirmed the mail address. If it is null, the account gets no mail
    #: except the one that asks for confirmation.
    verified_at = Timestamptz(null=True, default=None)
    #: Id of the task that erases the account; null if no erasure was requested. Once it is set, the
    #: account is permanently inactive.
    erasure_task = UUID(null=True, default=None)


class AccountConfirmation(Table, tablename="account_confirmation"):
    """A request to confirm a mail address, sent to the address by mail. Its token works once."""

    #: SHA-256 of the token in the mail.
    token_hash = Bytea(primary_key=True)
    user = ForeignKey(User, null=False)
    #: The address to confirm. When the token is used, it becomes the verified address of the
    #: account.
    email = Text()
    created_at = Timestamptz()
    expires_at = Timestamptz()
    #: Time at which the token was used, or was replaced by a later token.
    used_at = Timestamptz(null=True, default=None)


class Session(Table, tablename="session"):
    """The session that begins with one sign-in.

    It is a chain of refresh tokens, each of which was exchanged for the next.
    """

    id = UUID(primary_key=True, default=UUID4())
    user = ForeignKey(User, null=False)
    created_at = Timestamptz()
    revoked_at = Timestamptz(null=True, default=None)
    #: Network from which the session was last signed in or renewed: an IPv4 address, or the /64 of
    #: an IPv6 address.
    network = Text(null=True, default=None)


class RefreshToken(Table, tablename="refresh_token"):
    """A refresh token, which can be exchanged for a new access token.

    Only its SHA-256 is stored.
    """

    id = BigSerial(primary_key=True)
    session = ForeignKey(Session, null=False)
    token_hash = Bytea(unique=True)
    expires_at = Timestamptz()
    #: Time at which this refresh token was exchanged for the next one.
    spent_at = Timestamptz(null=True, default=None)
    created_at = Timestamptz()


class ApiKey(Table, tablename="api_key"):
    """An API key, which lets a program act as its user.

    Only the SHA-256 of the key's secret is stored.
    """

    id = UUID(primary_key=True, default=UUID4())
    user = ForeignKey(User, null=False)
    name = Text()
    secret_hash = Bytea(secret=True)
    scopes = Array(base_column=Text())
    created_at = Timestamptz()
    expires_at = Timestamptz()
    #: Time at which the key was last used, written at most once a minute.
    last_used_at = Timestamptz(null=True, default=None)
    revoked_at = Timestamptz(null=True, default=None)


class LoginFailure(Table, tablename="login_failure"):
    """Counts wrong passwords for one sign-in address, whether or not it belongs to an account.

    See lockout.py.
    """

    #: SHA-256 of the normalized mail address, alone or together with the client's network.
    address_hash = Bytea(primary_key=True)
    #: Times of the latest failed sign-ins, oldest first.
    failed_at = Array(base_column=Timestamptz())
    #: Number of consecutive times that sign-in was locked.
    locks = Integer()
    locked_until = Timestamptz(null=True, default=None)
    #: Time after which the row has no effect any more.
    forget_at = Timestamptz()


class Audit(Table, tablename="audit"):
    """An entry of the audit log: who did what, and when.

    Rows are never changed. See services/api/audit/trail.py.
    """

    #: Id of the entry: a UUID by which entries are ordered by the time of their actions.
    id = UUID(primary_key=True)
    #: The time of the action to the millisecond, which Postgres computes from the id.
    at = Timestamptz()
    #: Id of the account that acted; null if nobody was signed in. The account may have been deleted
    #: since.
    actor = BigInt(null=True, default=None)
    #: How the account was signed in: session, key or command line.
    credential = Text(null=True, default=None)
    #: Id of the session or the API key with which the account was signed in.
    credential_id = UUID(null=True, default=None)
    network = Text(null=True, default=None)
    action = Text()
    target_kind = Text(null=True, default=None)
    #: Id of the object that the action changed.
    target = Text(null=True, default=None)
    #: The changed values before the action and after it.
    before = JSONB(null=True, default=None)
    after = JSONB(null=True, default=None)
    reason = Text(null=True, default=None)
    request_id = Text(null=True, default=None)


TABLES: tuple[type[Table], ...] = (
    *(User, AccountConfirmation, Session, RefreshToken, ApiKey, LoginFailure, Audit),
)
