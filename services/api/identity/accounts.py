"""Stores accounts, one per mail address.

logins.py signs accounts in, and sessions.py reads accounts for requests.
"""

from collections.abc import Iterable
from typing import NamedTuple

import email_validator
import msgspec

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.actor import Actor
from services.api.audit.trail import Target
from services.api.identity.account_schemas import Account, Registration
from services.api.identity.new_passwords import check_new
from services.api.identity.passwords import Passwords
from shared.errors import FieldProblem, InvalidFields
from shared.identity.tables import Role
from shared.ledger.database import Database
from shared.ledger.statement import Statement

#: Stores an account. Returns no row if another account has the address.
_INSERT = Statement("""
    INSERT INTO account (email, password_hash, full_name, role, verified_at)
    VALUES (:email, :password_hash, :full_name, :role, CASE WHEN :verified::boolean THEN now() END)
    ON CONFLICT (email) DO NOTHING
    RETURNING id, email, full_name, is_active, role, created_at, verified_at IS NOT NULL AS verified
""")

#: Finds accounts among the given ids. An account that is being erased is not found, because nothing
#: new may refer to it.
_EXISTING = Statement("""
    SELECT id FROM account WHERE id = ANY(:ids::bigint[]) AND erasure_task IS NULL
""")

#: Locks the row of an account until the transaction ends. Rows that refer to the account can still be
#: stored, because their foreign keys do not conflict with this lock.
_LOCK = Statement("SELECT id FROM account WHERE id = :id FOR NO KEY UPDATE")


class NewAccount(NamedTuple):
    """A registration that has passed all checks and can be stored."""

    email: str
    password_hash: str
    full_name: str | None


async def prepare(
    passwords: Passwords, new: Registration, *, refused_words: Iterable[str] = ()
) -> NewAccount:
    """Check a registration and hash its password. `refused_words` are words of which the password
    must not consist. Raises InvalidFields.
    """
    address = normalised(new.email)
    if "\x00" in (new.full_name or ""):
        raise InvalidFields([FieldProblem("full_name", "must not contain the NUL character")])
    check_new("password", new.password, address, refused_words)
    return NewAccount(address, await passwords.hash(new.password), new.full_name)


async def store(
    database: Database, new: NewAccount, actor: Actor, *, verified: bool, role: Role = Role.USER
) -> Account | None:
    """Store an account inside the caller's transaction. Returns None if another account has the
    address. Raises ServerUnavailable.
    """
    rows = await database.run(_INSERT, **new._asdict(), role=role, verified=verified)
    if not rows:
        return None
    account = msgspec.convert(rows[0], Account)
    target = Target("account", account.id)
    await trail.record(database, actor, Action.ACCOUNT_REGISTERED, target, after={"role": role})
    return account


async def lock(database: Database, account_id: int) -> None:
    """Make other transactions that lock the same account wait until the caller's transaction ends.

    A transaction that counts what an account has, and then adds to it, calls this before it counts.
    Otherwise several of them would count before any of them commits, and together exceed the limit.
    It is the first lock of the transaction, so that two transactions cannot deadlock.
    """
    await database.run(_LOCK, id=account_id)


async def existing(database: Database, ids: Iterable[int]) -> set[int]:
    """Return those of the given ids that belong to an account."""
    rows = await database.run(_EXISTING, ids=list(filter(is_possible, ids)))
    return {row["id"] for row in rows}


def is_possible(account_id: int) -> bool:
    """True if the number can be the id of an account. For a number outside the range of bigint,
    Postgres would raise an error.
    """
    return 0 < account_id < 2**63


def normalised(email: str) -> str:
    """Check a mail address and return its normalized form, which is stored. Raises InvalidFields."""
    try:
        # The domain is not looked up in DNS, so that an unavailable resolver does not keep users
        # out.
        checked = email_validator.validate_email(email, check_deliverability=False, allow_smtputf8=False)
    except email_validator.EmailNotValidError as error:
        raise InvalidFields([FieldProblem("email", f"must be an email address: {error}")]) from None
    return (checked.ascii_email or checked.normalized).lower()
