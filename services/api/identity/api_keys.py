"""Creates, checks and revokes API keys of the form `often_<id>_<secret>`.

The secret is shown once and stored as a hash. A key has some of its owner's rights.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec
from piccolo.query.methods.select import Select

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.actor import Actor
from services.api.audit.trail import Target
from services.api.http import paging
from services.api.http.errors import NotSignedIn
from services.api.http.refusals import KeyNotFound, TooManyKeys
from services.api.identity import accounts
from services.api.identity.account_schemas import Account
from services.api.identity.key_schemas import Key, KeyPage, NewKeyBody
from services.api.identity.rights import Reach, Reader, Rights, Scope
from shared.errors import FieldProblem, InvalidFields
from shared.identity.tables import ApiKey
from shared.ledger.database import Database
from shared.ledger.statement import Statement

PREFIX: Final = "often_"
#: Maximum number of usable API keys (neither revoked nor expired) per account.
MOST_KEYS: Final = 50

#: Stores a key, unless the account already has the maximum number of usable keys. The account must
#: be locked, so that no other transaction adds a key in the meantime.
_INSERT = Statement("""
    INSERT INTO api_key ("user", name, secret_hash, scopes, expires_at)
    SELECT :user, :name, :secret_hash, :scopes::text[], now() + make_interval(days => :days)
    WHERE :most > (
        SELECT count(*) FROM api_key WHERE "user" = :user AND revoked_at IS NULL AND expires_at > now()
    )
    RETURNING id, "user" AS owner, name, scopes, created_at, expires_at, last_used_at, revoked_at
""")

#: Reads a key and its owner's account in one statement.
_LOAD = Statement("""
    SELECT k.secret_hash, k.scopes, k.revoked_at IS NOT NULL AS revoked, k.expires_at <= now() AS expired,
           k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute' AS use_unnoted,
           a.id, a.email, a.full_name, a.is_active, a.role, a.created_at,
           a.verified_at IS NOT NULL AS verified
    FROM api_key AS k JOIN account AS a ON a.id = k."user" WHERE k.id = :id
""")

#: Stores the time of a key's last use, at most once a minute, so that a busy key does not cost one
#: write per request.
_NOTE_USE = Statement("""
    UPDATE api_key SET last_used_at = now()
    WHERE id = :id AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
""")

#: Revokes a key, even one of another account if `of_any_owner` is set. Inside a transaction,
#: `now()` is the transaction's start.
_REVOKE = Statement("""
    UPDATE api_key SET revoked_at = coalesce(revoked_at, now())
    WHERE id = :id AND ("user" = :owner OR :of_any_owner)
    RETURNING "user" AS owner, revoked_at = now() AS is_new
""")


_REVOKE_ALL = Statement("""
    UPDATE api_key SET revoked_at = now()
    WHERE "user" = :owner AND revoked_at IS NULL AND expires_at > now()
    RETURNING id
