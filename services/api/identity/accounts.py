"""Accounts: stored once per address, read for each request. Signing in is in logins.py."""

from collections.abc import Iterable
from typing import Any

import email_validator
import msgspec

from services.api.identity.account_schemas import Account, Registration
from services.api.identity.passwords import Passwords, check_new
from shared.errors import FieldProblem, InvalidFields
from shared.identity.tables import Role
from shared.ledger import engine

#: Every request runs this; written out it takes half the time of a built query. values: id.
_LOAD = "SELECT id, email, full_name, is_active, role, created_at FROM account WHERE id = {}"

#: values: email, password_hash, full_name, role. Returns nothing when the address is taken.
_INSERT = """
    INSERT INTO account (email, password_hash, full_name, role) VALUES ({}, {}, {}, {})
    ON CONFLICT (email) DO NOTHING
    RETURNING id, email, full_name, is_active, role, created_at
"""


async def register(passwords: Passwords, new: Registration, *, role: Role = Role.USER) -> Account | None:
    """Store an account; None when the address is taken. Raises InvalidFields or ServerUnavailable."""
    address = normalised(new.email)
    if "\x00" in (new.full_name or ""):
        raise InvalidFields([FieldProblem("full_name", "must not contain the NUL character")])
    check_new("password", new.password, address)
    rows = await engine.run(_INSERT, address, await passwords.hash(new.password), new.full_name, role)
    return _account(rows)


async def load(account_id: int) -> Account | None:
    rows = await engine.run(_LOAD, account_id)
    return _account(rows)


def _account(rows: list[dict[str, Any]]) -> Account | None:
    return msgspec.convert(rows[0], Account) if rows else None


async def existing(ids: Iterable[int]) -> set[int]:
    """Those of the ids that belong to an account."""
    # Outside bigint's range there is no account to ask for.
    possible = [account_id for account_id in ids if 0 < account_id < 2**63]
    rows = await engine.run("SELECT id FROM account WHERE id = ANY({}::bigint[])", possible)
    return {row["id"] for row in rows}


def normalised(email: str) -> str:
    """Check an address and write it the one way in which it is stored. Raises InvalidFields."""
    try:
        # Without DNS: a resolver that is away must not refuse guests.
        checked = email_validator.validate_email(email, check_deliverability=False, allow_smtputf8=False)
    except email_validator.EmailNotValidError as error:
        raise InvalidFields([FieldProblem("email", f"must be an email address: {error}")]) from None
    return (checked.ascii_email or checked.normalized).lower()
