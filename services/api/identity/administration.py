"""Changes accounts for administrators, and changes a user's own password."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from piccolo.query.methods.select import Select

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.actor import Actor
from services.api.audit.trail import Target
from services.api.http import paging, texts
from services.api.http.refusals import AccountBeingErased, AccountNotFound, LastAdministrator
from services.api.identity import accounts, confirmations, sessions
from services.api.identity.account_schemas import Account, AccountChange, AccountPage
from services.api.identity.new_passwords import check_new
from services.api.identity.passwords import Passwords
from services.api.reads import Reads
from shared.errors import FieldProblem, InvalidFields
from shared.identity.tables import Role, User
from shared.ledger.database import Database
from shared.ledger.statement import Statement

_COLUMNS = (
    *(User.id, User.email, User.full_name, User.is_active, User.role, User.created_at),
    User.verified_at,
)

#: Locks the rows of all active administrators, so that the last two cannot demote each other at the
#: same time.
_ADMINISTRATORS = """
    SELECT id FROM account WHERE role = 'administrator' AND is_active ORDER BY id FOR UPDATE
"""


_LOCKED = Statement("""
    SELECT role, is_active, full_name, erasure_task FROM account WHERE id = :id FOR UPDATE
""")


async def page(reads: Reads, *, limit: int, cursor: str | None, email: str | None) -> AccountPage:
    """A page of accounts in the order of registration. `email` selects accounts whose address
    begins with this text. Raises ReadTooSlow.
    """
    query = _select().order_by(User.id).limit(limit + 1)
    if cursor is not None:
        query = query.where(User.id > paging.decode_number(cursor, 8))
    if email is not None:
        query = query.where(User.email.like(_prefix(email)))
    rows = await reads.select(query)
    items = [_account(row) for row in rows[:limit]]
    more = len(rows) > limit
    return AccountPage(items, paging.encode_number(items[-1].id, 8) if more else None)


async def find(database: Database, account_id: int) -> Account:
    """Find one account. Raises AccountNotFound."""
    query = _select().where(User.id == account_id).first()
    row = await database.answered(query) if accounts.is_possible(account_id) else None
    if row is None:
        raise AccountNotFound(account_id)
    return _account(row)


async def change(database: Database, account_id: int, wanted: AccountChange, actor: Actor) -> Account:
    """Change the given fields of an account. Raises AccountNotFound, AccountBeingErased,
    LastAdministrator or InvalidFields.
    """
    values = _values(wanted)
    async with database.short_transaction():
        if wanted.is_active is False or values.get("role", Role.ADMINISTRATOR) is not Role.ADMINISTRATOR:
            await keep_an_administrator(database, account_id)
        before = await _locked(database, account_id)
        await User.update(values).where(User.id == account_id)
        if wanted.is_active is False:
            await sessions.end_all(database, account_id)
        changed = {name: value for name, value in values.items() if before[name] != value}
        await _record(database, actor, Target("account", account_id), before, changed, wanted.reason)
        return await find(database, account_id)


async def change_password(
    database: Database,
    passwords: Passwords,
    account: Account,
    new_password: str,
    actor: Actor,
    refused_words: Iterable[str],
) -> None:
    """Store a new password, end all sessions and cancel an open change of address. Raises
    InvalidFields.
    """
    check_new("new_password", new_password, account.email, refused_words)
    hashed = await passwords.hash(new_password)
    async with database.short_transaction():
        await User.update({User.password_hash: hashed}).where(User.id == account.id)
        await sessions.end_all(database, account.id)
        await confirmations.cancel_change(database, account.id)
        await trail.record(database, actor, Action.PASSWORD_CHANGED, Target("account", account.id))


def _values(wanted: AccountChange) -> dict[Any, Any]:
    fields = [name for name in AccountChange.__struct_fields__ if name != "reason"]
    values = {name: v for name in fields if (v := getattr(wanted, name)) is not msgspec.UNSET}
    if not values:
        rule = f"must have at least one of {', '.join(fields)}"
        raise InvalidFields([FieldProblem("", rule)])
    if "\x00" in (values.get("full_name") or ""):
        raise InvalidFields([FieldProblem("full_name", "must not contain the NUL character")])
    return values


async def _locked(database: Database, account_id: int) -> dict[str, Any]:
    """Lock the account's row until the transaction ends, and return it. Raises AccountNotFound or
    AccountBeingErased.
    """
    rows = await database.run(_LOCKED, id=account_id) if accounts.is_possible(account_id) else []
    if not rows:
        raise AccountNotFound(account_id)
    if rows[0]["erasure_task"] is not None:
        raise AccountBeingErased(account_id)
    return rows[0]


async def _record(
    database: Database,
    actor: Actor,
    target: Target,
    before: Mapping[str, Any],
    changed: Mapping[str, Any],
    reason: str | None,
) -> None:
    """Record a change of an account in the audit log, with one row for each field whose value has
    changed. The rows contain no names of people.
    """
    for name, value in changed.items():
        hidden = name == "full_name"
        await trail.record(
            database,
            actor,
            _action(name, value),
            target,
            before=None if hidden else {name: before[name]},
            after=None if hidden else {name: value},
            reason=reason,
        )


def _action(field: str, value: object) -> Action:
    if field == "is_active":
        return Action.ACCOUNT_ACTIVATED if value else Action.ACCOUNT_DEACTIVATED
    return Action.ACCOUNT_ROLE_CHANGED if field == "role" else Action.ACCOUNT_RENAMED


async def keep_an_administrator(database: Database, account_id: int) -> None:
    """Raise LastAdministrator if no other active account is an administrator. Call this inside a
    transaction.
    """
    administrators = [row["id"] for row in await database.run(_ADMINISTRATORS)]
    if administrators == [account_id]:
        raise LastAdministrator


def _account(row: dict[str, Any]) -> Account:
    return msgspec.convert({**row, "verified": row["verified_at"] is not None}, Account)


def _select() -> Select[Any]:
    return User.select(*_COLUMNS)


def _prefix(text: str) -> str:
    texts.refuse_unstorable(email=text)
    escaped = text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"{escaped}%"
