"""What administrators do with accounts, and what users do with their own password."""

from collections.abc import Iterable
from typing import Any

import msgspec
from piccolo.query.methods.select import Select

from services.api.http import paging
from services.api.http.refusals import AccountBeingErased, AccountNotFound, LastAdministrator
from services.api.identity import sessions
from services.api.identity.account_schemas import Account, AccountChange, AccountPage
from services.api.identity.new_passwords import check_new
from services.api.identity.passwords import Passwords
from services.api.reads import Reads
from shared.errors import FieldProblem, InvalidFields
from shared.identity.tables import Role, User
from shared.ledger.database import Database

_COLUMNS = (User.id, User.email, User.full_name, User.is_active, User.role, User.created_at)

#: Locks the rows, so that two last administrators cannot demote each other at the same time.
_ADMINISTRATORS = """
    SELECT id FROM account WHERE role = 'administrator' AND is_active ORDER BY id FOR UPDATE
"""


async def page(reads: Reads, *, limit: int, cursor: str | None, email: str | None) -> AccountPage:
    """In the order of registration; `email` is how the address begins. Raises ReadTooSlow."""
    query = _select().order_by(User.id).limit(limit + 1)
    if cursor is not None:
        query = query.where(User.id > int.from_bytes(paging.decode(cursor, 8), signed=True))
    if email is not None:
        query = query.where(User.email.like(_prefix(email)))
    rows = await reads.select(query)
    items = [msgspec.convert(row, Account) for row in rows[:limit]]
    more = len(rows) > limit
    return AccountPage(items, paging.encode(items[-1].id.to_bytes(8, signed=True)) if more else None)


async def find(database: Database, account_id: int) -> Account:
    """Raises AccountNotFound."""
    row = await database.answered(_select().where(User.id == account_id).first())
    if row is None:
        raise AccountNotFound(account_id)
    return msgspec.convert(row, Account)


async def change(database: Database, account_id: int, wanted: AccountChange) -> Account:
    """Apply what is given. Raises AccountNotFound, AccountBeingErased, LastAdministrator or InvalidFields."""
    values = _values(wanted)
    async with database.short_transaction():
        if wanted.is_active is False or values.get("role", Role.ADMINISTRATOR) is not Role.ADMINISTRATOR:
            await keep_an_administrator(database, account_id)
        # An account that is being erased does not come back.
        changed = User.update(values).where(User.id == account_id).where(User.erasure_task.is_null())
        if not await changed.returning(User.id):
            raise AccountBeingErased((await find(database, account_id)).id)
        if wanted.is_active is False:
            await sessions.close_all(database, account_id)
        return await find(database, account_id)


async def change_password(
    database: Database,
    passwords: Passwords,
    account: Account,
    new_password: str,
    refused_words: Iterable[str],
) -> None:
    """Store it and end all sessions. Raises InvalidFields."""
    check_new("new_password", new_password, account.email, refused_words)
    hashed = await passwords.hash(new_password)
    async with database.short_transaction():
        await User.update({User.password_hash: hashed}).where(User.id == account.id)
        await sessions.close_all(database, account.id)


def _values(wanted: AccountChange) -> dict[Any, Any]:
    given = msgspec.structs.asdict(wanted).items()
    values = {name: value for name, value in given if value is not msgspec.UNSET}
    if not values:
        fields = ", ".join(AccountChange.__struct_fields__)
        raise InvalidFields([FieldProblem("", f"must have at least one of {fields}")])
    if "\x00" in (values.get("full_name") or ""):
        raise InvalidFields([FieldProblem("full_name", "must not contain the NUL character")])
    return values


async def keep_an_administrator(database: Database, account_id: int) -> None:
    """Raises LastAdministrator when this account is the only active one; inside a transaction."""
    administrators = [row["id"] for row in await database.run(_ADMINISTRATORS)]
    if administrators == [account_id]:
        raise LastAdministrator


def _select() -> Select[Any]:
    return User.select(*_COLUMNS)


def _prefix(text: str) -> str:
    if "\x00" in text:
        raise InvalidFields([FieldProblem("email", "must not contain the NUL character")])
    escaped = text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"{escaped}%"
