"""API keys: `often_<id>_<secret>`, made once, stored as a hash, good for some of what their owner may do."""

import hashlib
import hmac
import secrets
from typing import Any, Final
from uuid import UUID

import msgspec
from piccolo.query.methods.select import Select

from services.api.http import paging
from services.api.http.errors import NotSignedIn
from services.api.http.query import answered
from services.api.http.refusals import KeyNotFound, TooManyKeys
from services.api.identity.account_schemas import Account
from services.api.identity.key_schemas import Key, KeyPage, NewKeyBody
from services.api.identity.rights import Reach, Reader, Rights, Scope
from shared.errors import FieldProblem, InvalidFields
from shared.identity.tables import ApiKey
from shared.ledger import engine

PREFIX: Final = "often_"
#: Keys of one account that are neither revoked nor expired.
MOST_KEYS: Final = 50

#: values: user, name, secret_hash, scopes, days, user, most.
_INSERT = """
    INSERT INTO api_key ("user", name, secret_hash, scopes, expires_at)
    SELECT {}, {}, {}, {}::text[], now() + make_interval(days => {})
    WHERE (SELECT count(*) FROM api_key WHERE "user" = {} AND revoked_at IS NULL AND expires_at > now()) < {}
    RETURNING id, "user" AS owner, name, scopes, created_at, expires_at, last_used_at, revoked_at
"""

#: Key and owner in one statement, for each request runs it. values: id.
_LOAD = """
    SELECT k.secret_hash, k.scopes, k.revoked_at IS NOT NULL AS revoked, k.expires_at <= now() AS expired,
           k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute' AS use_unnoted,
           a.id, a.email, a.full_name, a.is_active, a.role, a.created_at
    FROM api_key AS k JOIN account AS a ON a.id = k."user" WHERE k.id = {}
"""

#: Once a minute at most, so that a busy key costs no write per request. values: id.
_NOTE_USE = """
    UPDATE api_key SET last_used_at = now()
    WHERE id = {} AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
"""

#: values: id, owner, whether anybody's will do.
_REVOKE = """
    UPDATE api_key SET revoked_at = coalesce(revoked_at, now()) WHERE id = {} AND ("user" = {} OR {})
    RETURNING id
"""


async def make(rights: Rights, owner: Account, wanted: NewKeyBody) -> tuple[Key, str]:
    """Store a key; the second value is what to send, which nobody can be told again.

    Raises InvalidFields or TooManyKeys.
    """
    _check(rights, owner, wanted)
    secret = secrets.token_urlsafe(32)
    rows = await engine.run(
        _INSERT,
        owner.id,
        wanted.name,
        _hash(secret),
        [scope.value for scope in dict.fromkeys(wanted.scopes)],
        wanted.expires_in_days,
        owner.id,
        MOST_KEYS,
    )
    if not rows:
        raise TooManyKeys(MOST_KEYS)
    key = _key(rows[0])
    return key, f"{PREFIX}{key.id.hex}_{secret}"


async def page(owner: int, *, limit: int, cursor: str | None) -> KeyPage:
    """Newest first, revoked and expired ones included."""
    query = _select().where(ApiKey.user == owner).order_by(ApiKey.id, ascending=False).limit(limit + 1)
    if cursor is not None:
        query = query.where(ApiKey.id < UUID(bytes=paging.decode(cursor, 16)))
    rows = await answered(query)
    items = [_key(row) for row in rows[:limit]]
    return KeyPage(items, paging.encode(items[-1].id.bytes) if len(rows) > limit else None)


async def revoke(key_id: UUID, reader: Reader) -> None:
    """Raises KeyNotFound, for a key of somebody else too. Revoking twice is no error."""
    if not await engine.run(_REVOKE, key_id, reader.id, reader.reach is Reach.ALL):
        raise KeyNotFound(key_id)


async def authenticate(shown: str) -> tuple[Account, frozenset[Scope]]:
    """The key's owner, active or not, and what the key is good for. Raises NotSignedIn."""
    key_id, _, secret = shown.removeprefix(PREFIX).partition("_")
    row = await _load(key_id)
    if row is None or not hmac.compare_digest(_hash(secret), row["secret_hash"]):
        raise NotSignedIn("This API key is unknown. Make one with POST /api/v1/keys.")
    if row["revoked"] or row["expired"]:
        state = "was revoked" if row["revoked"] else "has expired"
        raise NotSignedIn(f"This API key {state}. Make a new one with POST /api/v1/keys.")
    if row["use_unnoted"]:
        await engine.run(_NOTE_USE, UUID(key_id))
    account = msgspec.convert({name: row[name] for name in Account.__struct_fields__}, Account)
    return account, frozenset(map(Scope, row["scopes"]))


def _check(rights: Rights, owner: Account, wanted: NewKeyBody) -> None:
    """Raises InvalidFields."""
    problems = []
    allowed = sorted(rights.scopes_of(owner.role))
    if "\x00" in wanted.name:
        problems.append(FieldProblem("name", "must not contain the NUL character"))
    if not set(wanted.scopes) <= set(allowed):
        rule = f"must be among those that your role {owner.role} can use: {', '.join(allowed)}"
        problems.append(FieldProblem("scopes", rule))
    if problems:
        raise InvalidFields(problems)


async def _load(key_id: str) -> dict[str, Any] | None:
    try:
        rows = await engine.run(_LOAD, UUID(key_id))
    except ValueError:
        return None
    return rows[0] if rows else None


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