""")


@dataclass(slots=True)
class StoredKey:
    """An API key as it is stored in the database."""

    id: UUID
    secret_hash: bytes
    #: The account of the key's owner, which may be inactive.
    owner: Account
    scopes: frozenset[Scope]
    is_revoked: bool
    has_expired: bool
    #: True if the time of the key's last use has to be stored again.
    use_unnoted: bool


async def make(
    database: Database, rights: Rights, owner: Account, wanted: NewKeyBody, actor: Actor
) -> tuple[Key, str]:
    """Create and store an API key.

    The second return value is the text that clients send; it cannot be read again. Raises
    InvalidFields or TooManyKeys.
    """
    _check(rights, owner, wanted)
    secret = secrets.token_urlsafe(32)
    values = {
        "user": owner.id,
        "name": wanted.name,
        "secret_hash": _hash(secret),
        "scopes": [scope.value for scope in dict.fromkeys(wanted.scopes)],
        "days": wanted.expires_in_days,
        "most": MOST_KEYS,
    }
    async with database.short_transaction():
        await accounts.lock(database, owner.id)
        rows = await database.run(_INSERT, **values)
        if not rows:
            raise TooManyKeys(MOST_KEYS)
        key = _key(rows[0])
        after = {"owner": key.owner, "scopes": key.scopes, "expires_at": key.expires_at}
        await trail.record(database, actor, Action.KEY_MADE, Target("key", key.id), after=after)
    return key, f"{PREFIX}{key.id.hex}_{secret}"


async def page(database: Database, owner: int, *, limit: int, cursor: str | None) -> KeyPage:
    """A page of API keys, newest first, including revoked and expired ones."""
    query = _select().where(ApiKey.user == owner).order_by(ApiKey.id, ascending=False).limit(limit + 1)
    if cursor is not None:
        query = query.where(ApiKey.id < UUID(bytes=paging.decode(cursor, 16)))
    rows = await database.answered(query)
    items = [_key(row) for row in rows[:limit]]
    return KeyPage(items, paging.encode(items[-1].id.bytes) if len(rows) > limit else None)


async def revoke(database: Database, key_id: UUID, reader: Reader, actor: Actor) -> None:
    """Revoke an API key. Revoking it twice is no error. Raises KeyNotFound, also if the key belongs
    to another account.
    """
    of_any_owner = reader.reach is Reach.ALL
    async with database.short_transaction():
        rows = await database.run(_REVOKE, id=key_id, owner=reader.id, of_any_owner=of_any_owner)
        if not rows:
            raise KeyNotFound(key_id)
        if rows[0]["is_new"]:
            target, after = Target("key", key_id), {"owner": rows[0]["owner"]}
            await trail.record(database, actor, Action.KEY_REVOKED, target, after=after)


async def revoke_all(database: Database, owner: int, actor: Actor) -> int:
    """Revoke all usable API keys of an account. Returns their number."""
    async with database.short_transaction():
        keys = [row["id"] for row in await database.run(_REVOKE_ALL, owner=owner)]
        target, after = Target("account", owner), {"keys": keys}
        await trail.record(database, actor, Action.KEYS_REVOKED, target, after=after)
    return len(keys)


async def end_all(database: Database, owner: int) -> None:
    """Revoke all API keys of an account, without a row in the audit log, because the caller records
    a larger action.
    """
    await database.run(_REVOKE_ALL, owner=owner)


def parse(shown: str) -> tuple[UUID, str]:
    """Split the text of an API key that a client sent into id and secret. Raises NotSignedIn."""
    key_id, _, secret = shown.removeprefix(PREFIX).partition("_")
    try:
        return UUID(key_id), secret
    except ValueError:
        raise _unknown() from None


async def load(database: Database, key_id: UUID) -> StoredKey:
    """Find an API key, even one that is revoked or expired. Raises NotSignedIn if it does not
    exist.
    """
    rows = await database.run(_LOAD, id=key_id)
    if not rows:
        raise _unknown()
    (row,) = rows
    return StoredKey(
        key_id,
        row["secret_hash"],
        msgspec.convert({name: row[name] for name in Account.__struct_fields__}, Account),
        frozenset(map(Scope, row["scopes"])),
        is_revoked=row["revoked"],
        has_expired=row["expired"],
        use_unnoted=row["use_unnoted"],
    )


async def check(database: Database, key: StoredKey, secret: str) -> None:
    """Check that the API key is usable, and record that it was used. Raises NotSignedIn."""
    if not hmac.compare_digest(_hash(secret), key.secret_hash):
        raise _unknown()
    if key.is_revoked or key.has_expired:
        state = "was revoked" if key.is_revoked else "has expired"
        raise NotSignedIn(f"This API key {state}. Make a new one with POST /api/v1/keys.")
    if key.use_unnoted:
        key.use_unnoted = False
        await database.run(_NOTE_USE, id=key.id)


def _unknown() -> NotSignedIn:
    return NotSignedIn("This API key is unknown. Make one with POST /api/v1/keys.")


def _check(rights: Rights, owner: Account, wanted: NewKeyBody) -> None:
    """Check a request for a new API key. Raises InvalidFields."""
    problems = []
    allowed = sorted(rights.scopes_of(owner.role))
    if "\x00" in wanted.name:
        problems.append(FieldProblem("name", "must not contain the NUL character"))
    if not set(wanted.scopes) <= set(allowed):
        rule = f"must be among those that your role {owner.role} can use: {', '.join(allowed)}"
        problems.append(FieldProblem("scopes", rule))
    if problems:
        raise InvalidFields(problems)


def _select() -> Select[Any]:
    return ApiKey.select(
        ApiKey.id,
        ApiKey.user.as_alias("owner"),
        ApiKey.name,
        ApiKey.scopes,
        ApiKey.created_at,
        ApiKey.expires_at,
        ApiKey.last_used_at,
        ApiKey.revoked_at,
    )


def _key(row: dict[str, Any]) -> Key:
    return Key(**{**row, "id": UUID(int=row["id"].int), "scopes": [Scope(name) for name in row["scopes"]]})


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
